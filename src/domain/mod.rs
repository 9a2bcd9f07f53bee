//! Orders, which orders are legal, and which updates they allow. Pure: no I/O, no serialization, no database.

mod caller;
mod currency;
mod erased;
mod event_type;
mod imported;
mod items;
mod metadata;
mod order;
mod patch;
mod status;
mod status_set;
mod tenant;
mod text;
mod traceparent;
mod version_match;

use std::fmt;

pub use caller::{AuthType, Caller, UnknownAuthType};
pub use currency::{Currency, UnknownCurrency, UnknownImportedCurrency};
pub use event_type::{EventType, UnknownEventType};
pub use imported::{History, HistoryDraft, LastVersion, MAX_IMPORTED_VERSION};
pub use items::{
    Items, ItemsDraft, Line, LineDraft, MAX_LINES, MAX_TOTAL_AMOUNT, MAX_UNIT_AMOUNT, TotalError,
};
pub use metadata::Metadata;
pub use order::{Draft, MAX_QUANTITY, NewOrder, Order, Quantity, QuantityError};
pub use patch::{ItemsPatch, MetadataPatch, Patch, PatchError};
pub use status::{Status, UnknownStatus};
pub use status_set::StatusSet;
pub use tenant::{InvalidTenant, Tenant};
pub use text::{ShortText, ShortTextError};
pub use traceparent::is_traceparent;
pub use version_match::IfMatch;

/// One reason why a value is not a legal order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The location in the value: a JSON Pointer (RFC 6901), such as `/metadata/colour`.
    pub pointer: String,
    /// The reason, as a sentence for the user.
    pub detail: String,
}

impl Violation {
    /// Creates a violation at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.to_string(),
        }
    }
}

/// Escapes `key` as one reference token of a JSON Pointer (RFC 6901, section 3: `~` and `/` are escaped).
pub fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
