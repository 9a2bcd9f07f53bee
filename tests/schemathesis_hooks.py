"""Changes generated requests that would affect each other or that no client may send."""

import re
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """The same key with another body is rejected, as specified, so each request gets its own key."""
    headers = case.headers or {}
    for name, value in list(headers.items()):
        if name.lower() == "idempotency-key" and re.fullmatch(r"[!-~]{1,255}", str(value)):
            headers[name] = str(uuid.uuid4())
    # OpenAPI cannot express that two parameters exclude each other; tests/api/lists.rs tests that.
    if "product_id" in (case.query or {}):
        case.query.pop("customer_id", None)
