//! An order with its lines, as the service returns it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

#[derive(Clone, Serialize)]
pub struct Line {
    pub product_id: String,
    pub quantity: i32,
    pub unit_amount: Option<i64>,
}

#[derive(Serialize)]
pub struct Order {
    pub id: Uuid,
    pub items: Vec<Line>,
    pub product_id: Option<String>,
    pub quantity: Option<i32>,
    pub currency: Option<String>,
    pub total_amount: Option<i64>,
    pub external_id: Option<String>,
    pub status: String,
    pub customer_id: Option<String>,
    pub metadata: sqlx::types::Json<serde_json::Value>,
    pub version: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A line with the columns of its order, as a join returns them.
#[derive(FromRow)]
pub struct Row {
    id: Uuid,
    product_id: String,
    quantity: i32,
    unit_amount: Option<i64>,
    currency: Option<String>,
    total_amount: Option<i64>,
    external_id: Option<String>,
    status: String,
    customer_id: Option<String>,
    metadata: sqlx::types::Json<serde_json::Value>,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Combines rows to orders. The rows are sorted by order and line.
pub fn orders(rows: Vec<Row>) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    for row in rows {
        let line = Line {
            product_id: row.product_id,
            quantity: row.quantity,
            unit_amount: row.unit_amount,
        };
        match orders.last_mut() {
            Some(order) if order.id == row.id => {
                order.items.push(line);
                (order.product_id, order.quantity) = (None, None);
            }
            _ => orders.push(Order {
                id: row.id,
                product_id: Some(line.product_id.clone()),
                quantity: Some(line.quantity),
                items: vec![line],
                currency: row.currency,
                total_amount: row.total_amount,
                external_id: row.external_id,
                status: row.status,
                customer_id: row.customer_id,
                metadata: row.metadata,
                version: row.version,
                created_at: row.created_at,
                updated_at: row.updated_at,
            }),
        }
    }
    orders
}
