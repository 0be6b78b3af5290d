"""When a message is to be sent: a pure function of what the caller asks for, the time, and the operator's patience."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from api.core.errors import FieldError, Invalid

#: How far ahead a message may be scheduled.
LONGEST_WAIT = timedelta(days=366)
#: How far ahead it may expire: what is later is a mistake, and some databases could not hold it.
LONGEST_LIFE = timedelta(days=3660)
#: What is before it was not meant.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Plan(NamedTuple):
    """What the caller asked for, and what the deliveries go by."""

    send_at: datetime | None
    expires_at: datetime | None
    #: Not before now.
    due_at: datetime
    #: When a delivery expires: as asked for, or after the operator's age for giving up, whichever is sooner.
    ends_at: datetime


def plan(*, send_at: datetime | None, expires_at: datetime | None, now: datetime, give_up: timedelta) -> Plan:
    """Return when to send. Raises Invalid with the pointer of a time that makes no sense; times are aware."""
    if send_at is None and expires_at is None:
        return Plan(None, None, now, now + give_up)
    wrong = []
    if send_at is not None and not _EARLIEST <= send_at <= now + LONGEST_WAIT:
        detail = f"Must be at most {LONGEST_WAIT.days} days ahead, and not before 1970."
        wrong.append(FieldError("/send_at", detail, "out_of_range"))
    start = max(now, send_at or now)
    if expires_at is not None and expires_at <= start:
        detail = "Must be after now." if start == now else "Must be after send_at."
        wrong.append(FieldError("/expires_at", detail, "out_of_range"))
    if expires_at is not None and expires_at > now + LONGEST_LIFE:
        detail = f"Must be at most {LONGEST_LIFE.days} days ahead."
        wrong.append(FieldError("/expires_at", detail, "out_of_range"))
    if wrong:
        raise Invalid("The times make no sense.", errors=wrong)
    return Plan(send_at, expires_at, start, end(start, expires_at=expires_at, give_up=give_up))


def end(start: datetime, *, expires_at: datetime | None, give_up: timedelta) -> datetime:
    """Return when a delivery that may be tried from `start` on expires."""
    return min(expires_at or start + give_up, start + give_up)
