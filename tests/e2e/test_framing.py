import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.e2e.server import Server

LIMIT = 20_000
MESSAGE = {"to": "ann@example.org", "subject": "Hello", "text": "Good day.\n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server for all tests of this file, that sends nothing."""
    server = Server(tmp_path_factory.mktemp("framing"), POSTROOM_MAX_BODY=LIMIT, POSTROOM_DISPATCH="none")
    try:
        yield server.start(ready=False)
    finally:
        server.kill()


@pytest.fixture
def accepted(server) -> Callable[[], int]:
    """Tell how many messages were accepted since the test began."""

    def count() -> int:
        return len(server.get("/v1/notifications?limit=100").body["data"])

    before = count()
    return lambda: count() - before


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        yield connection


def head(server: Server, *more: str) -> bytes:
    lines = [
        "POST /v1/notifications HTTP/1.1",
        f"Host: {server.host}:{server.port}",
        f"Authorization: Bearer {server.key}",
        "Content-Type: application/json",
        *more,
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def chunked(data: bytes, size: int) -> list[bytes]:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return [b"%x\r\n%s\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]


def status_of(connection: socket.socket) -> int:
    answer = b""
    while b"\r\n" not in answer:
        received = connection.recv(4096)
        assert received, f"closed after {answer!r}"
        answer += received
    return int(answer.split(b" ", 2)[1])


def test_a_chunked_body_is_read_to_its_end(server, accepted):
    with connected(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked"))
        for chunk in chunked(json.dumps(MESSAGE).encode(), 7):
            connection.sendall(chunk)
        assert status_of(connection) == 202
    assert accepted() == 1


def send_until_refused(connection, chunks):
    """Send what the other end may answer and hang up on before all of it has come."""
    with suppress(ConnectionError):
        for chunk in chunks:
            connection.sendall(chunk)


def test_a_chunked_body_over_the_limit_is_refused_without_a_row(server, accepted):
    body = json.dumps(MESSAGE | {"text": "x" * 2 * LIMIT}).encode()
    with connected(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked"))
        send_until_refused(connection, chunked(body, 1000))
        assert status_of(connection) == 413
    assert accepted() == 0


def test_an_endless_chunked_body_is_refused_before_it_ends(server, accepted):
    with connected(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked"))
        send_until_refused(connection, chunked(b'{"text": "' + b"x" * 2 * LIMIT, 1000)[:-1])
        assert status_of(connection) == 413
    assert accepted() == 0


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent(server, accepted):
    with connected(server) as connection:
        connection.sendall(head(server, f"Content-Length: {LIMIT + 1}"))
        assert status_of(connection) == 413
    assert accepted() == 0


def test_a_body_at_the_limit_is_taken(server):
    body = json.dumps(MESSAGE).encode()
    padded = body + b" " * (LIMIT - len(body))
    assert server.request("POST", "/v1/notifications", padded).status == 202


def test_a_client_that_vanishes_in_its_body_leaves_no_row(server, accepted):
    for framing in (f"Content-Length: {LIMIT}", "Transfer-Encoding: chunked"):
        with connected(server) as connection:
            connection.sendall(head(server, framing))
            connection.sendall(b'5\r\n{"to"' if "chunked" in framing else b'{"to": "ann@example.org"')
    assert server.get("/healthz").status == 200
    assert accepted() == 0


def test_slow_clients_do_not_keep_the_server_from_others(server, accepted):
    with ExitStack() as stack:
        for _ in range(100):
            slow = stack.enter_context(connected(server))
            slow.sendall(head(server, "Content-Length: 100"))
            slow.sendall(b'{"to"')
        for _ in range(40):
            stack.enter_context(connected(server))
        assert server.post("/v1/notifications", MESSAGE).status == 202
    assert accepted() == 1
