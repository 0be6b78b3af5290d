"""Delivery to the captured inbox: what test keys send goes nowhere else, whatever the simulator makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.core import clock, contents, inbox, outbox, policy, settling, simulator, transports
from api.core.claim import Blame, Claim, Content, Hold, Reply, Result, Settlement
from api.core.db import db, transact
from api.core.models import Delivery
from api.delivery.mime import UnsendableMessage, assemble
from schemas.vocabulary import Mode, Outcome, Phase

#: Captured in one transaction at most.
LIMIT = 50

_CAPTURED = Result(Outcome.SENT, Blame.NOBODY, Phase.DOT, Reply(250, "2.0.0", "captured"), 0)
#: The relay has the mail, or may have it.
_KEPT = frozenset({Outcome.SENT, Outcome.UNKNOWN})


@dataclass(frozen=True, slots=True)
class _Slow:
    """A claim that is answered later. Its content is read again then: memory is for those that are sent now."""

    hold: Hold
    notification_id: UUID
    recipient: str
    result: Result
    since: datetime

    def is_over(self, now: datetime) -> bool:
        """Tell whether the answer is due; a clock that was put back makes nobody wait longer."""
        return not self.since <= now < self.since + timedelta(milliseconds=self.result.duration_ms)


class Capture:
    """One dispatcher's road to the captured inbox. Used by its own thread alone, and without one for anybody."""

    def __init__(self) -> None:
        self._slow: list[_Slow] = []

    def open(self) -> int:
        """Return how many claims are held that slow mailboxes have not answered yet."""
        return len(self._slow)

    def deliver(self, holder: UUID) -> bool:
        """Claim, capture and settle what is due, in one transaction; tell whether anything was. Raises Unavailable."""
        now = clock.utcnow()
        over = [one for one in self._slow if one.is_over(now)][:LIMIT]
        if not over and not outbox.is_due(db.session(), transport=transports.CAPTURE, holder=holder):
            return False
        claimed, begun = transact(partial(_work, holder=holder, over=over), durable=False)
        done = {one.hold.delivery_id for one in over}
        self._slow = [one for one in self._slow if one.hold.delivery_id not in done] + begun
        return bool(over) or claimed

    def give_back(self) -> list[Hold]:
        """Return, once, the claims that were not answered: somebody else may begin them anew."""
        slow, self._slow = self._slow, []
        return [one.hold for one in slow]


def _work(session: Session, *, holder: UUID, over: Sequence[_Slow]) -> tuple[bool, list[_Slow]]:
    """Answer the slow ones whose time is over, and claim others; tell whether there were some, and who is slow."""
    for one in over:
        _end(session, one)
    lease = policy.current().lease
    claims = outbox.claim(session, holder=holder, transport=transports.CAPTURE, limit=LIMIT, lease=lease)
    answers = [(claim, simulator.answer(claim.recipient, claim.attempt) or _CAPTURED) for claim in claims]
    _settle(session, [_answered(session, claim, result) for claim, result in answers if not result.duration_ms])
    return bool(claims), [_later(claim, result) for claim, result in answers if result.duration_ms]


def _answered(session: Session, claim: Claim, result: Result) -> Settlement:
    """Put a mail that is taken into the inbox; return what the attempt comes to."""
    raw, result = _assembled(claim.content, result)
    if raw is not None:
        _keep(session, claim.content, claim.recipient, raw)
    return Settlement(claim, result, clock.utcnow())


def _end(session: Session, one: _Slow) -> None:
    """Settle a slow one, and keep its mail, unless somebody else has the claim now or the recipient was erased."""
    content = contents.load(session, [one.notification_id]).get(one.notification_id)
    raw, result = (None, one.result) if content is None else _assembled(content, one.result)
    late = _settle(session, [Settlement(one.hold, result, clock.utcnow())])
    recipient = session.scalar(select(Delivery.recipient).where(Delivery.id == one.hold.delivery_id))
    if content is not None and raw is not None and not late and recipient == one.recipient:
        _keep(session, content, one.recipient, raw)


def _settle(session: Session, settlements: Sequence[Settlement]) -> list[Settlement]:
    return settling.settle(session, settlements, schedule=simulator.SCHEDULE, rand=lambda: 0.0)


def _assembled(content: Content, result: Result) -> tuple[bytes | None, Result]:
    """Return the mail's bytes if it is taken, and what the attempt comes to: what has no bytes fails."""
    if result.outcome not in _KEPT:
        return None, result
    try:
        return assemble(content), result
    except UnsendableMessage as error:
        return None, Result(Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE, Reply(None, None, str(error)), 0)


def _keep(session: Session, content: Content, recipient: str, raw: bytes) -> None:
    inbox.add(session, mode=Mode.TEST, sender=content.sender.email, recipients=[recipient], raw=raw)


def _later(claim: Claim, result: Result) -> _Slow:
    hold = Hold(claim.delivery_id, claim.token, claim.attempt, claim.transport)
    return _Slow(hold, claim.notification_id, claim.recipient, result, clock.utcnow())
