"""What a monitoring system reads."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import event

from api.core import clock, dispatchers, figures, jobs, transports
from api.core.db import db, transact
from api.core.dispatchers import Drive
from api.rest.metrics import MEDIA_TYPE
from schemas.vocabulary import Scope, TransportState
from tests.conftest import GREYLISTED, REFUSED, SENT
from tests.rest.conftest import MESSAGE, is_problem

_LINE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"\\]*"(,[a-z_]+="[^"\\]*")*\})? -?\d+(\.\d+)?')


@pytest.fixture
def scrape(client):
    """Read the metrics, as numbers by name and labels."""

    def scrape(by=client):
        answer = by.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == MEDIA_TYPE
        assert answer.text.endswith("\n")
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        assert all(_LINE.fullmatch(line) for line in lines), lines
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    return scrape


def test_metrics_need_a_key_with_admin(client_with, anonymous):
    assert is_problem(anonymous.get("/metrics"), 401)
    assert is_problem(client_with(Scope.NOTIFICATIONS_READ).get("/metrics"), 403)


def test_every_family_has_its_help_and_its_type_once(client):
    lines = client.get("/metrics").text.splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert types == [line.split()[2] for line in lines if line.startswith("# HELP ")]
    assert len(types) == len(set(types))
    assert {line.split("{")[0].split()[0] for line in lines if not line.startswith("#")} <= set(types)


def test_the_queue_and_the_oldest_due_are_told(scrape, accept, claim, at):
    start = clock.utcnow()
    for _ in range(3):
        accept()
    accept(send_at=start + timedelta(hours=1))
    claim(limit=1)
    at(seconds=90)
    jobs.run(jobs.named("count"))
    found = scrape()
    assert found['postroom_queue_deliveries{status="queued"}'] == 3
    assert found['postroom_queue_deliveries{status="sending"}'] == 1
    assert found['postroom_queue_deliveries{status="deferred"}'] == 0
    assert 85 < found["postroom_queue_oldest_due_seconds"] < 95


def test_attempts_are_counted_once_each_by_their_outcome(scrape, accept, claim, settle, at):
    for _ in range(4):
        accept()
    for held, result in zip(claim(), (SENT, SENT, REFUSED, GREYLISTED), strict=True):
        settle(held, result)
    for minute in range(1, 6):
        at(minutes=minute)
        jobs.run(jobs.named("count"))
    found = scrape()
    assert found['postroom_attempts_total{outcome="sent"}'] == 2
    assert found['postroom_attempts_total{outcome="failed"}'] == 1
    assert found['postroom_attempts_total{outcome="deferred"}'] == 1
    assert found['postroom_attempts_total{outcome="unknown"}'] == 0
    assert found['postroom_deliveries_total{status="sent"}'] == 2


def test_what_is_accepted_is_counted_once_each(scrape, accept, at, monkeypatch):
    jobs.run(jobs.named("count"))
    for _ in range(3):
        accept()
    for minute in range(1, 6):
        at(minutes=minute)
        jobs.run(jobs.named("count"))
    assert scrape()["postroom_accepted_total"] == 3


def test_relays_and_dispatchers_are_told(scrape):
    transact(lambda session: dispatchers.register(session, drive=Drive.CELERY))
    transact(lambda s: transports.report(s, name="default", state=TransportState.PAUSED, next_probe_at=None))
    found = scrape()
    assert found['postroom_dispatchers{drive="celery"}'] == 1
    assert found['postroom_dispatchers{drive="thread"}'] == 0
    assert found['postroom_relay_state{relay="default",state="paused"}'] == 1
    assert found['postroom_relay_state{relay="default",state="up"}'] == 0


def test_requests_are_counted_by_route_and_code_and_not_by_what_a_client_makes_up(client, scrape):
    client.post("/v1/notifications", json=MESSAGE)
    for _ in range(5):
        client.get(f"/v1/notifications/{uuid4()}")
        client.get(f"/nothing/{uuid4()}")
        client.open("/v1/users", method="BREW")
    found = {name: value for name, value in scrape().items() if "http_requests" in name}
    of = 'postroom_http_requests_total{{method="{}",route="{}",code="{}"}}'
    assert found[of.format("POST", "/v1/notifications", 202)] == 1
    assert found[of.format("GET", "/v1/notifications/<uuid:notification_id>", 404)] == 5
    assert found[of.format("GET", "-", 404)] == 5
    assert len(found) == 4
    scrape()
    assert scrape()[of.format("GET", "/metrics", 200)] == 2


def test_a_look_counts_no_rows_and_asks_the_same_however_long_the_queue_is(client, accept):
    def asked():
        seen = []
        listen = (db.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
        event.listen(*listen)
        client.get("/metrics")
        event.remove(*listen)
        # Who asks is looked up now and then, and what was asked is stored now and then.
        return [one for one in seen if one.startswith("SELECT") and "FROM api_keys" not in one]

    client.get("/metrics")
    before = asked()
    for _ in range(50):
        accept()
    assert asked() == before
    assert len(before) > 1
    assert not [statement for statement in before if "count(" in statement.lower()]


def test_the_queue_is_counted_seldom_where_counting_takes_long(app, accept, at, monkeypatch):
    monkeypatch.setattr(figures, "_depth", lambda: ({"queued": 7}, 1000))
    at(seconds=0)
    jobs.run(jobs.named("count"))
    monkeypatch.setattr(figures, "_depth", lambda: ({"queued": 8}, 1000))
    at(seconds=figures.SPARING - 1)
    jobs.run(jobs.named("count"))
    assert figures.of(figures.read(), figures.QUEUE) == {"queued": 7}
    at(seconds=figures.SPARING + 20)
    jobs.run(jobs.named("count"))
    assert figures.of(figures.read(), figures.QUEUE) == {"queued": 8}
