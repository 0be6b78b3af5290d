"""One attempt at one claim: send it, and store what came of it, whatever the database does meanwhile."""

import logging
import random
import threading
from collections.abc import Callable

from flask import Flask
from sqlalchemy.orm import Session

from api.core import inbox, outbox, policy, transports
from api.core.claim import Blame, Claim, Reply, Result
from api.core.db import transact
from api.core.errors import Unavailable
from api.delivery.mime import UnsendableMessage, assemble
from api.delivery.sender import Fenced, Sender
from schemas.vocabulary import Mode, Outcome, Phase

log = logging.getLogger(__name__)

#: Seconds between two tries at storing a result.
STORE_FIRST, STORE_LONGEST = 0.1, 5.0


def attempt(app: Flask, sender: Sender, claim: Claim, *, abandon: threading.Event) -> Result | None:
    """Send what was claimed and store the result; None if the claim was lost to somebody else before DATA.

    A result that cannot be stored is kept and tried again until `abandon` is set: forgetting it would send the
    message a second time.
    """
    with app.app_context():
        if claim.transport == transports.CAPTURE:
            return _captured(claim, abandon)
        try:
            result = sender.send(claim, confirm=lambda: _confirm(claim))
        except Fenced:
            _persist(lambda: transact(lambda session: outbox.release(session, [claim]), durable=False), abandon)
            return None
        except Unavailable:
            # Nothing was handed over; the row goes back as soon as the database takes it.
            result = _result(Outcome.RELEASED, Blame.NOBODY, Phase.DATA, "the database could not be written")
        except Exception as error:
            log.exception("attempt failed", extra={"delivery": str(claim.delivery_id)})
            sender.close()
            result = _result(Outcome.DEFERRED, Blame.MESSAGE, Phase.MESSAGE, f"internal error: {type(error).__name__}")
        _persist(lambda: _settle(claim, result), abandon)
        return result


def _confirm(claim: Claim) -> bool:
    lease = policy.current().lease
    return transact(lambda session: outbox.confirm(session, claim, lease=lease), durable=False)


def _settle(claim: Claim, result: Result) -> bool:
    schedule = policy.current().schedule
    rand = random.random()  # noqa: S311 -- jitter, no secret
    stored = transact(
        lambda session: outbox.settle(session, claim, result, schedule=schedule, rand=rand), durable=False
    )
    if not stored:
        log.warning("late result refused", extra={"delivery": str(claim.delivery_id), "outcome": result.outcome})
    return stored


def _captured(claim: Claim, abandon: threading.Event) -> Result:
    """Deliver to the captured inbox: the mail and its status in one transaction."""
    try:
        raw = assemble(claim.content)
    except UnsendableMessage as error:
        result = _result(Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE, str(error))
        _persist(lambda: _settle(claim, result), abandon)
        return result
    reply = Reply(250, "2.0.0", "captured")
    result = Result(Outcome.SENT, Blame.NOBODY, Phase.DOT, reply, 0)
    schedule = policy.current().schedule

    def store(session: Session) -> None:
        if outbox.settle(session, claim, result, schedule=schedule, rand=0.0):
            sender = claim.content.sender.email
            inbox.add(session, mode=Mode.TEST, sender=sender, recipients=[claim.recipient], raw=raw)

    _persist(lambda: transact(store, durable=False), abandon)
    return result


def _persist(store: Callable[[], object], abandon: threading.Event) -> None:
    pause = STORE_FIRST
    while True:
        try:
            store()
            return
        except Unavailable:
            log.error("a result cannot be stored yet; trying again")
            if abandon.wait(pause):
                return
            pause = min(pause * 2, STORE_LONGEST)


def _result(outcome: Outcome, blame: Blame, phase: Phase, text: str) -> Result:
    return Result(outcome, blame, phase, Reply(None, None, text), 0)
