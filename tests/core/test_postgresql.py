"""PostgreSQL in trouble: connections cut, the server away, transactions that collide; nothing is lost or done twice."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from api.app import create_app
from api.core import dispatchers, erasure, keys, lifecycle, outbox, postgresql, steering, users
from api.core.claim import Address
from api.core.db import close, db, transact
from api.core.errors import Conflict, Gone, NotFound, StaleVersion, Unavailable
from api.core.models import Delivery, Dispatcher
from schemas.vocabulary import DeliveryStatus, Scope
from tests.conftest import REFUSED, SENT

pytestmark = pytest.mark.postgresql


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    # Read when the app is made: before `app`, as autouse fixtures are.
    monkeypatch.setattr(postgresql, "PATIENCE_SECONDS", 0.5)


@pytest.fixture
def hang_up(app, postgresql):
    """Cut every connection to the test's database, as an administrator or a restarted server does."""

    def hang_up() -> int:
        db.session.remove()  # what the test itself has read by goes back to the pool
        cut: int = postgresql.hang_up(db.engine.url.database)
        return cut

    return hang_up


@contextmanager
def beside(app, work):
    """Do some work in another thread meanwhile; afterwards it has come to its end."""
    done: list[object] = []

    def inside():
        with app.app_context():
            try:
                done.append(work())
            except Exception as error:  # noqa: BLE001 -- the test looks at it
                done.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    try:
        yield done
    finally:
        thread.join(30)
        assert not thread.is_alive()


class TestAConnectionThatTheServerHasEnded:
    def test_is_replaced_before_anybody_notices(self, app, hang_up, count):
        for expected in range(1, 4):
            transact(dispatchers.register)
            assert hang_up() > 0
            assert count(Dispatcher) == expected
            assert hang_up() > 0

    def test_stores_nothing_of_the_transaction_under_way_and_the_writer_is_told(self, app, hang_up, count):
        def write(session):
            dispatchers.register(session)
            hang_up()
            dispatchers.register(session)

        with pytest.raises(Unavailable) as told:
            transact(write)
        assert told.value.retry_after > 0
        assert count(Dispatcher) == 0

    def test_takes_a_claim_along(self, app, accept, holder, delivery, claim, hang_up):
        accepted = accept()
        lease = app.extensions["postroom.policy"].lease

        def work(session):
            taken = outbox.claim(session, holder=holder, transport="default", limit=9, lease=lease)
            hang_up()
            return taken

        with pytest.raises(Unavailable):
            transact(work)
        assert (delivery(accepted).status, delivery(accepted).attempts) == (DeliveryStatus.QUEUED, 0)
        assert len(claim()) == 1

    def test_leaves_a_result_to_be_stored_again(self, app, accept, claim, settle, delivery, hang_up, monkeypatch):
        accepted = accept()
        [held] = claim()
        transact(lambda session: None)
        hang_up()
        assert settle(held, SENT)
        assert delivery(accepted).status is DeliveryStatus.SENT
        assert not settle(held, SENT)
        assert len(delivery(accepted).history) == 1


def test_a_claim_whose_commit_was_never_answered_is_given_back(app, accept, holder, delivery, claim):
    accepted = accept()
    [lost] = claim()
    assert claim() == []
    given = transact(lambda session: outbox.revoke(session, holder=holder, token=lost.token))
    assert given == 1
    assert (delivery(accepted).status, delivery(accepted).attempts) == (DeliveryStatus.QUEUED, 0)
    [again] = claim()
    assert again.token != lost.token
    assert transact(lambda session: outbox.revoke(session, holder=holder, token=lost.token)) == 0


