//! Uses the client that openapi-to-rust generates from openapi.json: creates orders alone and in a batch, in both
//! forms, and updates and lists them, on the server that SERVER names.

include!(concat!(env!("OUT_DIR"), "/module.rs"));

use std::error::Error;

use client::{
    ApiOpError, HttpClient, ListOrdersOrder, MetadataPatch, NewOrderBatch, NewOrderInBatch,
    NewOrderLine, NewOrderMetadata, Status, UpdateOrderApiError,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = HttpClient::new().with_base_url(std::env::var("SERVER")?);

    let metadata = [("colour", "blue"), ("note", "gift")];
    let created = client
        .create_order_builder()
        .product_id("rust".to_owned())
        .quantity(3)
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

    let line = |product_id: &str, quantity, unit_amount| NewOrderLine {
        product_id: product_id.to_owned(),
        quantity,
        unit_amount: Some(Some(unit_amount)),
    };
    let basket = client
        .create_order_builder()
        .items(vec![line("rust", 2, 1499), line("discount", 1, -550)])
        .currency("EUR".to_owned())
        .external_id("rust-basket".to_owned())
        .send()
        .await?;
    assert_eq!((basket.product_id, basket.quantity), (None, None));
    assert_eq!(basket.total_amount, Some(2448));
    let lines: Vec<_> = basket.items.iter().map(|line| line.unit_amount).collect();
    assert_eq!(lines, [Some(1499), Some(-550)]);

    let replaced = client
        .update_order_builder(basket.id.to_string())
        .items(vec![line("rust", 1, 1)])
        .send()
        .await?;
    assert_eq!(replaced.product_id.as_deref(), Some("rust"));
    assert_eq!(replaced.total_amount, Some(1));
    let both = client
        .list_orders_builder()
        .product_id("rust")
        .send()
        .await?;
    let ids: Vec<_> = both.iter().map(|order| order.id).collect();
    assert_eq!(ids, [replaced.id, cleared.id]);

    let orders = vec![
        NewOrderInBatch {
            product_id: Some("rust".to_owned()),
            quantity: Some(1),
            idempotency_key: Some(Some("rust-2".to_owned())),
            ..NewOrderInBatch::default()
        },
        NewOrderInBatch {
            items: Some(Vec::new()),
            ..NewOrderInBatch::default()
        },
    ];
    let batch = client
        .create_orders_builder(NewOrderBatch { orders })
        .send()
        .await?;
    let [first, second] = batch.results.as_slice() else {
        panic!("{batch:?}");
    };
    let first = first.order.as_ref().ok_or("no order")?;
    assert_eq!((second.status, second.problem.is_some()), (422, true));

    let found = client
        .list_orders_builder()
        .product_id("rust")
        .status(vec![Status::Pending, Status::Confirmed])
        .created_from(cleared.created_at.to_rfc3339())
        .order(ListOrdersOrder::Asc)
        .send()
        .await?;
    let ids: Vec<_> = found.iter().map(|order| order.id).collect();
    assert_eq!(ids, [cleared.id, replaced.id, first.id]);
    let chosen = client
        .list_orders_builder()
        .id(vec![first.id.to_string(), cleared.id.to_string()])
        .send()
        .await?;
    let ids: Vec<_> = chosen.iter().map(|order| order.id).collect();
    assert_eq!(ids, [first.id, cleared.id]);
    Ok(())
}
