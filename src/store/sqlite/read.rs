//! Reads orders and events.

use diesel::prelude::*;
use uuid::Uuid;

use super::Sqlite;
use super::rows::{EventRow, OrderRow};
use super::schema::{events, orders};
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::event::{Cursor, Event};
use crate::store::model::{ListQuery, Page};
use crate::store::read::Reader;
use crate::telemetry::QueryName;

impl Reader for Sqlite {
    async fn orders(&self, ids: Vec<Uuid>) -> Result<Vec<Order>, StoreError> {
        self.read(QueryName::GetOrders, move |connection| {
            // One by one: each is a look-up by a prepared statement in this process's memory,
            // and a list of ids would be another statement for each length.
            ids.iter()
                .map(|id| {
                    orders::table
                        .find(id.as_bytes().as_slice())
                        .select(OrderRow::as_select())
                        .first(connection)
                        .optional()
                })
                .filter_map(Result::transpose)
                .map(|row| Order::try_from(row?))
                .collect()
        })
        .await
    }

    async fn list(&self, list: ListQuery) -> Result<Page, StoreError> {
        self.read(QueryName::ListOrders, move |connection| {
            let mut query = orders::table
                .select(OrderRow::as_select())
                .order(orders::id.desc())
                .limit(list.limit.into())
                .into_boxed();
            if let Some(after) = list.starting_after {
                query = query.filter(orders::id.lt(after.into_bytes().to_vec()));
            }
            if let Some(status) = list.status {
                query = query.filter(orders::status.eq(status.as_str()));
            }
            if let Some(product_id) = list.product_id {
                query = query.filter(orders::product_id.eq(product_id));
            }
            if let Some(customer_id) = list.customer_id {
                query = query.filter(orders::customer_id.eq(customer_id));
            }
            let orders: Vec<Order> = query
                .load(connection)?
                .into_iter()
                .map(Order::try_from)
                .collect::<Result<_, _>>()?;
            Page::try_from(orders)
        })
        .await
    }
}

impl Sqlite {
    /// The events behind `after`, in the order of their commits.
    pub(in crate::store) async fn feed(
        &self,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(QueryName::ReadFeed, move |connection| {
            let rows = events::table
                .filter(events::seq.gt(after.seq))
                .order(events::seq)
                .limit(limit.into())
                .select(EventRow::as_select())
                .load(connection)?;
            rows.into_iter().map(Event::try_from).collect()
        })
        .await
    }

    /// The events of one order behind a version, oldest first.
    pub(in crate::store) async fn order_events(
        &self,
        id: Uuid,
        after: i32,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(QueryName::ReadOrderEvents, move |connection| {
            let rows = events::table
                .filter(events::order_id.eq(id.as_bytes().as_slice()))
                .filter(events::version.gt(after))
                .order(events::version)
                .limit(limit.into())
                .select(EventRow::as_select())
                .load(connection)?;
            rows.into_iter().map(Event::try_from).collect()
        })
        .await
    }
}
