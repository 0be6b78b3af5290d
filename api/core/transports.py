"""What is known of each relay: written by the dispatchers, read by everybody."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.core import clock
from api.core.claim import Result
from api.core.models import Transport
from schemas.vocabulary import Mode, TransportState

#: The operator's relay, and the captured inbox that test keys deliver to.
RELAY = "default"
CAPTURE = "capture"


def of(mode: Mode) -> str:
    """Return the name of the transport that this mode's mail takes."""
    return RELAY if mode is Mode.LIVE else CAPTURE


def get(session: Session, name: str = RELAY) -> Transport | None:
    """Return a relay's state, or None as long as nobody has dispatched."""
    return session.get(Transport, name)


def every(session: Session) -> list[Transport]:
    """Return the state of all relays that are known."""
    return list(session.scalars(select(Transport).order_by(Transport.name)))


def report(
    session: Session, *, name: str, state: TransportState, next_probe_at: datetime | None, error: Result | None = None
) -> None:
    """Record a relay's state; the last error stays readable after the relay has come back."""
    now = clock.utcnow()
    known = session.get(Transport, name)
    if known is None:
        known = Transport(name=name, state=state, since=now)
        session.add(known)
    if known.state is not state:
        known.state = state
        known.since = now
    known.next_probe_at = next_probe_at
    if error is not None:
        known.error_at = now
        known.error_phase = error.phase
        known.error_code = error.reply.code
        known.error_reply = error.reply.text
