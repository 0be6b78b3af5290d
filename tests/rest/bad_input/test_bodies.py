"""What a body may be, seen from outside: framing, media type, size."""

import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.config import Settings
from tests.rest.conftest import MESSAGE, USER, is_problem

pytestmark = pytest.mark.once

ROUTES = ["/v1/users", "/v1/notifications", "/v1/keys", "/v1/templates/welcome/preview"]


@pytest.fixture(scope="module")
def limit() -> int:
    """How large a body may be, by default."""
    return Settings().max_body


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "\xff"}',
        b'{"a": "\x01"}',
        b"{} // why",
        b'{"to": 1, "to": 2}',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"[" * 100_000,
        b"1" * 5000,
    ],
    ids=lambda body: repr(body[:16]),
)
def test_an_unreadable_body_is_400_and_leaves_nothing(client, nothing_stored, path, body):
    with nothing_stored():
        assert is_problem(client.post(path, data=body, content_type="application/json"), 400)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null", "true"])
def test_a_body_that_is_no_object_is_422(client, path, body):
    answer = client.post(path, data=body, content_type="application/json")

    assert is_problem(answer, 422)
    assert answer.json["errors"] == [{"pointer": "", "detail": "Must be an object.", "code": "invalid_type"}]


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/vnd.api+json",
        "application/problem+json",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "json",
        "application/jsonp",
        "application/json/x",
        "*/*",
    ],
)
def test_another_media_type_is_415_and_leaves_nothing(client, nothing_stored, media_type):
    with nothing_stored():
        answer = client.post("/v1/notifications", data=json.dumps(MESSAGE), content_type=media_type)

        assert is_problem(answer, 415)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/json ;x=y",
    ],
)
def test_json_in_utf_8_is_read_however_it_is_spelled(client, media_type):
    assert client.post("/v1/notifications", data=json.dumps(MESSAGE), content_type=media_type).status_code == 202


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip", "x"])
def test_a_compressed_body_is_415(client, nothing_stored, coding):
    with nothing_stored():
        answer = client.post("/v1/notifications", json=MESSAGE, headers={"Content-Encoding": coding})

        assert is_problem(answer, 415)


def test_a_body_in_identity_coding_is_read(client):
    assert client.post("/v1/users", json=USER, headers={"Content-Encoding": "identity"}).status_code == 202


def test_a_body_over_the_limit_is_413_before_it_is_read(client, nothing_stored, limit):
    unread = _Unreadable()
    with nothing_stored():
        answer = client.post(
            "/v1/notifications",
            headers={"Content-Type": "application/json"},
            environ_overrides={"wsgi.input": unread, "CONTENT_LENGTH": str(limit + 1)},
        )

    assert is_problem(answer, 413)
    assert unread.asked == 0


def test_a_chunked_body_is_413_as_soon_as_it_is_over_the_limit(client, nothing_stored, limit):
    endless = _Endless()
    with nothing_stored():
        answer = client.post(
            "/v1/notifications",
            headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
            environ_overrides={"wsgi.input": endless, "wsgi.input_terminated": True},
        )

    assert is_problem(answer, 413)
    assert endless.given < limit + 1024 * 1024


def test_a_chunked_body_within_the_limit_is_read(client):
    answer = client.post(
        "/v1/notifications",
        input_stream=io.BytesIO(json.dumps(MESSAGE).encode()),
        headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert answer.status_code == 202


def test_a_body_that_breaks_off_is_400(client, nothing_stored):
    with nothing_stored():
        answer = client.post(
            "/v1/notifications",
            input_stream=io.BytesIO(b'{"to": "ann@'),
            headers={"Content-Length": "500", "Content-Type": "application/json"},
        )

        assert is_problem(answer, 400)


@pytest.mark.parametrize("length", ["-1", "many", "1" * 30])
def test_a_content_length_that_is_none_does_no_harm(client, length):
    answer = client.post(
        "/v1/users",
        input_stream=io.BytesIO(b""),
        headers={"Content-Length": length, "Content-Type": "application/json"},
    )

    assert answer.status_code in (400, 413)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(path=st.sampled_from(ROUTES), body=st.binary(max_size=200))
def test_no_bytes_whatever_are_a_fault_of_the_server(client, path, body):
    answer = client.post(path, data=body, content_type="application/json")

    assert answer.status_code in (400, 422)


class _Unreadable(io.RawIOBase):
    """A stream that tells whether it was read."""

    asked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self.asked += 1
        return 0


class _Endless(io.RawIOBase):
    """A stream that never ends."""

    given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        buffer[:] = b" " * len(buffer)
        self.given += len(buffer)
        return len(buffer)
