"""Uses the client that openapi-python-client generates from openapi.json: creates orders alone and in a batch, in both
forms, and updates and lists them, on the server that SERVER names."""

import os
from http import HTTPStatus

from order_service_client import AuthenticatedClient
from order_service_client.api.orders import create_order, create_orders, list_orders, update_order
from order_service_client.models import (
    ListOrdersOrder,
    MetadataPatch,
    NewOrder,
    NewOrderBatch,
    NewOrderInBatch,
    NewOrderLine,
    NewOrderMetadata,
    Order,
    OrderLine,
    OrderPatch,
    OrderResults,
    Problem,
    Status,
)

# The server is open to this host and ignores the token.
client = AuthenticatedClient(base_url=os.environ["SERVER"], token="none")

metadata = NewOrderMetadata()
metadata["colour"] = "blue"
metadata["note"] = "gift"
created = create_order.sync_detailed(
    client=client,
    body=NewOrder(product_id="python", quantity=3, metadata=metadata),
    idempotency_key="python-1",
)
assert created.status_code == HTTPStatus.CREATED, created
order = created.parsed
assert isinstance(order, Order)
assert order.status == Status.PENDING

change = MetadataPatch()
change["note"] = None
updated = update_order.sync(
    order.id,
    client=client,
    body=OrderPatch(status=Status.CONFIRMED, metadata=change),
    if_match='"1"',
)
assert isinstance(updated, Order), updated
assert updated.status == Status.CONFIRMED
assert updated.metadata.to_dict() == {"colour": "blue"}

cleared = update_order.sync(order.id, client=client, body=OrderPatch(metadata=None))
assert isinstance(cleared, Order), cleared
assert cleared.metadata.to_dict() == {}

assert list_orders.sync(client=client, product_id="python", limit=10) == [cleared]

stale = update_order.sync(order.id, client=client, body=OrderPatch(status=Status.SHIPPED), if_match='"1"')
assert isinstance(stale, Problem), stale
assert stale.type_ == "urn:problem:order-service:precondition-failed"

basket = create_order.sync(
    client=client,
    body=NewOrder(
        items=[
            NewOrderLine(product_id="python", quantity=2, unit_amount=1499),
            NewOrderLine(product_id="discount", quantity=1, unit_amount=-550),
        ],
        currency="EUR",
        external_id="python-basket",
    ),
)
assert isinstance(basket, Order), basket
assert (basket.product_id, basket.quantity, basket.total_amount) == (None, None, 2448)
assert (basket.currency, basket.external_id) == ("EUR", "python-basket")
assert basket.items[1] == OrderLine(product_id="discount", quantity=1, unit_amount=-550)
assert cleared.items == [OrderLine(product_id="python", quantity=3, unit_amount=None)]
assert (cleared.product_id, cleared.total_amount) == ("python", None)

items = [NewOrderLine(product_id="python", quantity=1, unit_amount=1)]
replaced = update_order.sync(basket.id, client=client, body=OrderPatch(items=items))
assert isinstance(replaced, Order), replaced
assert (replaced.product_id, replaced.total_amount) == ("python", 1)
assert list_orders.sync(client=client, product_id="python") == [replaced, cleared]

invalid = create_order.sync(client=client, body=NewOrder(items=[NewOrderLine(product_id="python", quantity=0)]))
assert isinstance(invalid, Problem), invalid
assert invalid.errors and invalid.errors[0].pointer == "/items/0/quantity"

taken = create_order.sync(client=client, body=NewOrder(product_id="python", quantity=1, external_id="python-basket"))
assert isinstance(taken, Problem), taken
assert (taken.type_, taken.order_id) == ("urn:problem:order-service:external-id-taken", basket.id)

orders = [
    NewOrderInBatch(product_id="python", quantity=1, idempotency_key="python-2"),
    NewOrderInBatch(items=[]),
    NewOrderInBatch(items=items, currency="EUR"),
]
batch = create_orders.sync(client=client, body=NewOrderBatch(orders=orders))
assert isinstance(batch, OrderResults), batch
first, second, third = batch.results
assert isinstance(first.order, Order) and isinstance(third.order, Order), batch
assert isinstance(second.problem, Problem), batch
assert second.problem.errors and second.problem.errors[0].pointer == "/orders/1/items"

found = list_orders.sync(
    client=client,
    product_id="python",
    status=[Status.PENDING, Status.CONFIRMED],
    created_from=cleared.created_at,
    created_to=third.order.created_at,
    order=ListOrdersOrder.ASC,
)
assert isinstance(found, list), found
assert found[:2] == [cleared, replaced]
assert list_orders.sync(client=client, external_id="python-basket") == [replaced]
assert list_orders.sync(client=client, id=[third.order.id, cleared.id]) == [third.order, cleared]
