//! The queries of the store, by their names in the metrics.

/// A use case of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryName {
    /// Creating orders.
    CreateOrders,
    /// Looking up the orders of idempotency keys.
    FindIdempotencyKeys,
    /// Getting orders by id.
    GetOrders,
    /// A page of orders.
    ListOrders,
    /// Updating an order.
    UpdateOrder,
    /// A page of the feed.
    ReadFeed,
    /// The lag of the feed.
    FeedLag,
    /// The partitions of the coming months.
    PartitionsAhead,
    /// The events of one order.
    ReadOrderEvents,
    /// Storing a request to erase a customer.
    RequestErasure,
    /// Getting an erasure.
    GetErasure,
    /// The age of the oldest unfinished erasure.
    OldestErasure,
    /// The beginning and the end of an erasure.
    ClaimErasure,
    /// Erasing orders.
    EraseOrders,
    /// Redacting events and documents for replays.
    RedactEvents,
}

impl QueryName {
    pub(super) const ALL: [Self; 15] = [
        Self::CreateOrders,
        Self::FindIdempotencyKeys,
        Self::GetOrders,
        Self::ListOrders,
        Self::UpdateOrder,
        Self::ReadFeed,
        Self::FeedLag,
        Self::PartitionsAhead,
        Self::ReadOrderEvents,
        Self::RequestErasure,
        Self::GetErasure,
        Self::OldestErasure,
        Self::ClaimErasure,
        Self::EraseOrders,
        Self::RedactEvents,
    ];

    /// The value of the `query` label of `db_query_duration_seconds`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CreateOrders => "create_orders",
            Self::FindIdempotencyKeys => "find_idempotency_keys",
            Self::GetOrders => "get_orders",
            Self::ListOrders => "list_orders",
            Self::UpdateOrder => "update_order",
            Self::ReadFeed => "read_feed",
            Self::FeedLag => "feed_lag",
            Self::PartitionsAhead => "partitions_ahead",
            Self::ReadOrderEvents => "read_order_events",
            Self::RequestErasure => "request_erasure",
            Self::GetErasure => "get_erasure",
            Self::OldestErasure => "oldest_erasure",
            Self::ClaimErasure => "claim_erasure",
            Self::EraseOrders => "erase_orders",
            Self::RedactEvents => "redact_events",
        }
    }
}
