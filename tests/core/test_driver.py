"""Statements with the driver's own values: what they store and give is what everybody else stores and reads."""

import pickle
from copy import copy
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import bindparam, select, update

from api.core import settling
from api.core.claim import Settlement
from api.core.db import db, transact
from api.core.driver import Statement, codec, each, instant_of, listed, raw, text_of, uuid_of
from api.core.models import Attempt, Delivery, Dispatcher, Notification
from schemas.vocabulary import DeliveryStatus
from tests.conftest import REFUSED, SENT

MOMENTS = [
    datetime(2027, 1, 1, tzinfo=UTC),
    datetime(2027, 1, 1, 12, 30, 5, 7, tzinfo=UTC),
    datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
]


@pytest.fixture
def connection(app):
    with db.engine.connect() as connection:
        yield connection


@given(st.uuids())
def test_an_id_from_the_driver_is_the_id(id_):
    found = uuid_of(id_.hex)
    assert found == id_
    assert (hash(found), str(found), repr(found), found.is_safe) == (hash(id_), str(id_), repr(id_), id_.is_safe)
    assert uuid_of(id_) is id_
    assert found.hex == id_.hex
    assert [copy(found), pickle.loads(pickle.dumps(found))] == [id_, id_]  # noqa: S301 -- our own


@given(st.lists(st.datetimes(timezones=st.timezones() | st.just(UTC), allow_imaginary=False), max_size=5))
def test_times_are_written_as_isoformat_does(moments):
    near = [moment.replace(microsecond=7) for moment in moments]
    for moment in [*moments, *near]:
        try:
            utc = moment.astimezone(UTC)
        except OverflowError:
            continue
        assert text_of(moment) == utc.isoformat(" ", "microseconds").removesuffix("+00:00")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_time_is_found_and_read_as_the_column_types_stored_it(holder, connection, moment):
    transact(lambda session: session.execute(update(Dispatcher).values(started_at=moment)))
    find = Statement(select(raw(Dispatcher.started_at)).where(Dispatcher.started_at == bindparam("at")))

    [(found,)] = find.rows(connection, {"at": codec(connection.dialect.name).instant(moment)})

    assert instant_of(found) == moment
    assert instant_of(found).tzinfo is UTC


def test_a_list_of_ids_is_one_parameter(accept, connection):
    ids = [accept().id for _ in range(3)]
    find = Statement(select(raw(Notification.id)).where(Notification.id.in_(each("ids"))))

    def found(wanted: list[UUID]) -> set[UUID]:
        return {uuid_of(row[0]) for row in find.rows(connection, {"ids": listed(wanted)})}

    assert found([*ids[:2], uuid4()]) == set(ids[:2])
    assert found([]) == set()


def test_a_constant_stands_in_the_statement(accept, connection):
    accept()
    find = Statement(select(raw(Delivery.status)).where(Delivery.status == DeliveryStatus.QUEUED))
    assert find.rows(connection, {}) == [("queued",)]


def test_of_many_results_only_the_late_ones_are_refused(app, accept, claim, settle, count):
    for _ in range(4):
        accept()
    held = claim()
    for one in held[:2]:
        settle(one, SENT)
    at = datetime(2027, 1, 1, tzinfo=UTC)
    results = [Settlement(one, SENT if number % 2 else REFUSED, at) for number, one in enumerate(held)]

    schedule = app.extensions["postroom.policy"].schedule
    late = transact(partial(settling.settle, settlements=results, schedule=schedule, rand=lambda: 0.0))

    assert sorted(one.hold.delivery_id for one in late) == sorted(one.delivery_id for one in held[:2])
    assert count(Attempt) == 4
    assert {one.at for one in db.session.scalars(select(Attempt).where(Attempt.at == at))} == {at}
