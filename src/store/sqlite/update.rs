//! Updates an order with its event, in one transaction.

use std::sync::Arc;

use diesel::SqliteConnection;
use diesel::prelude::*;

use super::Sqlite;
use super::create::{Origin, check_written, insert_event, insert_lines};
use super::rows::find_order;
use super::schema::{order_items, orders};
use crate::domain::EventType;
use crate::store::StoreError;
use crate::store::admission::Admission;
use crate::store::document::json_bytes;
use crate::store::update::{Decision, NextVersion, UpdateOrder, Updated, decide};
use crate::telemetry::QueryName;

impl Sqlite {
    /// Updates an order in one transaction, which may write from its beginning.
    pub(super) async fn update_order(
        &self,
        command: &Arc<UpdateOrder>,
        admission: &Admission,
    ) -> Result<Updated, StoreError> {
        let (command, admission) = (Arc::clone(command), admission.clone());
        self.write(QueryName::UpdateOrder, move |connection| {
            let found = find_order(connection, command.caller.tenant.as_str(), &command.id)?;
            let order = found.map(|found| found.order);
            let _permit = order
                .as_ref()
                .map(|order| admission.acquire_for_order(&command, order))
                .transpose()?;
            match decide(order.as_ref(), &command)? {
                Decision::Respond(outcome) => Ok(outcome.into()),
                Decision::Write(next) => {
                    let origin = Origin {
                        caller: &command.caller,
                        traceparent: command.traceparent.as_deref(),
                    };
                    write_version(connection, &next, &origin)?;
                    Ok(next.written())
                }
            }
        })
        .await
    }
}

/// Writes the next version of an existing order, with its event.
fn write_version(
    connection: &mut SqliteConnection,
    next: &NextVersion,
    origin: &Origin<'_>,
) -> Result<(), StoreError> {
    let NextVersion {
        order,
        json,
        metadata,
        writes_lines,
    } = next;
    let key = (
        origin.caller.tenant.as_str(),
        order.id.as_bytes().as_slice(),
    );
    let written = diesel::update(orders::table.find(key))
        .set((
            orders::total_amount.eq(order.items.total_amount()),
            orders::status.eq(order.status.as_str()),
            orders::metadata.eq(metadata),
            orders::version.eq(order.version),
            orders::updated_at.eq(order.updated_at.timestamp_micros()),
            orders::json_bytes.eq(json_bytes(json)),
        ))
        .execute(connection)?;
    check_written(written)?;
    if *writes_lines {
        let lines = order_items::table
            .filter(order_items::tenant.eq(origin.caller.tenant.as_str()))
            .filter(order_items::order_id.eq(order.id.as_bytes().as_slice()));
        diesel::delete(lines).execute(connection)?;
        insert_lines(connection, origin.caller.tenant.as_str(), order)?;
    }
    insert_event(
        connection,
        order,
        EventType::Updated,
        order.updated_at,
        json,
        origin,
    )
}
