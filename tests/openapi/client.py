"""Uses the client that openapi-python-client generates from openapi.json: creates, updates and lists an
order on the server that SERVER names."""

import os
from http import HTTPStatus

from order_service_client import AuthenticatedClient
from order_service_client.api.orders import create_order, list_orders, update_order
from order_service_client.models import (
    MetadataPatch,
    NewOrder,
    NewOrderMetadata,
    Order,
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
