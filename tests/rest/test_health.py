"""/healthz, /readyz and /v1/transports: what works is said to work, and no more."""

from dataclasses import dataclass, replace

import pytest
from sqlalchemy import event, text

from api.config import Settings
from api.core import clock, dispatchers, transports
from api.core.claim import Blame, Reply, Result
from api.core.db import db, transact
from api.core.models import Dispatcher
from schemas.vocabulary import Outcome, Phase, TransportState
from tests.rest.conftest import is_problem

LOGIN = Result(Outcome.RELEASED, Blame.OPERATOR, Phase.AUTH, Reply(535, "5.7.8", "bad\r\ncredentials"), 3)
DOWN = Result(Outcome.RELEASED, Blame.RELAY, Phase.CONNECT, Reply(None, None, "connection refused"), 3)


@dataclass
class Thread:
    """Looks like the dispatcher's thread from outside."""

    alive: bool = True
    trouble: str | None = None


@pytest.fixture
def thread(app) -> Thread:
    """The dispatcher of this process."""
    app.extensions["postroom.dispatcher"] = thread = Thread()
    return thread


@pytest.fixture
def report(app):
    """Write down a relay's state, as a dispatcher does."""

    def report(state, error=None, name="default"):
        transact(
            lambda session: transports.report(
                session, name=name, state=state, next_probe_at=clock.utcnow() if error else None, error=error
            )
        )

    return report


def not_ready(client):
    answer = client.get("/readyz")
    assert is_problem(answer, 503), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    return {name for name, check in answer.json["checks"].items() if not check["ok"]}, answer.json["detail"]


def test_it_is_alive_while_the_process_runs(anonymous):
    answer = anonymous.get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_it_is_ready_when_database_dispatcher_and_relay_are(anonymous, thread, report):
    report(TransportState.UP)
    answer = anonymous.get("/readyz")

    assert answer.status_code == 200
    assert answer.json["status"] == "ready"
    assert {name: check["ok"] for name, check in answer.json["checks"].items()} == {
        "database": True,
        "dispatcher": True,
        "relay": True,
    }


def test_asking_leaves_nothing_in_the_database(anonymous, thread, count):
    anonymous.get("/readyz")

    assert count(Dispatcher) == 0


def test_asking_often_does_not_write_often(anonymous, thread, at):
    writes = []
    event.listen(
        db.engine, "before_cursor_execute", lambda *call: writes.append(call[2]) if "INSERT" in call[2] else None
    )
    at(seconds=1)

    for _ in range(20):
        anonymous.get("/readyz")
    assert len(writes) == 1

    at(seconds=3)
    anonymous.get("/readyz")
    assert len(writes) == 2


def test_it_is_not_ready_without_any_dispatcher(anonymous):
    assert not_ready(anonymous)[0] == {"dispatcher"}


def test_a_dispatcher_elsewhere_makes_it_ready_as_long_as_it_gives_signs_of_life(anonymous, at):
    transact(dispatchers.register)
    assert anonymous.get("/readyz").status_code == 200

    at(minutes=1)
    assert not_ready(anonymous)[0] == {"dispatcher"}


@pytest.mark.parametrize(
    ("alive", "trouble"), [(False, None), (False, "The dispatcher crashed."), (True, "Results cannot be stored.")]
)
def test_a_dispatcher_that_does_not_work_makes_it_not_ready_and_says_why(anonymous, thread, alive, trouble):
    thread.alive, thread.trouble = alive, trouble

    failed, detail = not_ready(anonymous)

    assert failed == {"dispatcher"}
    assert (trouble or "does not run") in detail


def test_wrong_credentials_make_it_not_ready_and_say_why_in_one_line(anonymous, thread, report):
    report(TransportState.STOPPED, LOGIN)

    failed, detail = not_ready(anonymous)

    assert failed == {"relay"}
    assert "535 bad credentials" in detail
    assert "auth" in detail


def test_a_relay_in_trouble_of_its_own_is_told_but_leaves_it_ready(anonymous, thread, report):
    report(TransportState.PAUSED, DOWN)
    answer = anonymous.get("/readyz")

    assert answer.status_code == 200
    assert "paused" in answer.json["checks"]["relay"]["detail"]
    assert "connection refused" in answer.json["checks"]["relay"]["detail"]


@pytest.mark.sqlite
def test_a_database_that_cannot_be_written_makes_it_not_ready(anonymous, thread):
    db.engine.dispose()
    event.listen(db.engine, "connect", lambda raw, _record: raw.execute("PRAGMA query_only=ON"))

    assert not_ready(anonymous)[0] == {"database"}


def test_a_database_without_its_tables_makes_it_not_ready_and_is_no_fault_of_the_server(anonymous):
    with db.engine.connect() as connection:
        for table in ("dispatchers", "transports"):
            connection.execute(text(f"ALTER TABLE {table} RENAME TO lost_{table}"))

    assert not_ready(anonymous)[0] == {"database", "dispatcher", "relay"}


@pytest.mark.sqlite
def test_a_database_that_is_none_makes_it_not_ready(anonymous, thread, tmp_path):
    db.session.remove()
    db.engine.dispose()
    for file in tmp_path.glob("postroom.db*"):
        file.write_bytes(b"no database at all, " * 1000)

    failed, detail = not_ready(anonymous)

    assert failed == {"database", "relay"}
    assert str(tmp_path) not in detail
    assert anonymous.get("/healthz").status_code == 200


class TestDispatchingElsewhere:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, dispatch="none")

    def test_only_signs_of_life_count(self, anonymous, thread):
        assert not_ready(anonymous)[0] == {"dispatcher"}


class TestTransports:
    def test_none_is_known_before_the_first_mail(self, client):
        assert client.get("/v1/transports").json == {"data": []}

    def test_a_relay_is_shown_with_its_state_its_last_trouble_and_its_next_probe(self, client, report):
        report(TransportState.STOPPED, LOGIN)
        report(TransportState.UP, name="other")

        stopped, up = client.get("/v1/transports").json["data"]

        assert stopped.pop("since").endswith("Z")
        assert stopped.pop("next_probe_at").endswith("Z")
        assert stopped["last_error"].pop("at").endswith("Z")
        assert stopped == {
            "name": "default",
            "state": "stopped",
            "last_error": {"phase": "auth", "code": 535, "reply": "bad\r\ncredentials"},
        }
        assert (up["name"], up["state"], up["last_error"], up["next_probe_at"]) == ("other", "up", None, None)

    def test_the_last_trouble_stays_readable_when_it_is_over(self, client, report):
        report(TransportState.PAUSED, DOWN)
        report(TransportState.UP)

        [relay] = client.get("/v1/transports").json["data"]

        assert relay["state"] == "up"
        assert relay["last_error"]["reply"] == "connection refused"
        assert relay["last_error"]["code"] is None
