"""The OpenAPI document: what flask-smorest knows of the views, completed by what is true of all of them.

Errors follow from an operation's shape: who has a body can send a wrong one, who names an id can miss.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from flask import Flask

from api.rest import problems

_DESCRIPTION = """\
Postroom accepts mail, keeps it in a durable outbox until a relay has taken it, and tells what the relay said.

- Every request needs `Authorization: Bearer <key>`. A key has scopes; `admin` includes all of them. A live key sees
  all live mail, a test key all test mail, and neither the other's; test mail goes to the captured inbox only.
- Bodies are JSON in UTF-8. Unknown fields are refused (422); so are, as unreadable (400), duplicate names, numbers
  beyond every limit, and nesting over 32 levels.
- Answers may gain fields: ignore those you don't know.
- Errors are problems (RFC 9457). Each wrong field is named in `errors` with a pointer, a sentence and a code.
- Every answer carries `X-Request-Id`: yours, if you sent one of 1 to 128 letters, digits, `.`, `_` and `-`.
- Lists are newest first. The `next` of a page, given as `after`, leads to the one behind it, as does the `Link` header.
- Times are RFC 3339 in UTC, ids are UUIDs in the order of time."""

#: What flask-smorest reads from the app's config.
CONFIG: Mapping[str, Any] = {
    "API_TITLE": "Postroom",
    "API_VERSION": "1",
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": None,
}

#: By status: the name of the documented answer, and an example of what it says beyond the usual sentence.
_ERRORS: Mapping[int, tuple[str, dict[str, Any]]] = {
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
    428: ("PreconditionRequired", {"detail": "This request needs If-Match with the resource's ETag, or *."}),
    503: ("Unavailable", {}),
}
_EXTRA_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    503: ("Retry-After",),
}
_HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("Names the request in the operator's log.", {"type": "string"}),
    "Location": ("The resource that was made, or the status of what was queued.", {"type": "string", "format": "uri"}),
    "Content-Location": ("What the body is a picture of.", {"type": "string", "format": "uri"}),
    "Retry-After": ("Seconds until it is worth asking again.", {"type": "integer", "minimum": 1}),
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
#: The parameters in paths, which flask-smorest finds in the routes.
_PATHS: Mapping[str, dict[str, Any]] = {
    "user_id": {"description": "A user's id."},
    "notification_id": {"description": "A notification's id."},
    "batch_id": {"description": "A batch's id."},
    "mail_id": {"description": "A captured mail's id."},
    "key_id": {"description": "A key's id; not the key itself."},
    "name": {"description": "A template's name.", "example": "welcome"},
    "email": {"description": "A recipient's address.", "example": "ann@example.org"},
}
_ORDER = ("openapi", "info", "servers", "security", "tags", "paths", "components")
_OPERATION_ORDER = (
    "operationId",
    "tags",
    "summary",
    "description",
    "security",
    "parameters",
    "requestBody",
    "responses",
)


def document(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of an app, with its keys in the order a person reads them."""
    api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    found = json.loads(json.dumps(api.spec.to_dict()))
    for path, methods in found["paths"].items():
        shared = [parameter | _PATHS[parameter["name"]] for parameter in methods.pop("parameters", [])]
        for method, operation in methods.items():
            operation["parameters"] = [*shared, *operation.get("parameters", [])]
            methods[method] = _complete(path, operation)
    schemas = found["components"]["schemas"]
    for (kind, *_), name in api.ma_plugin.converter.refs.items():
        schemas[name] = {"description": kind.__doc__, **schemas[name]}
    found["info"] |= {"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}}
    found |= {
        "servers": [{"url": "/"}],
        "security": [{"bearerAuth": []}],
        "components": {**_components(), "schemas": schemas},
    }
    return _ordered(found, _ORDER)


def to_yaml(document: Mapping[str, Any]) -> str:
    """Return the document as YAML, which only developers need: PyYAML is no dependency of the service."""
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        """Writes long texts as blocks, and what is told twice twice."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    body: str = yaml.dump(dict(document), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by `make openapi`; changes belong into the code.\n{body}"


def _complete(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    told = operation.pop("x-errors", [])
    once = operation.pop("x-once", False)
    patient, token = operation.pop("x-patient", False), operation.pop("x-token", False)
    told = [*told, 409, 410] if once else told
    answers = {
        status: answer for status, answer in operation["responses"].items() if "content" in answer or status < "4"
    }
    for status, answer in answers.items():
        headers = {**answer.get("headers", {}), "X-Request-Id": _ref("headers", "X-Request-Id")}
        if once:
            headers["Idempotent-Replayed"] = _ref("headers", "Idempotent-Replayed")
        answers[status] = _ordered({**answer, "headers": headers}, ("description", "headers", "content"))
    for status in {*told, *_expected(path, operation)} - {int(status) for status in answers}:
        answers[str(status)] = _ref("responses", _ERRORS[status][0])
    operation["responses"] = dict(sorted(answers.items()))
    operation["parameters"] += _conditions(operation["responses"])
    operation["parameters"] += [_ref("parameters", "IdempotencyKey")] if once else []
    operation["parameters"] += [_ref("parameters", "Prefer")] if patient else []
    operation["parameters"] += [_ref("parameters", "LastEventId")] if "406" in operation["responses"] else []
    if operation["security"]:
        [[scope]] = operation["security"][0].values()
        operation["security"] += [{"statusToken": []}] if token else []
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
    return _ordered({name: value for name, value in operation.items() if value or name == "security"}, _OPERATION_ORDER)


def _expected(path: str, operation: Mapping[str, Any]) -> Iterable[int]:
    """Yield the errors that any operation of this shape can end in."""
    if operation["security"]:
        yield from (400, 401, 403, 503)
    if "{" in path:
        yield 404
    if "requestBody" in operation:
        yield from (413, 415, 422)
    if any(parameter.get("in") == "query" for parameter in operation["parameters"]):
        yield 422


def _conditions(responses: Mapping[str, Any]) -> list[dict[str, str]]:
    names = {"304": "IfNoneMatch", "428": "IfMatchRequired", "412": "IfMatch"}
    return [_ref("parameters", name) for status, name in names.items() if status in responses][:1]


@cache
def _components() -> dict[str, Any]:
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
        "responses": {name: _error(status, more) for status, (name, more) in _ERRORS.items()},
    }


def _error(status: int, more: Mapping[str, Any]) -> dict[str, Any]:
    title, detail = problems.TITLES[status]
    example = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": "/v1/…", **more}
    names = (*_EXTRA_HEADERS.get(status, ()), "X-Request-Id")
    return {
        "description": title,
        "headers": {name: _ref("headers", name) for name in names},
        "content": {problems.MEDIA_TYPE: {"schema": _ref("schemas", "Problem"), "example": example}},
    }


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _ordered(found: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in order if name in found} | dict(found)
