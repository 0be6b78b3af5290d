"""Settling: the second half of the outbox's state machine, from `sending` to what an attempt came to.

    sending ──▶ sent, failed, deferred, cancelled; or back to queued or deferred, the attempt not counted

Many results in few statements, each only for who still holds the delivery; runs inside `db.transact`.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from sqlalchemy import Boolean, Table, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from api.core import retry
from api.core.claim import Settlement
from api.core.models import Attempt, Delivery
from schemas.vocabulary import DeliveryStatus, Outcome

_LET_GO: dict[str, Any] = {"token": None, "holder": None, "handed": False, "lapses": 0}
_TABLE = cast(Table, Delivery.__table__)
_SENT = (
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("key"))
    .values(status=DeliveryStatus.SENT, finished_at=bindparam("at"), **_LET_GO)
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
    ids = [settlement.hold.delivery_id for settlement in settlements]
    rows = session.execute(
        select(Delivery.id, Delivery.token, Delivery.attempts, Delivery.withdrawn, Delivery.expires_at)
        .where(Delivery.id.in_(ids), Delivery.status == DeliveryStatus.SENDING)
        .with_for_update()
    )
    held = {(row.id, row.token): row for row in rows}
    stored = [one for one in settlements if (one.hold.delivery_id, one.hold.token) in held]
    sent = [one for one in stored if one.result.outcome is Outcome.SENT]
    if sent:
        session.execute(_SENT, [{"key": one.hold.delivery_id, "at": one.at} for one in sent])
    others = [one for one in stored if one.result.outcome is not Outcome.SENT]
    if others:
        values = [
            _settled(one, held[one.hold.delivery_id, one.hold.token], schedule=schedule, rand=rand()) for one in others
        ]
        session.execute(_UNSENT, values)
    if stored:
        session.execute(insert(Attempt), [attempt(one) for one in stored])
    return [one for one in settlements if (one.hold.delivery_id, one.hold.token) not in held]


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
