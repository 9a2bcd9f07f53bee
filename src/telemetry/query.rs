//! What the database is asked for, as the metrics name it.

/// A use case in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryName {
    /// Creates orders.
    CreateOrders,
    /// Looking up who used an idempotency key before.
    FindIdempotencyKeys,
    /// Getting orders by id.
    GetOrders,
    /// A page of orders.
    ListOrders,
    /// Changing an order.
    UpdateOrder,
    /// A page of the feed.
    ReadFeed,
    /// How far the feed is behind.
    FeedLag,
    /// The events of one order.
    ReadOrderEvents,
}

impl QueryName {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CreateOrders,
        Self::FindIdempotencyKeys,
        Self::GetOrders,
        Self::ListOrders,
        Self::UpdateOrder,
        Self::ReadFeed,
        Self::FeedLag,
        Self::ReadOrderEvents,
    ];

    /// The value of the `query` label of `db_query_duration_seconds`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateOrders => "create_orders",
            Self::FindIdempotencyKeys => "find_idempotency_keys",
            Self::GetOrders => "get_orders",
            Self::ListOrders => "list_orders",
            Self::UpdateOrder => "update_order",
            Self::ReadFeed => "read_feed",
            Self::FeedLag => "feed_lag",
            Self::ReadOrderEvents => "read_order_events",
        }
    }
}
