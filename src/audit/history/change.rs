//! Compares a document with its lines, and with the document before.

use super::super::document::{Document, Lines, Text};
use super::super::kind::Kind;
use super::super::rows::EventRow;
use super::{Add, Facts, Surroundings};
use crate::domain::EventType;

impl Facts {
    pub(super) fn of(document: &Document<'_>) -> Self {
        let owned = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.0.to_string());
        Self {
            status: document.status,
            created_at: document.created_at,
            updated_at: document.updated_at,
            customer_id: owned(&document.customer_id),
            external_id: owned(&document.external_id),
            currency: owned(&document.currency),
            has_metadata: has_metadata(document),
            lines: None,
        }
    }
}

fn has_metadata(document: &Document<'_>) -> bool {
    document.metadata.get() != "{}"
}

/// Checks what no change of an order may change. Erasure changes all documents of an order alike, but not at once.
pub(super) fn check_change(
    before: &mut Facts,
    row: &EventRow,
    document: &Document<'_>,
    around: &Surroundings<'_>,
    add: &mut Add<'_>,
) {
    if document.updated_at < before.updated_at {
        add(Kind::TimeOrder, &|| {
            "updated_at is before that of the previous version in data".to_owned()
        });
    }
    let erased = row.event_type == EventType::Erased;
    let mut changed = |what: &'static str| {
        if erased {
            add(Kind::ErasureIncomplete, &|| {
                format!("an event before has another {what}")
            });
        } else {
            add(Kind::IllegalChange, &|| format!("{what} changed"));
        }
    };
    if document.created_at != before.created_at {
        changed("created_at");
        before.created_at = document.created_at;
    }
    if erased && before.has_metadata && !around.being_erased {
        changed("metadata");
    }
    before.has_metadata = (before.has_metadata && !erased) || has_metadata(document);
    for (what, now, then) in [
        (
            "customer_id",
            &document.customer_id,
            &mut before.customer_id,
        ),
        (
            "external_id",
            &document.external_id,
            &mut before.external_id,
        ),
        ("currency", &document.currency, &mut before.currency),
    ] {
        let now = now.as_ref().map(|text| text.0.as_ref());
        if now != then.as_deref() {
            if what == "currency" || !around.being_erased {
                changed(what);
            }
            *then = now.map(str::to_owned);
        }
    }
}

/// Compares the total of a document, and what repeats its only line, with its lines.
pub(super) fn check_total(lines: &Lines, document: &Document<'_>, add: &mut Add<'_>) {
    if lines.mixed || lines.total != document.total_amount.map(i128::from) {
        add(Kind::TotalMismatch, &|| {
            "total_amount in data is not the sum of the lines".to_owned()
        });
    }
    if lines.total.is_some() != document.currency.is_some() {
        add(Kind::EventMismatch, &|| {
            "data has a currency without amounts, or amounts without a currency".to_owned()
        });
    }
    if !lines.match_single(document) {
        add(Kind::EventMismatch, &|| {
            "data does not repeat its only line".to_owned()
        });
    }
}
