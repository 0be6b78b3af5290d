"""A dispatcher's place among the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from flask import Flask

from api.core import transports
from api.core.db import db, transact
from api.core.models import Notification
from api.delivery.circuit import Circuit
from api.delivery.house import House
from schemas.vocabulary import TransportState

Accept = Callable[..., Notification]


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


def test_a_relay_is_known_and_up_from_the_moment_that_somebody_dispatches(
    app: Flask, holder: UUID, tmp_path: Path
) -> None:
    for _ in range(2):
        House(holder, Circuit(senders=1, first=1, longest=1), tmp_path).move_in()

    [relay] = transports.every(db.session())
    assert (relay.name, relay.state, relay.next_probe_at, relay.error_at) == ("default", TransportState.UP, None, None)
