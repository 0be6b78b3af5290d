"""Live status over real HTTP: waiting, following, tokens, slow clients, and what becomes of them all at the end."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.client import HTTPConnection

import pytest

from api.core import clock
from tests.e2e.server import PATIENCE
from tests.e2e.test_drain import gunicorn as gunicorn
from tests.relay.actions import delay
from tests.relay.script import Rule

MESSAGE = {"to": "ann@example.org", "subject": "Hello", "text": "Good day.\n"}
LATER, STILL_LATER = (f"{clock.utcnow() + timedelta(days=days):%Y-%m-%d}T09:00:00Z" for days in (40, 41))
TOKENED = {**MESSAGE, "status_token": True}


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def serve(start, gunicorn):
    """Start a server of one kind that sends nothing."""

    def serve(kind, **settings):
        settings = {"POSTROOM_DISPATCH": "none", **settings}
        server = (
            gunicorn(**settings) if kind == "gunicorn" else start("serve", "--workers", "2", ready=False, **settings)
        )
        server.wait_until_up("/healthz")
        return server

    return serve


def path(answer):
    assert answer.status == 202, answer
    return "/v1/notifications/" + answer.body["id"]


@contextmanager
def following(server, path, **headers):
    """Open a stream of events; give its response."""
    connection = HTTPConnection(server.host, server.port, timeout=PATIENCE)
    try:
        given = {"Authorization": f"Bearer {server.key}", "Accept": "text/event-stream", **headers}
        connection.request("GET", f"{path}/events", headers=given)
        yield connection.getresponse()
    finally:
        connection.close()


def next_event(response):
    """Return the next event's name and data, None at the end."""
    name = None
    while line := response.readline():
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            return name, json.loads(value)
    return None


def waits(server, path, pool, seconds=50):
    """Ask to wait; return what will be answered once the server has the question."""
    future = pool.submit(server.get, path, Prefer=f"wait={seconds}")
    # Nothing tells from outside that it waits; too early, and what follows is only easier.
    time.sleep(0.5)
    return future


def test_the_mail_is_waited_for_until_it_is_sent(start, relay, pool):
    relay.script(Rule("dot", delay(1.0)))
    server = start()
    status = path(server.post("/v1/notifications", MESSAGE))
    deadline = time.monotonic() + PATIENCE
    found = server.get(status)
    while found.body["finished_at"] is None:
        assert time.monotonic() < deadline
        found = server.get(status, Prefer="wait=20", **{"If-None-Match": found.headers["ETag"]})
        assert found.status == 200
        assert found.headers["Preference-Applied"] == "wait=20"
    assert found.body["status"] == "sent"


def test_the_mail_is_followed_until_it_is_sent_by_whoever_has_the_token(start, relay):
    relay.script(Rule("dot", delay(0.5)))
    server = start()
    answer = server.post("/v1/notifications", TOKENED)
    connection = HTTPConnection(server.host, server.port, timeout=PATIENCE)
    target = f"{path(answer)}/events?token={answer.body['status_token']}"
    connection.request("GET", target, headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.status == 200
    told = []
    while (event := next_event(response)) is not None:
        told.append(event)
    connection.close()
    assert told[-1] == ("finished", {"status": "sent"})
    assert told[-2][1]["deliveries"][0]["history"][0]["code"] == 250
    assert answer.body["status_token"] not in server.log()


@pytest.mark.parametrize("kind", ["serve", "gunicorn"])
def test_events_come_as_they_happen_under_every_server(serve, kind):
    server = serve(kind)
    status = path(server.post("/v1/notifications", {**MESSAGE, "send_at": LATER}))
    with following(server, status) as response:
        assert next_event(response)[1]["status"] == "scheduled"
        server.request("PATCH", status, json.dumps({"send_at": STILL_LATER}).encode())
        assert next_event(response)[1]["send_at"].startswith(STILL_LATER[:10])
        server.post(f"{status}/cancel", {})
        assert next_event(response)[1]["status"] == "cancelled"
        assert next_event(response) == ("finished", {"status": "cancelled"})
        assert next_event(response) is None


def test_a_client_that_vanishes_leaves_its_place(start):
    server = start(ready=False, POSTROOM_DISPATCH="none", POSTROOM_WAITERS=1)
    status = path(server.post("/v1/notifications", {**MESSAGE, "send_at": LATER}))
    with following(server, status) as response:
        assert next_event(response)
        assert server.get(f"{status}/events", Accept="text/event-stream").status == 503
    deadline = time.monotonic() + PATIENCE
    odd = False
    while True:
        # The stream learns that nobody reads it when it has something to say.
        server.request("PATCH", status, json.dumps({"send_at": LATER if odd else STILL_LATER}).encode())
        odd = not odd
        with following(server, status) as response:
            if response.status == 200:
                return
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("kind", ["serve", "gunicorn"])
def test_who_waits_and_who_follows_is_answered_when_the_server_ends(serve, pool, kind):
    server = serve(kind)
    status = path(server.post("/v1/notifications", {**MESSAGE, "send_at": LATER}))
    with following(server, status) as response:
        assert next_event(response)
        future = waits(server, status, pool)
        assert not future.done()
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 15
        assert future.result(PATIENCE).body["status"] == "scheduled"
        assert next_event(response) is None
    assert "Traceback" not in server.log()


def test_a_token_holds_for_every_worker_and_after_a_restart(serve):
    server = serve("serve")
    answers = [server.post("/v1/notifications", TOKENED) for _ in range(8)]

    def read(answer, token):
        connection = HTTPConnection(server.host, server.port, timeout=PATIENCE)
        connection.request("GET", f"{path(answer)}?token={token}")
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    assert [read(answer, answer.body["status_token"]) for answer in answers * 2] == [200] * 16
    assert server.stop() == 0
    server.start(ready=False)
    assert [read(answer, answer.body["status_token"]) for answer in answers] == [200] * 8
    assert read(answers[0], answers[1].body["status_token"]) == 401


def test_slow_clients_and_waiters_keep_nobody_else_from_being_answered(start, pool):
    server = start(ready=False, POSTROOM_DISPATCH="none")
    status = path(server.post("/v1/notifications", {**MESSAGE, "send_at": LATER}))
    slow = [
        f"POST /v1/notifications HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {server.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    ]
    slow.append(slow[0][:60])
    waiting = (
        f"GET {status} HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {server.key}\r\nPrefer: wait=60\r\n\r\n"
    )
    with ExitStack() as stack:
        # 200 of one and 100 of the other were asked for; more bodies than a worker had threads once, and some.
        for text, count in ((slow[0], 300), (slow[1], 40), (waiting, 100)):
            for _ in range(count):
                connection = stack.enter_context(socket.create_connection((server.host, server.port), timeout=PATIENCE))
                connection.sendall(text.encode())
        answers = list(pool.map(lambda _: server.post("/v1/notifications", MESSAGE), range(40)))
        assert [answer.status for answer in answers] == [202] * 40
        assert server.get(path(answers[0])).status == 200
        assert server.get("/healthz").status == 200
    assert len(server.get("/v1/notifications?limit=100").body["data"]) == 41
