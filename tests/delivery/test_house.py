"""A dispatcher's place among the others."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import select

from api.core import clock, dispatchers, jobs, transports
from api.core.claim import Claim, Settlement
from api.core.db import db, transact
from api.core.journal import Journal
from api.core.models import Dispatcher, Notification
from api.delivery.circuit import Circuit
from api.delivery.house import POSTPONED, House
from schemas.vocabulary import DeliveryStatus, TransportState
from tests.conftest import SENT

Accept = Callable[..., Notification]


@pytest.fixture
def house(app: Flask, holder: UUID, tmp_path: Path) -> House:
    """The place of a living dispatcher, who takes others for dead as soon as they are silent."""
    return House(holder, Circuit(senders=1, first=1, longest=1), tmp_path)


@pytest.fixture
def killed(
    app: Flask, claim: Any, house: House, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[str], str]], list[Claim]]:
    """Have another dispatcher claim everything, note in its journal that the first was sent, and die; give its claims.

    Where it stood is changed by a function of the name that it has given itself.
    """
    monkeypatch.setattr(dispatchers, "DEAD_AFTER", timedelta(0))

    def killed(stood: Callable[[str], str]) -> list[Claim]:
        dead = transact(dispatchers.register)
        transact(lambda session: _move(session.get(Dispatcher, dead), stood))
        claims: list[Claim] = claim(by=dead)
        journal = Journal(house.path(dead))
        journal.write(Settlement(claims[0], SENT, clock.utcnow()), claims[1])
        journal.close()
        return claims

    return killed


def _move(one: Any, stood: Callable[[str], str]) -> None:
    one.host = stood(one.host)


def test_what_a_living_dispatcher_holds_is_taken_by_no_other_however_long_it_takes(
    app: Flask, accept: Accept, claim: Any, holder: UUID, at: Any, tmp_path: Path
) -> None:
    house = House(holder, Circuit(senders=1, first=1, longest=1), tmp_path)
    accept()
    lease = app.extensions["postroom.policy"].lease
    assert len(claim(lease=lease)) == 1

    for share in (0.6, 1.1, 1.6):
        at(seconds=share * lease.total_seconds())
        transact(house._beat)
        assert claim(by=uuid4()) == []

    at(seconds=2.7 * lease.total_seconds())
    assert len(claim(by=uuid4())) == 1


def test_the_journal_of_a_container_that_was_killed_is_found_where_others_keep_theirs(
    accept: Accept, house: House, killed: Any, delivery: Any, claim: Any, tmp_path: Path
) -> None:
    accepted = [accept() for _ in range(3)]
    killed(lambda host: f"another-container:1:{host.rpartition(':')[2]}")

    house.move_in()
    claim(by=uuid4())

    assert [delivery(one).status for one in accepted] == [DeliveryStatus.SENT, *[DeliveryStatus.SENDING] * 2]
    assert [delivery(one).possible_duplicate for one in accepted] == [False, True, False]
    assert list(tmp_path.glob("*.journal")) == []


@pytest.mark.parametrize("folder", ["same", "other"])
def test_what_a_host_held_that_is_gone_with_its_journal_is_sent_again_and_marked(
    accept: Accept, house: House, killed: Any, delivery: Any, claim: Any, tmp_path: Path, folder: str
) -> None:
    accepted = [accept() for _ in range(3)]
    killed(lambda host: f"machine-lost:1:{host.rpartition(':')[2] if folder == 'same' else 'elsewhere'}")
    for file in tmp_path.glob("*.journal"):
        file.unlink()

    house.move_in()

    assert len(claim(by=uuid4())) == 3
    assert [delivery(one).possible_duplicate for one in accepted] == [True] * 3


def test_a_journal_in_our_folder_of_who_keeps_its_own_elsewhere_is_not_believed(
    accept: Accept, house: House, killed: Any, delivery: Any, claim: Any
) -> None:
    accepted = [accept() for _ in range(2)]
    killed(lambda _: "machine-lost:1:elsewhere")

    house.move_in()

    assert len(claim(by=uuid4())) == 2
    assert [delivery(one).possible_duplicate for one in accepted] == [True, True]


def test_a_relay_is_known_and_up_from_the_moment_that_somebody_dispatches(
    app: Flask, holder: UUID, tmp_path: Path
) -> None:
    for _ in range(2):
        House(holder, Circuit(senders=1, first=1, longest=1), tmp_path).move_in()

    [relay] = transports.every(db.session())
    assert (relay.name, relay.state, relay.next_probe_at, relay.error_at) == ("default", TransportState.UP, None, None)


def test_mail_goes_before_the_jobs_but_not_for_ever(house):
    def done() -> set[str]:
        return set(db.session.scalars(select(jobs.Lease.name)))

    house.work(busy=True)
    assert done() == set()
    house._worked -= POSTPONED
    house.work(busy=True)
    assert done() == {job.name for job in jobs.JOBS}


def test_with_nothing_to_send_the_jobs_are_done_at_once_and_then_left_for_a_while(house):
    house.work(busy=False)
    looked_at = house._worked
    assert set(db.session.scalars(select(jobs.Lease.name))) == {job.name for job in jobs.JOBS}
    house.work(busy=False)
    assert house._worked == looked_at
