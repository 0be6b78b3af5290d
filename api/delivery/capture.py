"""Delivery to the captured inbox: what test keys send goes nowhere else."""

from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from api.core import clock, inbox, outbox, policy, settling, transports
from api.core.claim import Blame, Claim, Reply, Result, Settlement
from api.core.db import db, transact
from api.delivery.mime import UnsendableMessage, assemble
from schemas.vocabulary import Mode, Outcome, Phase

#: Captured in one transaction at most.
LIMIT = 50

_CAPTURED = Result(Outcome.SENT, Blame.NOBODY, Phase.DOT, Reply(250, "2.0.0", "captured"), 0)


def deliver(holder: UUID) -> bool:
    """Claim, capture and settle what is due, in one transaction; tell whether anything was. Raises Unavailable."""
    if not outbox.is_due(db.session(), transports=[transports.CAPTURE], holder=holder):
        return False
    return transact(partial(_work, holder=holder), durable=False)


def _work(session: Session, *, holder: UUID) -> bool:
    rules = policy.current()
    claims = outbox.claim(session, holder=holder, transport=transports.CAPTURE, limit=LIMIT, lease=rules.lease)
    settlements = [Settlement(claim, _capture(session, claim), clock.utcnow()) for claim in claims]
    settling.settle(session, settlements, schedule=rules.schedule, rand=lambda: 0.0)
    return bool(claims)


def _capture(session: Session, claim: Claim) -> Result:
    try:
        raw = assemble(claim.content)
    except UnsendableMessage as error:
        return Result(Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE, Reply(None, None, str(error)), 0)
    inbox.add(session, mode=Mode.TEST, sender=claim.content.sender.email, recipients=[claim.recipient], raw=raw)
    return _CAPTURED
