"""The parts of the OpenAPI document that its operations share: errors, headers, parameters, and the ways to log in."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from api.rest import problems

#: By status: the name of the documented answer, and an example of what it says beyond the usual sentence.
ERRORS: Mapping[int, tuple[str, dict[str, Any]]] = {
    400: ("BadRequest", {"detail": "The body is not JSON: line 1, column 12 is wrong."}),
    401: ("Unauthorized", {}),
    403: ("Forbidden", {"detail": "This key lacks the scope 'notifications:write'."}),
    404: ("NotFound", {"detail": "There is no such resource."}),
    406: ("NotAcceptable", {"detail": "Only text/event-stream can be had here: say so in the Accept header."}),
    409: (
        "Conflict",
        {
            "detail": "The username or the e-mail address belongs to somebody else.",
            "errors": [{"pointer": "/email", "detail": "Belongs to somebody else.", "code": "taken"}],
        },
    ),
    410: ("Gone", {"detail": "This was carried out before, and what was answered is erased."}),
    412: ("StaleVersion", {}),
    413: ("ContentTooLarge", {}),
    415: ("UnsupportedMediaType", {}),
    422: (
        "WrongFields",
        {
            "detail": "Fields of the body are wrong.",
            "errors": [{"pointer": "/to/0/email", "detail": "This field is required.", "code": "required"}],
        },
    ),
    429: (
        "TooManyRequests",
        {
            "detail": "Some recipients have had as much mail as they may get.",
            "errors": [
                {"pointer": "/to/0", "detail": "May be written to 60 times in 3600 seconds.", "code": "rate_limited"}
            ],
        },
    ),
    428: ("PreconditionRequired", {"detail": "This request needs If-Match with the resource's ETag, or *."}),
    503: ("Unavailable", {}),
}
_EXTRA_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_TEXT = {"type": "string"}
#: On every answer to a key.
RATES = ("RateLimit-Policy", "RateLimit")
_HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("Names the request in the operator's log.", {"type": "string"}),
    "Location": ("The resource that was made, or the status of what was queued.", {"type": "string", "format": "uri"}),
    "Content-Location": ("What the body is a picture of.", {"type": "string", "format": "uri"}),
    "Retry-After": ("Seconds until it is worth asking again.", {"type": "integer", "minimum": 1}),
    "RateLimit-Policy": ('The rates, like `"default";q=6000;w=60`: so many requests in so many seconds.', _TEXT),
    "RateLimit": ('How they stand, like `"default";r=5990;t=12`: what is left for so many seconds.', _TEXT),
    "ETag": ("A strong tag of this state of the resource.", {"type": "string"}),
    "Link": ('The next page, with `rel="next"`; missing on the last one.', {"type": "string"}),
    "Idempotent-Replayed": (
        "There, and `true`, when this is the first answer to the same request, given again.",
        {"type": "string", "enum": ["true"]},
    ),
    "Preference-Applied": ("There when the wish to wait was heard: `wait=` and the seconds.", {"type": "string"}),
    "Vary": ("The request's headers that the answer depends on.", {"type": "string"}),
    "X-Accel-Buffering": ("Tells a proxy to pass events on as they come.", {"type": "string", "enum": ["no"]}),
    "WWW-Authenticate": ("How to identify oneself.", {"type": "string"}),
}
_CONDITIONS: Mapping[str, dict[str, Any]] = {
    "IfNoneMatch": {"name": "If-None-Match", "description": "An ETag: answered 304 while it is still right."},
    "IfMatch": {"name": "If-Match", "description": "The ETag of the state that is meant, or `*`."},
    "IfMatchRequired": {"name": "If-Match", "required": True, "description": "The ETag that was read, or `*`."},
    "Prefer": {
        "name": "Prefer",
        "description": (
            "`wait=N` (RFC 7240): seconds that the answer may wait for a change, 60 at most. While too many wait, it "
            "is answered at once and without `Preference-Applied`."
        ),
        "example": "wait=30",
    },
    "LastEventId": {
        "name": "Last-Event-ID",
        "description": "The `id` of the last event that was read: a state that is known is not told again.",
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "description": (
            "A name of yours for this request, bare or quoted, good for at least 24 hours. Sent again with the same "
            "body, it is carried out once and answered as the first time, with `Idempotent-Replayed: true`; with "
            "another body it is refused (422, `idempotency_mismatch`), while the first one runs 409. A request that "
            "was refused does not use the name up."
        ),
        "schema": {"type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[ -~]+$"},
        "example": "order-7-shipped",
    },
}


@cache
def make() -> dict[str, Any]:
    """Return everything but the schemas."""
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `pr_live_…`, `pr_test_…` or, in browsers, `pr_pub_…`.",
    }
    token = {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": (
            "A `status_token`, as `POST /v1/notifications` answers it: reads that one notification for 24 hours. A key "
            "in `Authorization` is judged instead, where both are sent."
        ),
    }
    text = {"in": "header", "schema": {"type": "string"}}
    return {
        "securitySchemes": {"bearerAuth": scheme, "statusToken": token},
        "parameters": {name: {**text, **parameter} for name, parameter in _CONDITIONS.items()},
        "headers": {name: {"description": said, "schema": schema} for name, (said, schema) in _HEADERS.items()},
        "responses": {name: _error(status, more) for status, (name, more) in ERRORS.items()},
    }


def _error(status: int, more: Mapping[str, Any]) -> dict[str, Any]:
    title, detail = problems.TITLES[status]
    example = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": "/v1/…", **more}
    names = (*_EXTRA_HEADERS.get(status, ()), *(() if status == 401 else RATES), "X-Request-Id")
    return {
        "description": title,
        "headers": {name: ref("headers", name) for name in names},
        "content": {problems.MEDIA_TYPE: {"schema": ref("schemas", "Problem"), "example": example}},
    }


def ref(kind: str, name: str) -> dict[str, str]:
    """Return a reference to a part."""
    return {"$ref": f"#/components/{kind}/{name}"}
