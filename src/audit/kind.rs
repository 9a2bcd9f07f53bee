//! The kinds of violations.

/// What is wrong with the stored data. docs/OPERATIONS.md describes each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A column has a value that the service does not write: NULL, a text that is not UTF-8, JSON that does not
    /// parse, an unknown name, or a number out of range.
    UnreadableValue,
    /// A primary key or a unique index is missing or invalid.
    MissingKey,
    /// A primary key or a unique index does not begin with the tenant.
    KeyWithoutTenant,
    /// New events would come before existing ones, or the row of the feed is missing.
    FeedNotCurrent,
    /// Two orders have the same tenant and id.
    DuplicateOrder,
    /// An order violates a rule for orders, such as the number of lines or the length of a text.
    IllegalOrder,
    /// The total is not the sum of the lines.
    TotalMismatch,
    /// The lines are not numbered from 1 without a gap.
    LineNumber,
    /// A line does not repeat the status of its order as the schema demands.
    LineStatus,
    /// A line has no order.
    LineWithoutOrder,
    /// A stored length is not the length of the document.
    LengthMismatch,
    /// The id of an order has another time than the order.
    IdTime,
    /// A time is earlier than one before it.
    TimeOrder,
    /// Two events of an order have the same version.
    EventDuplicate,
    /// An event is missing after a retained one.
    EventGap,
    /// The first events of an order are missing, and retention has not removed them.
    EventMissing,
    /// The type of an event cannot follow the one before it.
    EventType,
    /// An event contradicts its own document.
    EventMismatch,
    /// An event has no order.
    EventWithoutOrder,
    /// The status of an event cannot follow the one before it.
    IllegalTransition,
    /// Something changed that may not change.
    IllegalChange,
    /// The event of the current version is not the order as stored.
    OrderMismatch,
    /// A later version of an order comes earlier in the feed.
    PositionOrder,
    /// An event has a position that no transaction has had yet.
    PositionBeyondFeed,
    /// An event comes before the floor of its tenant, and retention cannot have reached it.
    EventBelowFloor,
    /// An event was recorded in the future, or long before it occurred.
    RecordedTime,
    /// An idempotency key names an order that does not exist.
    IdempotencyKeyWithoutOrder,
    /// Two idempotency keys name the same order.
    IdempotencyKeyDuplicate,
    /// The document of an idempotency key is not the first version of its order.
    IdempotencyDocument,
    /// An event before an erasure has data of the customer, and no unfinished erasure will redact it.
    ErasureIncomplete,
    /// The worklist of erasures has an order of an erasure that is done, or does not exist.
    ErasureLeftover,
    /// An archived order also exists as an order.
    ArchivedOrderPresent,
    /// The events of an archived order do not end with its archiving.
    ArchivedOrderEvent,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 33] = [
        Self::UnreadableValue,
        Self::MissingKey,
        Self::KeyWithoutTenant,
        Self::FeedNotCurrent,
        Self::DuplicateOrder,
        Self::IllegalOrder,
        Self::TotalMismatch,
        Self::LineNumber,
        Self::LineStatus,
        Self::LineWithoutOrder,
        Self::LengthMismatch,
        Self::IdTime,
        Self::TimeOrder,
        Self::EventDuplicate,
        Self::EventGap,
        Self::EventMissing,
        Self::EventType,
        Self::EventMismatch,
        Self::EventWithoutOrder,
        Self::IllegalTransition,
        Self::IllegalChange,
        Self::OrderMismatch,
        Self::PositionOrder,
        Self::PositionBeyondFeed,
        Self::EventBelowFloor,
        Self::RecordedTime,
        Self::IdempotencyKeyWithoutOrder,
        Self::IdempotencyKeyDuplicate,
        Self::IdempotencyDocument,
        Self::ErasureIncomplete,
        Self::ErasureLeftover,
        Self::ArchivedOrderPresent,
        Self::ArchivedOrderEvent,
    ];

    /// The name in the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::UnreadableValue => "unreadable-value",
            Self::MissingKey => "missing-key",
            Self::KeyWithoutTenant => "key-without-tenant",
            Self::FeedNotCurrent => "feed-not-current",
            Self::DuplicateOrder => "duplicate-order",
            Self::IllegalOrder => "illegal-order",
            Self::TotalMismatch => "total-mismatch",
            Self::LineNumber => "line-number",
            Self::LineStatus => "line-status",
            Self::LineWithoutOrder => "line-without-order",
            Self::LengthMismatch => "length-mismatch",
            Self::IdTime => "id-time",
            Self::TimeOrder => "time-order",
            Self::EventDuplicate => "event-duplicate",
            Self::EventGap => "event-gap",
            Self::EventMissing => "event-missing",
            Self::EventType => "event-type",
            Self::EventMismatch => "event-mismatch",
            Self::EventWithoutOrder => "event-without-order",
            Self::IllegalTransition => "illegal-transition",
            Self::IllegalChange => "illegal-change",
            Self::OrderMismatch => "order-mismatch",
            Self::PositionOrder => "position-order",
            Self::PositionBeyondFeed => "position-beyond-feed",
            Self::EventBelowFloor => "event-below-floor",
            Self::RecordedTime => "recorded-time",
            Self::IdempotencyKeyWithoutOrder => "idempotency-key-without-order",
            Self::IdempotencyKeyDuplicate => "idempotency-key-duplicate",
            Self::IdempotencyDocument => "idempotency-document",
            Self::ErasureIncomplete => "erasure-incomplete",
            Self::ErasureLeftover => "erasure-leftover",
            Self::ArchivedOrderPresent => "archived-order-present",
            Self::ArchivedOrderEvent => "archived-order-event",
        }
    }
}
