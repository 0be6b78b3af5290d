"""Settling: the second half of the outbox's state machine, from `sending` to what an attempt came to.

    sending ──▶ sent, failed, deferred, cancelled; or back to queued or deferred, the attempt not counted

Many results in few statements, each only for who still holds the delivery; runs inside `db.transact`.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Boolean, Table, and_, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from api.core import retry
from api.core.claim import Settlement
from api.core.models import Attempt, Delivery
from schemas.vocabulary import DeliveryStatus, Outcome

_LET_GO: dict[str, Any] = {"token": None, "holder": None, "handed": False, "lapses": 0}
_TABLE = cast(Table, Delivery.__table__)
_HELD = and_(
    _TABLE.c.id.in_(bindparam("ids", expanding=True)),
    _TABLE.c.token == bindparam("claim"),
    _TABLE.c.status == DeliveryStatus.SENDING,
)
_SENT = (
    update(_TABLE)
    .where(_HELD)
    .values(status=DeliveryStatus.SENT, finished_at=bindparam("at"), **_LET_GO)
    .returning(_TABLE.c.id)
)
_FIND = select(_TABLE.c.id, _TABLE.c.attempts, _TABLE.c.withdrawn, _TABLE.c.expires_at).where(_HELD).with_for_update()
_REMEMBER = insert(cast(Table, Attempt.__table__))
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
    if stored:
        session.connection().execute(_REMEMBER, [attempt(one) for one in stored])
    if len(stored) == len(settlements):
        return []
    known = {id(one) for one in stored}
    return [one for one in settlements if id(one) not in known]


def _store_sent(session: Session, token: UUID, sent: Sequence[Settlement]) -> Sequence[Settlement]:
    """Mark deliveries as sent, in one statement; return those that this claim still held."""
    ids = [one.hold.delivery_id for one in sent]
    done = session.connection().execute(_SENT, {"ids": ids, "claim": token, "at": max(one.at for one in sent)})
    held = done.scalars().all()
    if len(held) == len(sent):
        return sent
    return [one for one in sent if one.hold.delivery_id in set(held)]


def _store_others(
    session: Session,
    token: UUID,
    others: Sequence[Settlement],
    *,
    schedule: retry.Schedule,
    rand: Callable[[], float],
) -> Sequence[Settlement]:
    ids = [one.hold.delivery_id for one in others]
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


def attempt(one: Settlement) -> dict[str, Any]:
    """Return the column values of the row that remembers an attempt."""
    return {
        "delivery_id": one.hold.delivery_id,
        "at": one.at,
        "transport": one.hold.transport,
        "outcome": one.result.outcome,
        "phase": one.result.phase,
        "code": one.result.reply.code,
        "enhanced_code": one.result.reply.enhanced_code,
        "reply": one.result.reply.text,
        "duration_ms": one.result.duration_ms,
    }
