//! Creates an order with the rows that the service writes for it: the order, its line, its event, and the idempotency
//! key with the document that a replay sends.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{SubsecRound, Utc};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::{PgPool, PgTransaction};
use uuid::Uuid;

use crate::document::{Line, Order};
use crate::orders::{Failed, NewOrder};

/// A request with a key that exists gets the stored document, or 422 if the requests differ.
pub async fn create(
    State(pool): State<PgPool>,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<Response, Failed> {
    let Some(key) = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
    else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let hash = Sha256::digest(serde_json::to_vec(&new)?);
    let now = Utc::now().trunc_subsecs(6);
    let line = Line {
        product_id: new.product_id,
        quantity: new.quantity,
        unit_amount: None,
    };
    let order = Order {
        id: Uuid::now_v7(),
        product_id: Some(line.product_id.clone()),
        quantity: Some(line.quantity),
        items: vec![line],
        currency: None,
        total_amount: None,
        external_id: None,
        status: "pending".to_owned(),
        customer_id: new.customer_id,
        metadata: sqlx::types::Json(new.metadata.into()),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let document = serde_json::value::to_raw_value(&order)?;
    let mut transaction = pool.begin().await?;
    if !insert_key(key, &hash, &order, &document, &mut transaction).await? {
        return replay(key, &hash, &mut transaction).await;
    }
    insert_order(&order, &document, &mut transaction).await?;
    transaction.commit().await?;
    Ok(created(document))
}

/// Returns whether the key is new.
async fn insert_key(
    key: &str,
    hash: &[u8],
    order: &Order,
    document: &RawValue,
    transaction: &mut PgTransaction<'_>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO same_rows.idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document,
            created_at)
         VALUES ('default', $1, $2, $3, 1, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(Sha256::digest(key).as_slice())
    .bind(order.id)
    .bind(hash)
    .bind(sqlx::types::Json(document))
    .bind(order.created_at)
    .execute(&mut **transaction)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn insert_order(
    order: &Order,
    document: &RawValue,
    transaction: &mut PgTransaction<'_>,
) -> Result<(), sqlx::Error> {
    let length = i32::try_from(document.get().len()).unwrap_or(i32::MAX);
    sqlx::query(
        "INSERT INTO same_rows.orders (tenant, id, status, customer_id, external_id, currency, total_amount, metadata,
            version, created_at, updated_at, json_bytes)
         VALUES ('default', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(order.id)
    .bind(&order.status)
    .bind(&order.customer_id)
    .bind(&order.external_id)
    .bind(&order.currency)
    .bind(order.total_amount)
    .bind(&order.metadata)
    .bind(order.version)
    .bind(order.created_at)
    .bind(order.updated_at)
    .bind(length)
    .execute(&mut **transaction)
    .await?;
    for (number, line) in (1_i16..).zip(&order.items) {
        sqlx::query(
            "INSERT INTO same_rows.order_items (tenant, order_id, line, product_id, quantity, unit_amount, status)
             VALUES ('default', $1, $2, $3, $4, $5, $6)",
        )
        .bind(order.id)
        .bind(number)
        .bind(&line.product_id)
        .bind(line.quantity)
        .bind(line.unit_amount)
        .bind(&order.status)
        .execute(&mut **transaction)
        .await?;
    }
    sqlx::query(
        "INSERT INTO same_rows.events (tenant, order_id, version, event_type, position, occurred_at, data, data_bytes, authtype)
         VALUES ('default', $1, $2, 'created', pg_current_xact_id()::text::bigint, $3, $4, $5, 'unauthenticated')",
    )
    .bind(order.id)
    .bind(order.version)
    .bind(order.created_at)
    .bind(sqlx::types::Json(document))
    .bind(length)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn replay(
    key: &str,
    hash: &[u8],
    transaction: &mut PgTransaction<'_>,
) -> Result<Response, Failed> {
    let (stored_hash, document): (Vec<u8>, sqlx::types::Json<Box<RawValue>>) = sqlx::query_as(
        "SELECT request_hash, document FROM same_rows.idempotency_keys WHERE tenant = 'default' AND key_hash = $1",
    )
    .bind(Sha256::digest(key).as_slice())
    .fetch_one(&mut **transaction)
    .await?;
    if stored_hash != hash {
        return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response());
    }
    let mut response = created(document.0);
    let replayed = axum::http::HeaderValue::from_static("true");
    response
        .headers_mut()
        .insert("idempotency-replayed", replayed);
    Ok(response)
}

fn created(document: Box<RawValue>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let body = String::from(Box::<str>::from(document));
    (StatusCode::CREATED, json, body).into_response()
}
