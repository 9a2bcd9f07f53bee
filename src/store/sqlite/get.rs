//! Reads orders.

use diesel::prelude::*;
use diesel::query_builder::Query;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use uuid::Uuid;

use super::Sqlite;
use super::rows::OrderRow;
use super::schema::orders;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::batches::Reader;
use crate::store::create::{ListQuery, Page};
use crate::store::page_sql::{Dialect, PageSql};
use crate::telemetry::QueryName;

impl Reader for Sqlite {
    async fn orders(&self, ids: Vec<Uuid>) -> Result<Vec<Order>, StoreError> {
        self.read(QueryName::GetOrders, move |connection| {
            // One by one: each is a look-up by a prepared statement in this process's memory,
            // and a list of ids would be another statement for each length.
            let (mut orders, mut bytes) = (Vec::with_capacity(ids.len()), 0_usize);
            for id in &ids {
                let row = orders::table
                    .find(id.as_bytes().as_slice())
                    .select((OrderRow::as_select(), orders::json_bytes))
                    .first::<(OrderRow, i32)>(connection)
                    .optional()?;
                let Some((row, length)) = row else { continue };
                bytes += usize::try_from(length).unwrap_or_default();
                if bytes > ListQuery::MAX_BYTES && ids.len() > 1 {
                    return Ok(None);
                }
                orders.push(Order::try_from(row)?);
            }
            Ok(Some(orders))
        })
        .await?
        .ok_or(StoreError::BatchTooLarge)
    }

    async fn list(&self, list: ListQuery) -> Result<Page, StoreError> {
        self.read(QueryName::ListOrders, move |connection| {
            let page = PageSql::<Vec<u8>, Binary>::new(Dialect::Sqlite, &list, |id| {
                id.into_bytes().to_vec()
            });
            let rows: Vec<OrderRow> = page.load(connection)?;
            let orders: Vec<Order> = rows
                .into_iter()
                .map(Order::try_from)
                .collect::<Result<_, _>>()?;
            Page::new(&orders, list.limit)
        })
        .await
    }
}

impl Query for PageSql<Vec<u8>, Binary> {
    type SqlType = (
        Binary,
        Text,
        Integer,
        Text,
        Nullable<Text>,
        Text,
        Integer,
        BigInt,
        BigInt,
    );
}

impl RunQueryDsl<SqliteConnection> for PageSql<Vec<u8>, Binary> {}
