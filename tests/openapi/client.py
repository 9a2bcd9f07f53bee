"""Uses the client that openapi-python-client generates from openapi.json: creates, updates and lists orders, in both
forms of a new order, on the server that SERVER names."""

import os
from http import HTTPStatus

from order_service_client import AuthenticatedClient
from order_service_client.api.orders import create_order, list_orders, update_order
from order_service_client.models import (
    MetadataPatch,
    NewOrder,
    NewOrderLine,
    NewOrderMetadata,
    Order,
    OrderLine,
    OrderPatch,
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
