"""The OpenAPI document: what flask-smorest knows of the views, completed by what is true of all of them.

Errors follow from an operation's shape: who has a body can send a wrong one, who names an id can miss.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Flask

from api.rest import blueprint, components, fields, journeys

_DESCRIPTION = """\
Postroom accepts mail, keeps it in a durable outbox until a relay has taken it, and tells what the relay said.

- Every request needs `Authorization: Bearer <key>`. A key has scopes; `admin` includes all of them. A live key sees
  all live mail, a test key all test mail, and neither the other's; test mail goes to the captured inbox only.
- Bodies are JSON in UTF-8. Unknown fields are refused (422); so are, as unreadable (400), duplicate names, numbers
  beyond every limit, and nesting over 32 levels.
- Answers may gain fields: ignore those you don't know.
- Errors are problems (RFC 9457). Each wrong field is named in `errors` with a pointer, a sentence and a code.
- Every answer carries `X-Request-Id`: yours, if you sent one of 1 to 128 letters, digits, `.`, `_` and `-`.
- A key may make so many requests in so long, and every answer tells how many are left (`RateLimit`). What is more is
  answered 429, and so is mail to a recipient who has had enough; `Retry-After` has the seconds to wait.
- Lists are newest first. The `next` of a page, given as `after`, leads to the one behind it, as does the `Link` header.
- Times are RFC 3339 in UTC, ids are UUIDs in the order of time."""

#: What flask-smorest reads from the app's config.
CONFIG: Mapping[str, Any] = {
    "API_TITLE": "Postroom",
    "API_VERSION": "1",
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": None,
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
    blueprint.describe(app)
    api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    found = json.loads(json.dumps(api.spec.to_dict()))
    for path, methods in found["paths"].items():
        shared = [parameter | _PATHS[parameter["name"]] for parameter in methods.pop("parameters", [])]
        for method, operation in methods.items():
            operation["parameters"] = [*shared, *operation.get("parameters", [])]
            methods[method] = _complete(path, operation)
    journeys.lead(found["paths"])
    schemas = found["components"]["schemas"]
    for (kind, *_), name in api.ma_plugin.converter.refs.items():
        schemas[name] = {"description": kind.__doc__, **schemas[name]}
    schemas["Registered"] = fields.REGISTERED
    found["info"] |= {"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}}
    found |= {
        "servers": [{"url": "/"}],
        "security": [{"bearerAuth": []}],
        "components": {**components.make(), "schemas": schemas},
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
        further = (
            "X-Request-Id",
            *(components.RATES if operation["security"] else ()),
            *(("Idempotent-Replayed",) if once else ()),
        )
        headers = {**answer.get("headers", {}), **{name: components.ref("headers", name) for name in further}}
        answers[status] = _ordered({**answer, "headers": headers}, ("description", "headers", "content", "links"))
    for status in {*told, *_expected(path, operation)} - {int(status) for status in answers}:
        answers[str(status)] = components.ref("responses", components.ERRORS[status][0])
    operation["responses"] = dict(sorted(answers.items()))
    operation["parameters"] += _conditions(operation["responses"])
    operation["parameters"] += [components.ref("parameters", "IdempotencyKey")] if once else []
    operation["parameters"] += [components.ref("parameters", "Prefer")] if patient else []
    operation["parameters"] += [components.ref("parameters", "LastEventId")] if "406" in operation["responses"] else []
    if operation["security"]:
        [[scope]] = operation["security"][0].values()
        operation["security"] += [{"statusToken": []}] if token else []
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
    return _ordered({name: value for name, value in operation.items() if value or name == "security"}, _OPERATION_ORDER)


def _expected(path: str, operation: Mapping[str, Any]) -> Iterable[int]:
    """Yield the errors that any operation of this shape can end in."""
    if operation["security"]:
        yield from (400, 401, 403, 429, 503)
    if "{" in path:
        yield 404
    if "requestBody" in operation:
        yield from (413, 415, 422)
    if any(parameter.get("in") == "query" for parameter in operation["parameters"]):
        yield 422


def _conditions(responses: Mapping[str, Any]) -> list[dict[str, str]]:
    names = {"304": "IfNoneMatch", "428": "IfMatchRequired", "412": "IfMatch"}
    return [components.ref("parameters", name) for status, name in names.items() if status in responses][:1]


def _ordered(found: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in order if name in found} | dict(found)
