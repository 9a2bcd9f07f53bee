//! What an order is and which orders are legal. Pure: no I/O, no wire format, no database.

mod metadata;
mod order;
mod patch;
mod status;
mod text;
mod version_match;

pub use metadata::Metadata;
pub use order::{Draft, MAX_QUANTITY, NewOrder, Order, Quantity};
pub use patch::{MetadataPatch, Patch, PatchError};
pub use status::{Status, UnknownStatus};
pub use text::ShortText;
pub use version_match::IfMatch;

/// One reason why a value is not a legal order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the value: a JSON Pointer (RFC 6901), such as `/metadata/colour`.
    pub pointer: String,
    /// What is wrong, for a person.
    pub detail: String,
}

impl Violation {
    /// A violation at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// `key` as one reference token of a JSON Pointer (RFC 6901, section 3: `~` and `/` are escaped).
pub fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
