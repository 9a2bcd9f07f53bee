//! Uses the client that openapi-to-rust generates from openapi.json: creates, updates and lists an order on
//! the server that SERVER names.

include!(concat!(env!("OUT_DIR"), "/module.rs"));

use std::error::Error;

use client::{
    ApiOpError, HttpClient, MetadataPatch, NewOrder, NewOrderMetadata, OrderPatch, Status,
    UpdateOrderApiError,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = HttpClient::new().with_base_url(std::env::var("SERVER")?);

    let metadata = [("colour", "blue"), ("note", "gift")];
    let order = NewOrder {
        product_id: "rust".to_owned(),
        quantity: 3,
        customer_id: None,
        metadata: Some(NewOrderMetadata {
            additional_properties: metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        }),
    };
    let created = client
        .create_order_builder(order)
        .idempotency_key("rust-1")
        .send()
        .await?;
    assert_eq!(created.status, Status::Pending);
    let id = created.id.to_string();

    let patch = OrderPatch {
        status: Some(Status::Confirmed),
        metadata: Some(Some(MetadataPatch {
            additional_properties: [("note".to_owned(), None)].into(),
        })),
        ..OrderPatch::default()
    };
    let updated = client
        .update_order_builder(&id, patch)
        .if_match("\"1\"")
        .send()
        .await?;
    assert_eq!(updated.status, Status::Confirmed);
    let kept = &updated.metadata.additional_properties;
    assert_eq!(*kept, [("colour".to_owned(), "blue".to_owned())].into());

    let patch = OrderPatch {
        metadata: Some(None),
        ..OrderPatch::default()
    };
    let cleared = client.update_order_builder(&id, patch).send().await?;
    assert!(cleared.metadata.additional_properties.is_empty());

    let list = client.list_orders_builder().product_id("rust").send().await?;
    let versions: Vec<_> = list.iter().map(|order| (order.id, order.version)).collect();
    assert_eq!(versions, [(cleared.id, cleared.version)]);

    let patch = OrderPatch {
        status: Some(Status::Shipped),
        ..OrderPatch::default()
    };
    let stale = client.update_order_builder(&id, patch).if_match("\"1\"");
    let Err(ApiOpError::Api(error)) = stale.send().await else {
        panic!("an update with a stale If-Match must fail");
    };
    let Some(UpdateOrderApiError::Status412(problem)) = error.typed else {
        panic!("{error:?}");
    };
    assert_eq!(
        problem.r#type,
        "urn:problem:order-service:precondition-failed"
    );
    Ok(())
}
