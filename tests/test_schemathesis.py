"""Requests made up from the document, sensible and senseless: never a fault of the server or an undocumented answer."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings

from api.app import create_app
from api.config import Settings
from api.core import inbox, keys
from api.core.db import Base, close, db
from schemas.vocabulary import Mode, Scope

CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.response_headers_conformance,
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flask, str]]:
    """An app with something in each list, and a key that may do everything."""
    path: Path = tmp_path_factory.mktemp("schemathesis") / "postroom.db"
    # Nobody may wait: an answer would come as late as the request wishes.
    app = create_app(Settings(database_url=f"sqlite:///{path}", sender="Postroom <postroom@example.org>", waiters=0))
    with app.app_context():
        Base.metadata.create_all(db.engine)
        _, secret = keys.create(name="schemathesis", scopes=[Scope.ADMIN])
        inbox.capture(mode=Mode.LIVE, sender="a@example.org", recipients=["b@example.org"], raw=b"Subject: x\r\n\r\n")
    app.extensions["postroom.dispatcher"] = SimpleNamespace(alive=True, trouble=None)
    yield app, secret
    # Had the key been revoked on the way, every answer would have been the same documented 401.
    assert app.test_client().get("/v1/keys", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    close(app)


# That the committed file is what the code says is another test's business.
schema = schemathesis.openapi.from_path(Path(__file__).parent.parent / "openapi.yaml")
OPERATIONS = [
    operation["operationId"] for methods in schema.raw_schema["paths"].values() for operation in methods.values()
]


def answered_as_documented(operation_id: str) -> Any:
    """Return the test of one operation."""

    @schema.include(operation_id=operation_id).parametrize()
    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def test(case, service):
        app, secret = service
        case.call_and_validate(app=app, headers={"Authorization": f"Bearer {secret}"}, checks=CHECKS)

    return test


# A test with a name of its own for each: schemathesis gives all of them one, and of tests with the same name
# pytest-xdist's groups run only one.
globals().update({f"test_{one}_is_answered_as_documented": answered_as_documented(one) for one in OPERATIONS})


def test_no_operation_is_left_out(request):
    names = [name for name in vars(request.module) if name.endswith("_is_answered_as_documented")]

    assert len(names) == len(set(OPERATIONS)) == len(OPERATIONS) > 18
