"""Quotas: exact under concurrency, in memory and in the database, and nothing is kept in clear."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from api.core import leases, ledger, quotas
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.core.ledger import Quota
from api.core.quotas import Memory, Store
from api.core.rates import Rate


@pytest.fixture(params=["memory", "database"])
def store(request: pytest.FixtureRequest, app: Flask) -> Store:
    """Each of the two places to count in."""
    return Memory() if request.param == "memory" else leases.Database()


def charge(store: Store, wanted: dict[str, int], rate: Rate) -> quotas.Charge:
    return transact(lambda session: store.charge(session, "recipient", wanted, rate))


@pytest.mark.parametrize("quota", [1, 20, 700])
def test_of_many_at_once_exactly_the_quota_gets_through(store, app, quota):
    def take(_: int) -> bool:
        with app.app_context():
            return store.take("default", "ann", Rate(quota, 3600)).allowed

    with ThreadPoolExecutor(8) as pool:
        allowed = list(pool.map(take, range(quota + 50)))

    assert sum(allowed) == quota


def test_subjects_and_policies_have_nothing_to_do_with_each_other(store):
    rate = Rate(1, 60)

    assert store.take("default", "ann", rate).allowed
    assert store.take("default", "bob", rate).allowed
    assert store.take("browser", "ann", rate).allowed
    assert not store.take("default", "ann", rate).allowed


def test_whoever_was_refused_gets_through_when_he_was_told_to_come_back(store, at):
    at(seconds=0)
    store.take("default", "ann", Rate(2, 60))
    at(seconds=20)
    store.take("default", "ann", Rate(2, 60))

    refused = store.take("default", "ann", Rate(2, 60))

    assert not refused.allowed
    assert refused.remaining == 0
    assert refused.retry == pytest.approx(40, abs=0.1)
    at(seconds=59)
    assert not store.take("default", "ann", Rate(2, 60)).allowed
    at(seconds=60.1)
    assert store.take("default", "ann", Rate(2, 60)).allowed
    assert not store.take("default", "ann", Rate(2, 60)).allowed


def test_of_many_subjects_all_are_counted_or_none(store):
    rate = Rate(2, 60)
    charge(store, {"ann": 2}, rate)

    refused = charge(store, {"ann": 1, "bob": 1, "eve": 3}, rate).refused

    assert set(refused) == {"ann", "eve"}
    assert not charge(store, {"bob": 2}, rate).refused


def test_what_was_not_stored_after_all_is_not_counted(store):
    def work(session: Any) -> None:
        charges.append(store.charge(session, "recipient", {"ann": 2}, Rate(2, 60)))
        raise RuntimeError

    charges: list[quotas.Charge] = []
    with pytest.raises(RuntimeError):
        transact(work)
    charges[0].undo()

    assert not charge(store, {"ann": 2}, Rate(2, 60)).refused


def test_a_thousand_subjects_are_counted_in_one_transaction(store):
    wanted = {f"user{number}@example.org": 1 for number in range(1200)}

    assert not charge(store, wanted, Rate(1, 60)).refused
    assert len(charge(store, wanted, Rate(1, 60)).refused) == 1200


class TestInTheDatabase:
    def test_several_processes_share_one_count(self, app):
        # Each store has leases of its own, as each process has.
        stores = [leases.Database() for _ in range(4)]
        rate = Rate(1000, 3600)

        allowed = [store.take("default", "ann", rate).allowed for _ in range(300) for store in stores]

        # What is leased and not used yet is missing: a share at most for each process.
        assert 1000 - 4 * 1000 // leases.LEASE_PARTS <= sum(allowed) <= 1000

    def test_a_busy_subject_costs_few_writes(self, app, monkeypatch):
        written: list[int] = []
        write = ledger.write

        def count(*arguments: Any) -> None:
            written.append(1)
            write(*arguments)

        monkeypatch.setattr(ledger, "write", count)
        store = leases.Database()

        assert all(store.take("default", "ann", Rate(6000, 60)).allowed for _ in range(600))

        assert len(written) < 60

    def test_a_flood_that_is_refused_does_not_write(self, app, monkeypatch):
        store = leases.Database()
        store.take("default", "ann", Rate(1, 60))
        store.take("default", "ann", Rate(1, 60))
        monkeypatch.setattr(leases, "transact", lambda *_args, **_options: pytest.fail("written"))

        assert not any(store.take("default", "ann", Rate(1, 60)).allowed for _ in range(100))

    def test_what_is_left_of_a_lease_is_given_back(self, app, at):
        store, rate = leases.Database(), Rate(640, 60)
        for moment in range(10):
            at(seconds=moment * 0.001)
            store.take("default", "ann", rate)
        at(seconds=30)

        assert store.take("default", "ann", rate).remaining == 640 - 11

    def test_when_it_cannot_be_written_requests_go_on(self, app, monkeypatch):
        def refuse(*_args: object, **_options: object) -> None:
            raise Unavailable

        monkeypatch.setattr(leases, "transact", refuse)

        assert all(leases.Database().take("default", "ann", Rate(1, 60)).allowed for _ in range(3))

    def test_no_address_stands_there_and_rows_go_when_they_count_no_more(self, app, at):
        store = leases.Database()
        charge(store, {"live ann@example.org": 1}, Rate(1, 60))

        [row] = db.session.scalars(select(Quota)).all()
        assert "ann" not in row.subject
        assert b"ann" not in row.log
        at(seconds=59)
        assert transact(ledger.purge) == 0
        at(seconds=61)
        assert transact(ledger.purge) == 1
        assert db.session.scalar(select(func.count()).select_from(Quota)) == 0


class TestInMemory:
    def test_there_is_room_for_so_many_subjects_and_the_oldest_go_first(self, app, monkeypatch):
        monkeypatch.setattr(quotas, "MOST_SUBJECTS", 10)
        store, rate = Memory(), Rate(1, 60)
        for number in range(30):
            store.take("recipient", str(number), rate)

        assert not store.take("recipient", "29", rate).allowed
        assert store.take("recipient", "0", rate).allowed

    def test_what_counts_no_more_takes_no_room(self, app, at):
        store, rate = Memory(), Rate(1, 60)
        at(seconds=0)
        for number in range(100):
            store.take("recipient", str(number), rate)
        at(seconds=61)
        for number in range(100, 150):
            store.take("recipient", str(number), rate)

        assert len(store._logs["recipient"]) == 50


def test_two_charges_in_other_orders_do_not_wait_for_each_other(store, app):
    done: list[bool] = []
    rate = Rate(10_000, 60)

    def work(names: list[str]) -> Callable[[], None]:
        def run() -> None:
            with app.app_context():
                for _ in range(20):
                    charge(store, dict.fromkeys(names, 1), rate)
            done.append(True)

        return run

    names = [f"user{number}" for number in range(20)]
    threads = [threading.Thread(target=work(order)) for order in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert done == [True, True]
    assert store.take("recipient", "user0", rate).remaining == 10_000 - 41
