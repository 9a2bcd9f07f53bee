//! Reads orders.

use diesel::prelude::*;
use uuid::Uuid;

use super::Sqlite;
use super::rows::OrderRow;
use super::schema::orders;
use crate::domain::Order;
use crate::store::StoreError;
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
