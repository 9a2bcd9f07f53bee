//! The handlers that write one row or two.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

#[derive(Deserialize, Serialize)]
pub struct NewOrder {
    pub product_id: String,
    pub quantity: i32,
    pub customer_id: Option<String>,
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// An order as one row.
#[derive(FromRow, Serialize)]
pub struct Order {
    pub id: Uuid,
    pub product_id: String,
    pub quantity: i32,
    pub status: String,
    pub customer_id: Option<String>,
    pub metadata: sqlx::types::Json<serde_json::Value>,
    pub version: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Every error is a 500.
pub struct Failed;

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        eprintln!("{error}");
        Self
    }
}

impl From<serde_json::Error> for Failed {
    fn from(error: serde_json::Error) -> Self {
        eprintln!("{error}");
        Self
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

async fn insert(new: NewOrder, database: impl sqlx::PgExecutor<'_>) -> Result<Order, sqlx::Error> {
    sqlx::query_as(
        "INSERT INTO orders (id, product_id, quantity, status, customer_id, metadata, version,
            created_at, updated_at)
         VALUES ($1, $2, $3, 'pending', $4, $5, 1, $6, $6)
         RETURNING id, product_id, quantity, status, customer_id, metadata, version, created_at,
            updated_at",
    )
    .bind(Uuid::now_v7())
    .bind(new.product_id)
    .bind(new.quantity)
    .bind(new.customer_id)
    .bind(sqlx::types::Json(new.metadata))
    .bind(Utc::now())
    .fetch_one(database)
    .await
}

pub async fn create(
    State(pool): State<PgPool>,
    Json(new): Json<NewOrder>,
) -> Result<(StatusCode, Json<Order>), Failed> {
    Ok((StatusCode::CREATED, Json(insert(new, &pool).await?)))
}

pub async fn create_with_event(
    State(pool): State<PgPool>,
    Json(new): Json<NewOrder>,
) -> Result<(StatusCode, Json<Order>), Failed> {
    let mut transaction = pool.begin().await?;
    let order = insert(new, &mut *transaction).await?;
    sqlx::query(
        "INSERT INTO events (order_id, version, occurred_at, data) VALUES ($1, $2, $3, $4)",
    )
    .bind(order.id)
    .bind(order.version)
    .bind(order.created_at)
    .bind(sqlx::types::Json(&order))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(order)))
}

pub async fn ready(State(pool): State<PgPool>) -> Result<(), Failed> {
    sqlx::query("SELECT 1").execute(&pool).await?;
    Ok(())
}
