"""What a dispatcher exchanges with the table in one go: results and claims it gives back, for new claims."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from api.core import outbox, retry, settling
from api.core.claim import Claim, Hold, Settlement
from api.core.driver import uuid_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """The claims that a dispatcher has room for."""

    holder: UUID
    transport: str
    limit: int
    lease: timedelta
    #: What the claims are fenced by; known before they are taken.
    token: UUID = field(default_factory=lambda: uuid_of(uuid4().hex))


def exchange(
    session: Session,
    *,
    settlements: Sequence[Settlement],
    returned: Sequence[Hold],
    wanted: Wanted | None,
    schedule: retry.Schedule,
    rand: Callable[[], float],
) -> tuple[list[Settlement], list[Claim]]:
    """Store results, give back what was not begun, then claim; return the results that came too late, and the claims.

    One transaction has one turn at the table and one commit. All or nothing: what it was to store is to be given to
    it again if it fails.
    """
    late = settling.settle(session, settlements, schedule=schedule, rand=rand)
    outbox.release(session, returned)
    if wanted is None:
        return late, []
    claims = outbox.claim(
        session,
        holder=wanted.holder,
        transport=wanted.transport,
        limit=wanted.limit,
        lease=wanted.lease,
        token=wanted.token,
    )
    return late, claims
