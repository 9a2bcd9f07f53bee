//! Updates an order with its event, in one transaction.

use std::sync::Arc;

use diesel::SqliteConnection;
use diesel::prelude::*;

use super::Sqlite;
use super::create::{Origin, check_written, insert_event};
use super::rows::OrderRow;
use super::schema::orders;
use crate::domain::Order;
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
            let row: Option<OrderRow> = orders::table
                .find((
                    command.caller.tenant.as_str(),
                    command.id.as_bytes().as_slice(),
                ))
                .select(OrderRow::as_select())
                .first(connection)
                .optional()?;
            let order = row.map(Order::try_from).transpose()?;
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
    } = next;
    let key = (
        origin.caller.tenant.as_str(),
        order.id.as_bytes().as_slice(),
    );
    let written = diesel::update(orders::table.find(key))
        .set((
            orders::quantity.eq(order.quantity),
            orders::status.eq(order.status.as_str()),
            orders::metadata.eq(metadata),
            orders::version.eq(order.version),
            orders::updated_at.eq(order.updated_at.timestamp_micros()),
            orders::json_bytes.eq(json_bytes(json)),
        ))
        .execute(connection)?;
    check_written(written)?;
    insert_event(connection, order, order.updated_at, json, origin)
}
