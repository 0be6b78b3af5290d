import struct
import threading
import time
import uuid
from functools import partial

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from api.core import clock, dispatchers, errors, outbox
from api.core.claim import Address
from api.core.db import add, db, transact
from api.core.models import Content, Delivery, Dispatcher, Notification
from api.core.road import Job, Road, Turn

#: PostgreSQL has no such road: there each transaction has a connection of its own.
pytestmark = pytest.mark.sqlite
PATIENCE = 30.0


@pytest.fixture
def path(app, tmp_path):
    return tmp_path / "postroom.db"


@pytest.fixture
def together(app):
    """Have works wait behind one that goes on only when all of them are there; return what came of each."""

    def together(*works):
        inside, go_on = threading.Event(), threading.Event()
        outcomes: dict[int, object] = {}

        def hold(session):
            inside.set()
            assert go_on.wait(PATIENCE)

        def run(number, work):
            with app.app_context():
                try:
                    outcomes[number] = work()
                except Exception as error:  # noqa: BLE001 -- what the test asks for
                    outcomes[number] = error

        threads = [threading.Thread(target=run, args=[-1, partial(transact, hold)])]
        threads[0].start()
        assert inside.wait(PATIENCE)
        for number, work in enumerate(works):
            threads.append(threading.Thread(target=run, args=[number, work]))
            threads[-1].start()
            until(lambda number=number: len(app.extensions["postroom.road"]._waiting) == number + 1)
        go_on.set()
        for thread in threads:
            thread.join()
        return [outcomes[number] for number in range(len(works))]

    return together