def test_who_finds_all_connections_taken_is_told_to_come_back(settings, database_url):
    app = create_app(replace(settings, database_connections=2))
    with app.app_context(), db.engine.connect(), db.engine.connect():
        with pytest.raises(Unavailable, match="busy"):
            transact(dispatchers.register)
        keys_client = app.test_client()
        answer = keys_client.get("/v1/users", headers={"Authorization": "Bearer pr_live_x"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert app.test_client().get("/readyz").status_code == 503
        assert app.test_client().get("/healthz").status_code == 200
    close(app)


def test_who_waits_too_long_for_a_lock_is_told_to_come_back(app, count):
    with db.engine.connect() as other, other.execution_options(isolation_level="READ COMMITTED").begin():
        other.execute(text("LOCK TABLE dispatchers IN EXCLUSIVE MODE"))
        with pytest.raises(Unavailable):
            transact(dispatchers.register)
    transact(dispatchers.register)
    assert count(Dispatcher) == 1


def test_two_transactions_that_wait_for_each_other_are_both_done(app, count):
    first, second = transact(dispatchers.register), transact(dispatchers.register)
    met = threading.Barrier(2)
    tries: list[object] = []

    def work(session, ids):
        # Longer than the second after which the server looks for such a circle.
        session.execute(text("SET LOCAL lock_timeout = '20s'"))
        for number, id_ in enumerate(ids):
            session.execute(text("UPDATE dispatchers SET pid = pid + 1000 WHERE id = :id"), {"id": id_})
            if number == 0 and len(tries) < 2:
                tries.append(id_)
                met.wait(20)

    with beside(app, lambda: transact(lambda session: work(session, (second, first)))) as done:
        transact(lambda session: work(session, (first, second)))
    assert done == [None]
    assert len(tries) == 2
    assert len({row.pid for row in db.session.query(Dispatcher)}) == 1


@pytest.mark.parametrize(
    "moment",
    [
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ],
)
def test_a_time_comes_back_as_it_was_whatever_the_servers_zone_is(app, moment):
    id_ = transact(dispatchers.register)
    transact(lambda session: session.execute(text("UPDATE dispatchers SET seen_at = :at"), {"at": moment}))
    found = db.session.get(Dispatcher, id_)
    assert found is not None
    assert (found.seen_at, found.seen_at.tzinfo) == (moment, UTC)


@pytest.mark.parametrize("durable", [True, False])
def test_every_commit_waits_for_the_disk_because_a_server_dies_apart_from_us(app, durable):
    assert transact(lambda session: session.scalar(text("SHOW synchronous_commit")), durable=durable) == "on"


def test_a_role_that_may_only_read_is_told_as_a_database_in_trouble(app, settings, lent, postgresql):
    postgresql.execute("DROP ROLE IF EXISTS reader")
    postgresql.execute("CREATE ROLE reader LOGIN")
    name = str(db.engine.url.database)
    with postgresql.connect(name) as connection:
        connection.execute("GRANT pg_read_all_data TO reader")
    reader = create_app(replace(settings, database_url=postgresql.url(name, user="reader")))
    with reader.app_context(), pytest.raises(Unavailable):
        transact(dispatchers.register)
    close(reader)
    postgresql.execute("DROP ROLE reader")


class TestRacesOfCallers:
    @pytest.mark.parametrize("first", ["retry", "erase"])
    def test_nothing_waits_to_be_sent_to_somebody_who_was_erased(self, app, accept, claim, settle, key, first):
        accepted = accept(to=[Address("ann@example.org"), Address("bob@example.org")])
        for held in claim():
            settle(held, REFUSED)
        inside, go_on = threading.Event(), threading.Event()

        def hold(session):
            steer(session)
            inside.set()
            go_on.wait(20)

        def steer(session):
            if first == "erase":
                erasure.erase(session, mode=key.mode, mailbox="ann@example.org")
            else:
                session.execute(text("SELECT id FROM notifications FOR UPDATE"))
                session.execute(text("UPDATE deliveries SET status = 'queued', finished_at = NULL"))

        def other():
            if first == "erase":
                return lifecycle.retry(accepted.id, key=key)
            return erasure.erase_recipient("ann@example.org", mode=key.mode)

        with beside(app, lambda: transact(hold)) as held_open:
            assert inside.wait(20)
            with beside(app, other) as told:
                go_on.set()
        assert held_open == [None]
        assert told[0] is None or isinstance(told[0], Conflict | Gone | NotFound)
        db.session.remove()
        waiting = db.session.query(Delivery).where(Delivery.finished_at.is_(None)).all()
        assert all(row.recipient != steering.ERASED for row in waiting)
        erased = db.session.query(Delivery).where(Delivery.recipient == steering.ERASED).all()
        assert [row.status for row in erased] == [
            DeliveryStatus.FAILED if first == "erase" else DeliveryStatus.CANCELLED
        ]

    def test_a_message_to_somebody_who_is_being_erased_is_sent_or_not_accepted(self, app, accept, claim, key):
        accept()
        inside, go_on = threading.Event(), threading.Event()

        def hold(session):
            erasure.erase(session, mode=key.mode, mailbox="ann@example.org")
            inside.set()
            go_on.wait(20)

        with beside(app, lambda: transact(hold)):
            assert inside.wait(20)
            accept()
            go_on.set()
        assert [one.recipient for one in claim()] == ["ann@example.org"]

    def test_of_two_changes_to_the_same_version_one_is_told(self, app, key):
        user = users.register(key=key, username="ann", email="ann@example.org").user
        met = threading.Barrier(2)

        def change(name):
            met.wait(20)
            return users.change(user.id, key=key, version=1, name=name)

        with beside(app, lambda: change("Ann")) as theirs:
            try:
                mine: object = change("Anna")
            except StaleVersion as error:
                mine = error
        outcomes = sorted(type(one).__name__ for one in (mine, theirs[0]))
        assert outcomes == ["StaleVersion", "User"]
        assert users.get(user.id, key=key).version == 2

    def test_twins_by_name_and_address_without_case_are_one_user(self, app, key):
        met = threading.Barrier(4)

        def register(number):
            with app.app_context():
                met.wait(20)
                name, mail = [("Ann", "ann@example.org"), ("aNN", "ANN@EXAMPLE.ORG")][number % 2]
                return users.register(key=key, username=name, email=mail).known

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(register, range(4))) == [False, True, True, True]

    def test_the_same_known_secret_stored_twice_at_once_is_one_key(self, app):
        secret = keys.create(name="made", scopes=[Scope.ADMIN])[1]
        transact(lambda session: session.execute(text("DELETE FROM api_keys")))
        met = threading.Barrier(4)

        def adopt(_number):
            with app.app_context():
                met.wait(20)
                return keys.adopt(secret, name="known", scopes=[Scope.ADMIN]).id

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(adopt, range(4)))) == 1


def test_dispatchers_that_claim_at_once_share_what_there_is_and_wait_for_nobody(app, accept, claim):
    accept(to=[Address(f"user{number}@example.org") for number in range(40)])
    lease = app.extensions["postroom.policy"].lease
    me = [transact(dispatchers.register) for _ in range(4)]
    taken = []

    def nested(session, number):
        mine = outbox.claim(session, holder=me[number], transport="default", limit=10, lease=lease)
        taken.append({one.delivery_id for one in mine})
        if number:
            # All four are open at the same time: who waited for another's rows would wait for ever.
            transact(lambda inner: nested(inner, number - 1))

    transact(lambda session: nested(session, 3))
    assert [len(ids) for ids in taken] == [10] * 4
    assert len(set().union(*taken)) == 40


def test_a_dispatcher_that_keeps_its_journal_elsewhere_is_a_stranger(app, tmp_path):
    own = dispatchers.host()
    settings = app.extensions["postroom.dispatch"]
    app.extensions["postroom.dispatch"] = replace(settings, journals=tmp_path / "elsewhere")
    assert dispatchers.host() != own
    app.extensions["postroom.dispatch"] = settings
    assert dispatchers.host() == own
