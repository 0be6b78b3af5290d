"""Clients of the HTTP door, and what a refused request must not leave behind."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from api.core import keys
from api.core.attachments import Attachment
from api.core.db import db
from api.core.models import ApiKey, Capture, Content, Delivery, Notification, Tag, User
from schemas.vocabulary import Mode, Scope


class Client(FlaskClient):
    """A client whose requests know nothing of the app context that the test itself stands in."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return contextvars.Context().run(super().open, *args, **kwargs)


@pytest.fixture
def anonymous(app: Flask) -> FlaskClient:
    """A client without a key."""
    app.test_client_class = Client
    return app.test_client()


@pytest.fixture
def client_with(app: Flask) -> Callable[..., FlaskClient]:
    """Make a client with a key of these scopes."""

    def client_with(*scopes: Scope, mode: Mode = Mode.LIVE) -> FlaskClient:
        app.test_client_class = Client
        client = app.test_client()
        secret = keys.create(name="tests", scopes=scopes, mode=mode)[1]
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return client

    return client_with


@pytest.fixture
def client(client_with: Callable[..., FlaskClient]) -> FlaskClient:
    """A client with a live key that may do everything."""
    return client_with(Scope.ADMIN)


@pytest.fixture
def test_client(client_with: Callable[..., FlaskClient]) -> FlaskClient:
    """A client with a test key that may do everything."""
    return client_with(Scope.ADMIN, mode=Mode.TEST)


@pytest.fixture
def send(client: FlaskClient) -> Callable[..., Any]:
    """Send a message; return the status resource."""

    def send(**message: Any) -> Any:
        answer = client.post("/v1/notifications", json={**MESSAGE, **message})
        assert answer.status_code == 202, answer.text
        return answer.json

    return send


@pytest.fixture
def nothing_stored(app: Flask) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Check that what happens inside leaves no row."""

    @contextlib.contextmanager
    def nothing_stored() -> Iterator[None]:
        before = _rows()
        yield
        assert _rows() == before

    return nothing_stored


#: One statement as it stands: of eight, each would be compiled anew for each app.
_COUNTS = ", ".join(
    f"(SELECT count(*) FROM {table.__tablename__})"  # noqa: S608 -- our own
    for table in (ApiKey, Attachment, Capture, Content, Delivery, Notification, Tag, User)
)


def _rows() -> tuple[int, ...]:
    return tuple(db.session.execute(text(f"SELECT {_COUNTS}")).one())


MESSAGE: dict[str, Any] = {"to": ["ann@example.org"], "subject": "Hello", "text": "Good day.\n"}
USER: dict[str, Any] = {"username": "ann", "email": "ann@example.org"}
FULL_USER: dict[str, Any] = {
    **USER,
    "name": "Ann, Jr.",
    "locale": "de-AT",
    "metadata": {"plan": {"tier": 2}, "é": ["x", None, 1.5]},
}


def authorization(client: FlaskClient) -> dict[str, str]:
    """Return the header that this client identifies itself with."""
    return {"Authorization": client.environ_base["HTTP_AUTHORIZATION"]}


def pointers(response: Any) -> dict[str, str]:
    """Return the codes of a problem's errors by their pointers."""
    return {error["pointer"]: error["code"] for error in response.json["errors"]}


def is_problem(response: Any, status: int) -> bool:
    """Tell whether an answer is a well-formed problem of this status."""
    return bool(
        response.status_code == status
        and response.content_type == "application/problem+json"
        and {"type", "title", "status", "detail", "instance"} <= response.json.keys()
        and response.json["status"] == status
        and "X-Request-Id" in response.headers
    )
