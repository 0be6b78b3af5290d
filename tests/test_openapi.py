"""The OpenAPI document: right in itself, true of the code, and what is committed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from api.app import create_app
from api.config import Settings
from api.core.db import close
from api.rest import openapi
from api.rest.auth import PUBLIC
from schemas.vocabulary import Scope

COMMITTED = Path(__file__).parent.parent / "openapi.yaml"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    return openapi.document(app)


def test_who_asks_first_and_who_asks_meanwhile_get_the_same_document(document, tmp_path):
    app = create_app(Settings(database_url=f"sqlite:///{tmp_path}/postroom.db"))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(openapi.document, [app] * 4)) == [document] * 4
    close(app)


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield path, method, operation


def resolved(document, value):
    while "$ref" in value:
        found = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def test_it_is_valid_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_the_committed_file_is_what_the_code_says(document):
    assert COMMITTED.read_text(encoding="utf-8") == openapi.to_yaml(document), "make openapi"


def test_it_says_the_same_whatever_the_settings_are(settings: Settings, document):
    other = create_app(
        replace(settings, public_url="https://mail.example.org/post", trusted_hosts=("x.example",), welcome=False)
    )

    assert openapi.document(other) == document
    close(other)


def test_yaml_holds_the_same_as_json(document):
    assert yaml.safe_load(openapi.to_yaml(document)) == document


def test_keys_come_in_the_order_that_people_read(document):
    assert list(document) == ["openapi", "info", "servers", "security", "tags", "paths", "components"]
    for _, _, operation in operations(document):
        assert [key for key in operation if key in ("operationId", "summary", "responses")] == [
            "operationId",
            "summary",
            "responses",
        ]
        assert list(operation["responses"]) == sorted(operation["responses"])


def test_every_route_is_documented_but_for_the_documentation_itself(app, document):
    routed = {
        (rule.rule.replace("<uuid:", "{").replace("<path:", "{").replace("<", "{").replace(">", "}"), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("docs.")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert {(path, method) for path, method, _ in operations(document)} == routed


def test_every_operation_has_an_id_of_its_own_a_summary_and_a_tag(document):
    tags = {tag["name"] for tag in document["tags"]}
    ids = []
    for _, _, operation in operations(document):
        ids.append(operation["operationId"])
        assert operation["summary"].endswith(".")
        assert set(operation["tags"]) <= tags
    assert len(set(ids)) == len(ids)


def test_every_operation_but_the_public_ones_asks_for_a_scope(document):
    assert document["security"] == [{"bearerAuth": []}]
    public = set()
    for path, _, operation in operations(document):
        if operation["security"] == []:
            public.add(path)
        else:
            [[scope]] = [asked["bearerAuth"] for asked in operation["security"] if "bearerAuth" in asked]
            assert scope in set(Scope)
            assert f"`{scope}`" in operation["description"]
    assert public == {"/healthz", "/readyz"}
    assert len(PUBLIC) == len(public) + 3


def test_a_status_token_opens_what_tells_of_one_notification_and_nothing_else(document):
    opened = {
        operation["operationId"]
        for _, _, operation in operations(document)
        if {"statusToken": []} in operation["security"]
    }

    assert opened == {"get_notification", "follow_notification"}


def test_every_operation_names_the_errors_of_its_shape(document):
    for path, method, operation in operations(document):
        errors = {status for status in operation["responses"] if status >= "4"}
        if operation["security"]:
            assert {"400", "401", "403", "503"} <= errors
        assert ("404" in errors) == ("{" in path)
        takes_body = method in ("post", "patch") and not path.endswith(("/cancel", "/retry"))
        assert ("415" in errors) == ("413" in errors) == ("requestBody" in operation) == takes_body


def test_every_answer_tells_of_its_headers(document):
    for path, method, operation in operations(document):
        for status, answer in operation["responses"].items():
            answer = resolved(document, answer)
            assert answer["description"]
            assert "X-Request-Id" in answer["headers"], (path, method, status)
            expected = {"401": "WWW-Authenticate", "503": "Retry-After", "304": "ETag", "202": "Location"}
            assert status not in expected or expected[status] in answer["headers"]


def test_every_error_is_a_problem(document):
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            content = resolved(document, answer).get("content", {})
            if operation["operationId"] == "get_metrics" and status == "200":
                assert list(content) == ["text/plain"]
            elif status >= "4":
                assert list(content) == ["application/problem+json"]
            elif status in ("204", "304"):
                assert content == {}
            else:
                stream = operation["operationId"] == "follow_notification"
                assert list(content) == ["text/event-stream" if stream else "application/json"]


def test_every_example_is_valid(document):
    checked = 0
    for path, method, operation in operations(document):
        answers = [resolved(document, answer) for answer in operation["responses"].values()]
        for content in [operation.get("requestBody", {}), *answers]:
            for media in content.get("content", {}).values():
                examples = (
                    [media["example"]] if "example" in media else [one["value"] for one in media["examples"].values()]
                )
                assert examples, (path, method)
                for example in examples:
                    OAS31Validator({**media["schema"], "components": document["components"]}).validate(example)
                    checked += 1
    assert checked > 100


def test_requests_refuse_what_they_do_not_know_and_answers_may_gain_fields(document):
    schemas = document["components"]["schemas"]
    closed = {name for name, schema in schemas.items() if schema.get("additionalProperties") is False}

    assert closed == {
        "AttachmentIn",
        "BatchIn",
        "BatchMessage",
        "KeyIn",
        "Mailbox",
        "NotificationChange",
        "NotificationIn",
        "PreviewIn",
        "Registered",
        "UserChange",
        "UserIn",
    }


def test_nothing_is_described_that_nobody_uses(document):
    text = str(document)

    for kind in ("schemas", "responses", "headers", "parameters"):
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}'" in text, name


def test_every_schema_says_what_it_is(document):
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"].endswith("."), name
