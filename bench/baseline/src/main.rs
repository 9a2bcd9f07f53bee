//! A conventional stack, as its guides present it: Axum, sqlx with a pool of 20, one statement per row, a
//! metrics middleware. It has fewer checks than the service. sqlx pings a connection before each use;
//! `TEST_BEFORE_ACQUIRE=false` disables that.
//!
//! `POST /api/v1/orders` writes one row, `POST /api/v1/orders-with-event` two rows in a transaction, and
//! `POST /api/v1/orders-same-rows` the four rows that the service writes. Reads return orders with their lines.

mod document;
mod orders;
mod reads;
mod same_rows;

use axum::Router;
use axum::routing::{get, post};
use axum_prometheus::PrometheusMetricLayer;
use sqlx::postgres::PgPoolOptions;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let address = std::env::var("BIND_ADDRESS")?;
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .min_connections(5)
        .test_before_acquire(std::env::var("TEST_BEFORE_ACQUIRE").as_deref() != Ok("false"))
        .connect(&url)
        .await?;
    let (layer, metrics) = PrometheusMetricLayer::pair();
    let app = Router::new()
        .route("/api/v1/orders", post(orders::create).get(reads::list))
        .route("/api/v1/orders-with-event", post(orders::create_with_event))
        .route("/api/v1/orders-same-rows", post(same_rows::create))
        .route("/api/v1/orders/{id}", get(reads::get))
        .route("/readyz", get(orders::ready))
        .route("/metrics", get(async move || metrics.render()))
        .layer(layer)
        .with_state(pool);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
