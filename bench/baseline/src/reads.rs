//! The reads of the baseline: each is one join of orders and their lines.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sqlx::PgPool;
use uuid::Uuid;

use crate::document::{Order, Row, orders};
use crate::orders::Failed;

const COLUMNS: &str =
    "o.id, i.product_id, i.quantity, i.unit_amount, o.currency, o.total_amount, o.external_id,
    o.status, o.customer_id, o.metadata, o.version, o.created_at, o.updated_at";

pub async fn list(State(pool): State<PgPool>) -> Result<Json<Vec<Order>>, Failed> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM (SELECT * FROM same_rows.orders WHERE tenant = 'default' ORDER BY id DESC LIMIT 100) AS o
         JOIN same_rows.order_items AS i ON i.tenant = o.tenant AND i.order_id = o.id
         ORDER BY o.id DESC, i.line"
    );
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(&pool)
        .await?;
    Ok(Json(orders(rows)))
}

pub async fn get(
    State(pool): State<PgPool>,
    Path(id): Path<Uuid>,
) -> Result<Json<Order>, (StatusCode, ())> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM same_rows.orders AS o
         JOIN same_rows.order_items AS i ON i.tenant = o.tenant AND i.order_id = o.id
         WHERE o.tenant = 'default' AND o.id = $1
         ORDER BY i.line"
    );
    let found: Result<Vec<Row>, _> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_all(&pool)
        .await;
    match found.map(|rows| orders(rows).pop()) {
        Ok(Some(order)) => Ok(Json(order)),
        Ok(None) => Err((StatusCode::NOT_FOUND, ())),
        Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, ())),
    }
}
