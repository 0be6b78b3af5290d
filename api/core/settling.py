"""Settling: the second half of the outbox's state machine, from `sending` to what an attempt came to.

    sending ──▶ sent, failed, deferred, cancelled; or back to queued or deferred, the attempt not counted

Many results in few statements, each only for who still holds the delivery; runs inside `db.transact`.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Table, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.orm import Session

from api.core import retry
from api.core.claim import Settlement
from api.core.driver import OR_ROLLBACK, Codec, Statement, codec, each, listed, raw
from api.core.models import Attempt, Delivery
from api.core.rows import insertion, write
from schemas.vocabulary import DeliveryStatus, Outcome

_LET_GO: dict[str, Any] = {"token": None, "holder": None, "handed": False, "lapses": 0}
_TABLE = cast(Table, Delivery.__table__)
_HELD = and_(
    _TABLE.c.id.in_(each("ids")), _TABLE.c.token == bindparam("claim"), _TABLE.c.status == DeliveryStatus.SENDING
)
_SENT = Statement(
    update(_TABLE)
    .prefix_with(OR_ROLLBACK, dialect="sqlite")
    .where(_HELD)
    .values(status=DeliveryStatus.SENT, finished_at=bindparam("at"), **_LET_GO)
    .returning(raw(_TABLE.c.id))
)
_FIND = select(_TABLE.c.id, _TABLE.c.attempts, _TABLE.c.withdrawn, _TABLE.c.expires_at).where(_HELD).with_for_update()
_HISTORY = cast(Table, Attempt.__table__)
#: In the order in which `_remembered` gives them.
_REMEMBERED = (
    "delivery_id",
    "at",
    "transport",
    "outcome",
    "phase",
    "code",
    "enhanced_code",
    "reply",
    "duration_ms",
)
#: For a server: a statement for each row would cost it, and us, several times as much as the rows do.
_REMEMBER_ALL = Statement(
    insert(_HISTORY)
    .from_select(
        list(_REMEMBERED),
        select(
            func.unnest(*(bindparam(name, type_=ARRAY(_HISTORY.c[name].type)) for name in _REMEMBERED))
            .table_valued(*_REMEMBERED)
            .render_derived()
        ),
    )
    .inline()
)
_UNSENT = (
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("key"))
    .values(
        status=bindparam("word"),
        attempts=bindparam("attempts"),
        due_at=bindparam("due"),
        finished_at=bindparam("end"),
        possible_duplicate=or_(_TABLE.c.possible_duplicate, bindparam("again", type_=Boolean)),
        **_LET_GO,
    )
)


def settle(
    session: Session, settlements: Sequence[Settlement], *, schedule: retry.Schedule, rand: Callable[[], float]
) -> list[Settlement]:
    """Store what attempts came to, and return those that were not: of deliveries no longer held by that claim."""
    stored: list[Settlement] = []
    for token in {settlement.hold.token for settlement in settlements}:
        ours = [one for one in settlements if one.hold.token == token]
        sent = [one for one in ours if one.result.outcome is Outcome.SENT]
        others = [one for one in ours if one.result.outcome is not Outcome.SENT]
        if sent:
            stored += _store_sent(session, token, sent)
        if others:
            stored += _store_others(session, token, others, schedule=schedule, rand=rand)
    remember(session, stored)
    if len(stored) == len(settlements):
        return []
    known = {id(one) for one in stored}
    return [one for one in settlements if id(one) not in known]


def remember(session: Session, settlements: Sequence[Settlement]) -> None:
    """Add attempts to the history of their deliveries."""
    if settlements:
        connection = session.connection()
        form = codec(connection.dialect.name)
        rows = [_remembered(one, form) for one in settlements]
        if connection.dialect.name == "postgresql":
            _REMEMBER_ALL.columns(connection, _REMEMBERED, rows)
        else:
            into = insertion(connection.dialect, _HISTORY, _REMEMBERED, OR_ROLLBACK)
            write(connection.exec_driver_sql, [(into, rows)])


def _store_sent(session: Session, token: UUID, sent: Sequence[Settlement]) -> Sequence[Settlement]:
    """Mark deliveries as sent, in one statement; return those that this claim still held."""
    connection = session.connection()
    form = codec(connection.dialect.name)
    values = {
        "ids": listed([one.hold.delivery_id for one in sent]),
        "claim": form.id(token),
        "at": form.instant(max([one.at for one in sent])),
    }
    held = _SENT.rows(connection, values)
    if len(held) == len(sent):
        return sent
    known = {row[0] for row in held}
    return [one for one in sent if form.id(one.hold.delivery_id) in known]


def _store_others(
    session: Session,
    token: UUID,
    others: Sequence[Settlement],
    *,
    schedule: retry.Schedule,
    rand: Callable[[], float],
) -> Sequence[Settlement]:
    ids = listed([one.hold.delivery_id for one in others])
    rows = {row.id: row for row in session.connection().execute(_FIND, {"ids": ids, "claim": token})}
    held = [one for one in others if one.hold.delivery_id in rows]
    if held:
        values = [_settled(one, rows[one.hold.delivery_id], schedule=schedule, rand=rand()) for one in held]
        session.connection().execute(_UNSENT, values)
    return held


def _settled(one: Settlement, row: Any, *, schedule: retry.Schedule, rand: float) -> dict[str, Any]:
    """Return the parameters of `_UNSENT` for a result that is not `sent`."""
    outcome = one.result.outcome
    values: dict[str, Any] = {
        "key": one.hold.delivery_id,
        "attempts": row.attempts,
        "due": one.at,
        "end": None,
        "again": outcome is Outcome.UNKNOWN,
    }
    if outcome is Outcome.RELEASED:
        retried = row.attempts > 1
        return values | {
            "word": DeliveryStatus.DEFERRED if retried else DeliveryStatus.QUEUED,
            "attempts": row.attempts - 1,
        }
    if outcome is Outcome.FAILED or row.withdrawn:
        word = DeliveryStatus.FAILED if outcome is Outcome.FAILED else DeliveryStatus.CANCELLED
        return values | {"word": word, "end": one.at}
    # When it has expired by then, it expires then.
    due = min(one.at + retry.pause(one.hold.attempt, schedule=schedule, rand=rand), row.expires_at)
    return values | {"word": DeliveryStatus.DEFERRED, "due": due}


def _remembered(one: Settlement, form: Codec) -> tuple[Any, ...]:
    """Return the row that remembers an attempt, its values as the driver takes them."""
    hold, result = one.hold, one.result
    reply = result.reply
    return (
        form.id(hold.delivery_id),
        form.instant(one.at),
        hold.transport,
        str(result.outcome),
        str(result.phase),
        reply.code,
        reply.enhanced_code,
        reply.text,
        result.duration_ms,
    )
