//! Uses the client that openapi-to-rust generates from openapi.json: creates, updates and lists an order on
//! the server that SERVER names.

include!(concat!(env!("OUT_DIR"), "/module.rs"));

use std::error::Error;

use client::{
    ApiOpError, HttpClient, MetadataPatch, NewOrderMetadata, Status, UpdateOrderApiError,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = HttpClient::new().with_base_url(std::env::var("SERVER")?);

    let metadata = [("colour", "blue"), ("note", "gift")];
    let created = client
        .create_order_builder("rust".to_owned(), 3)
        .metadata(NewOrderMetadata {
            additional_properties: metadata
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        })
        .idempotency_key("rust-1")
        .send()
        .await?;
    assert_eq!(created.status, Status::Pending);
    let id = created.id.to_string();

    let updated = client
        .update_order_builder(&id)
        .status(Status::Confirmed)
        .metadata(MetadataPatch {
            additional_properties: [("note".to_owned(), None)].into(),
        })
        .if_match("\"1\"")
        .send()
        .await?;
    assert_eq!(updated.status, Status::Confirmed);
    let kept = &updated.metadata.additional_properties;
    assert_eq!(*kept, [("colour".to_owned(), "blue".to_owned())].into());

    let cleared = client
        .update_order_builder(&id)
        .metadata_null()
        .send()
        .await?;
    assert!(cleared.metadata.additional_properties.is_empty());

    let list = client
        .list_orders_builder()
        .product_id("rust")
        .limit(10)
        .send()
        .await?;
    let versions: Vec<_> = list.iter().map(|order| (order.id, order.version)).collect();
    assert_eq!(versions, [(cleared.id, cleared.version)]);

    let stale = client
        .update_order_builder(&id)
        .status(Status::Shipped)
        .if_match("\"1\"");
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
