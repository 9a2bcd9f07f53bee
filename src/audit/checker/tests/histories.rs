//! Generates orders that were changed by the rules, with their events.

use arbtest::arbitrary::{Result, Unstructured};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::super::*;
use crate::domain::{
    Currency, Draft, EventType, Items, ItemsDraft, ItemsPatch, LineDraft, MetadataPatch, NewOrder,
    Order, Patch,
};
use crate::order_json;

/// An order with its history, as rows.
pub(super) struct Rows {
    pub(super) key: Key,
    pub(super) order: OrderRow,
    pub(super) lines: Vec<LineRow>,
    pub(super) events: Vec<EventRow>,
    pub(super) idempotency: IdempotencyRow,
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let part = u.choose(&["a", "é\"", "\\ \u{1F600}", "sku-1"])?;
    Ok(format!("{part}{}", u.int_in_range(0..=2)?))
}

fn draft(u: &mut Unstructured<'_>) -> Result<Draft> {
    let with_amounts: bool = u.arbitrary()?;
    Ok(Draft {
        items: items(u, with_amounts)?,
        currency: with_amounts.then(|| "EUR".to_owned()),
        external_id: u.arbitrary::<bool>()?.then(|| "shop".to_owned()),
        customer_id: u.arbitrary::<bool>()?.then(|| "customer".to_owned()),
        metadata: (0..u.int_in_range(0..=3)?)
            .map(|i| Ok((format!("k{i}"), text(u)?)))
            .collect::<Result<_>>()?,
    })
}

fn items(u: &mut Unstructured<'_>, with_amounts: bool) -> Result<ItemsDraft> {
    let lines = (0..u.int_in_range(1..=4)?).map(|_| {
        Ok(LineDraft {
            product_id: text(u)?,
            quantity: u.int_in_range(1..=9)?,
            unit_amount: if with_amounts {
                Some(u.int_in_range(0..=99)?)
            } else {
                None
            },
        })
    });
    Ok(ItemsDraft::Listed(lines.collect::<Result<_>>()?))
}

fn patch(u: &mut Unstructured<'_>, order: &Order) -> Result<Patch> {
    let next = order.status.next();
    let status = if next.is_empty() || u.arbitrary()? {
        None
    } else {
        Some(*u.choose(next)?)
    };
    let items = if order.status.is_editable() && u.arbitrary()? {
        let items = items(u, order.currency.is_some())?;
        Items::parse(items).ok().map(ItemsPatch::Replace)
    } else {
        None
    };
    let value = text(u)?;
    Ok(Patch {
        status,
        items,
        metadata: Some(MetadataPatch::Merge(
            [("k1".to_owned(), Some(value))].into(),
        )),
    })
}

fn event(order: &Order, event_type: EventType, at: i64) -> EventRow {
    let data = order_json::order(order).unwrap();
    EventRow {
        version: order.version,
        position: i64::from(order.version),
        seq: i64::from(order.version),
        event_type,
        occurred_at: at,
        recorded_at: at,
        data_bytes: i32::try_from(data.len()).unwrap(),
        data,
    }
}

fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// An order that was created, changed and, perhaps, imported.
pub(super) fn history(u: &mut Unstructured<'_>) -> Result<Rows> {
    let mut now = DateTime::from_timestamp_micros(1_764_000_000_123_456).unwrap();
    let id =
        (u128::try_from(now.timestamp_millis()).unwrap() << 80) | u128::from(u.arbitrary::<u64>()?);
    let Ok(new) = NewOrder::parse(draft(u)?) else {
        return Err(arbtest::arbitrary::Error::IncorrectFormat);
    };
    let mut order = new.create(Uuid::from_u128(id), now);
    let first = order_json::order(&order).unwrap();
    let mut events = vec![event(&order, EventType::Created, micros(now))];
    for _ in 0..u.int_in_range(0..=6)? {
        now += TimeDelta::microseconds(u.int_in_range(0..=5_000_000)?);
        if let Ok(Some(next)) = order.patched(&patch(u, &order)?, now) {
            order = next;
            events.push(event(&order, EventType::Updated, micros(order.updated_at)));
        }
    }
    if u.arbitrary()? {
        // It comes from an archive with its version.
        let last = events.pop().unwrap();
        events = vec![EventRow {
            event_type: EventType::Imported,
            ..last
        }];
    }
    let json = order_json::order(&order).unwrap();
    let lines = order
        .items
        .lines()
        .iter()
        .zip(order.items.first_of_product());
    Ok(Rows {
        key: Key::new("default", order.id),
        lines: (1..)
            .zip(lines)
            .map(|(number, (line, first))| LineRow {
                line: number,
                product_id: line.product_id.clone(),
                quantity: line.quantity,
                unit_amount: line.unit_amount,
                status: first.then_some(order.status),
            })
            .collect(),
        order: OrderRow {
            status: order.status,
            customer_id: order.customer_id.clone(),
            external_id: order.external_id.clone(),
            currency: order
                .currency
                .as_ref()
                .map(Currency::as_str)
                .map(str::to_owned),
            total_amount: order.items.total_amount(),
            metadata: serde_json::to_string(order.metadata.entries()).unwrap(),
            version: order.version,
            created_at: micros(order.created_at),
            updated_at: micros(order.updated_at),
            json_bytes: i32::try_from(json.len()).unwrap(),
        },
        events,
        idempotency: IdempotencyRow {
            document: first,
            created_at: micros(order.created_at),
        },
    })
}