def until(is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def commits(path):
    """Return how many transactions the log holds: the frames that end one tell the size of the database."""
    log = path.with_name(path.name + "-wal").read_bytes()
    salt = log[16:24]
    [page] = struct.unpack(">I", log[8:12])
    found = 0
    for at in range(32, len(log), 24 + page):
        header = log[at : at + 24]
        if header[8:16] == salt and header[4:8] != bytes(4):
            found += 1
    return found


def row(id_):
    now = clock.utcnow()
    return [
        (
            Dispatcher.__table__,
            [{"id": id_, "host": "here", "pid": 1, "drive": "thread", "started_at": now, "seen_at": now}],
        )
    ]


def test_accepts_that_wait_at_the_same_time_share_one_commit(together, accept, count, path):
    before = commits(path)
    accepted = together(*[partial(accept, to=[Address(f"user{number}@example.org")]) for number in range(5)])
    assert commits(path) == before + 1  # the one who held the road wrote nothing
    assert count(Notification) == count(Delivery) == count(Content) == 5
    assert [one.deliveries[0].recipient for one in accepted] == [f"user{number}@example.org" for number in range(5)]


def test_who_finds_nobody_writing_waits_for_nobody(accept, path):
    before = commits(path)
    for number in range(3):
        accept()
        assert commits(path) == before + number + 1


def test_the_log_is_synced_at_the_commit_of_an_accept_and_before_its_answer(app, accept):
    said: list[str] = []

    @event.listens_for(db.engine, "checkout")
    def listen(connection, _record, _proxy):
        connection.set_trace_callback(said.append)

    transact(lambda session: None, durable=False)  # leaves its connection at NORMAL
    said.clear()
    accept()
    began = said.index("BEGIN IMMEDIATE")
    end = said.index("COMMIT")
    own = app.extensions["postroom.writer"]._connection
    assert own.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL, and nothing has changed it meanwhile
    assert not any("synchronous=" in one for one in said[began:end])
    assert sum(one.startswith("INSERT") for one in said[began:end]) >= 3
    assert said.count("COMMIT") == 1


def test_an_accept_that_fails_undoes_nobody_elses(together, accept, holder, count):
    fine = partial(accept, to=[Address("fine@example.org")])
    twice = partial(add, row(holder))
    results = together(fine, twice, fine, fine)
    assert isinstance(results[1], IntegrityError)
    assert [type(one) for one in (results[0], *results[2:])] == [Notification] * 3
    assert count(Notification) == 3
    assert count(Dispatcher) == 1


def test_a_row_that_the_driver_cannot_take_keeps_nobody_from_writing(accept, count):
    [(table, [good])] = row(uuid.uuid4())
    with pytest.raises(UnicodeEncodeError):
        add([(table, [{**good, "host": "\ud800"}])])
    transact(dispatchers.register)
    accept()
    add([(table, [good])])
    assert count(Dispatcher) == 2
    assert count(Notification) == 1


def test_a_work_that_raises_undoes_nobody_elses(together, accept, count):
    def fail(session):
        dispatchers.register(session)
        raise LookupError("its own")

    results = together(accept, partial(transact, fail), partial(transact, dispatchers.register), accept)
    assert isinstance(results[1], LookupError)
    assert count(Notification) == 2
    assert count(Dispatcher) == 1


def test_a_work_is_done_in_the_context_of_who_wants_it(app, together):
    from flask import g  # noqa: PLC0415 -- of this test alone

    def name(given):
        g.name = given
        return transact(lambda session: g.name)

    assert together(*[partial(name, given) for given in "abc"]) == ["a", "b", "c"]


def test_results_and_accepts_are_served_as_they_come(app, together, accept, count):
    order: list[str] = []

    def lazily(name):
        return transact(lambda session: order.append(name), durable=False)

    def durably(name):
        return transact(lambda session: order.append(name))

    together(
        partial(durably, "accept 1"),
        partial(lazily, "result 1"),
        partial(durably, "accept 2"),
        partial(lazily, "result 2"),
        partial(durably, "accept 3"),
    )
    # What is durable goes with the first of its kind; a result waits for one such group, not for one after the other.
    assert order == ["accept 1", "accept 2", "accept 3", "result 1", "result 2"]


def test_a_claim_beside_waiting_accepts_sees_each_of_them_whole(together, accept, holder, app):
    def claim():
        lease = app.extensions["postroom.policy"].lease
        work = partial(outbox.claim, holder=holder, transport="default", limit=10, lease=lease)
        return transact(work, durable=False)

    claimed = together(accept, accept, claim)[-1]
    assert isinstance(claimed, list)
    assert [one.content.subject for one in claimed] == ["[Postroom] Hello"] * 2


def test_a_process_that_writes_again_and_again_does_not_shut_another_out(tmp_path):
    busy, other = (Turn(tmp_path / "postroom.db.writer") for _ in range(2))
    taken, done = [], threading.Event()

    def write():
        while not done.is_set():
            with busy.taken():
                taken.append(1)
                time.sleep(0.005)

    thread = threading.Thread(target=write)
    thread.start()
    until(lambda: taken)
    for _ in range(5):
        before = len(taken)
        with other.taken(time.monotonic() + PATIENCE):
            assert len(taken) - before < 20
    done.set()
    thread.join()
    busy.close()
    other.close()


def test_everybody_is_told_when_the_commit_that_they_share_fails():
    def carry(jobs):
        if len(jobs) > 1:
            raise MemoryError
        assert go_on.wait(PATIENCE)
        jobs[0].end("done")

    go_on = threading.Event()
    road = Road(Turn(None), carry)
    outcomes: list[object] = []

    def travel():
        try:
            outcomes.append(road.travel(Job(None, shares=True, patience=PATIENCE)))
        except (MemoryError, errors.Unavailable) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=travel) for _ in range(4)]
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda number=number: len(road._waiting) == number)
    go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["MemoryError", "Unavailable", "Unavailable", "done"]


def test_an_accept_told_to_come_back_is_not_stored_afterwards(app, count):
    inside, go_on = threading.Event(), threading.Event()
    road = app.extensions["postroom.road"]

    def hold(session):
        inside.set()
        assert go_on.wait(PATIENCE)

    def write():
        with app.app_context():
            transact(hold)

    slow = threading.Thread(target=write)
    slow.start()
    assert inside.wait(PATIENCE)
    with pytest.raises(errors.Unavailable):
        road.travel(Job(dispatchers.register, shares=True, patience=0.05))
    go_on.set()
    slow.join()
    transact(lambda session: None)
    assert count(Dispatcher) == 0
