"""When a deferred delivery is tried again: a pure function of the attempt's number and a random number."""

from dataclasses import dataclass
from datetime import timedelta

#: Each pause is this many times the one before, as Postfix's queue manager and GOV.UK Notify have it.
GROWTH = 2.0
#: At most this share is added to a pause, so that what failed together does not come back together.
JITTER = 0.25


@dataclass(frozen=True, slots=True)
class Schedule:
    """The operator's numbers: the first pause, the longest one, and the age at which a delivery expires."""

    first: timedelta
    longest: timedelta
    give_up: timedelta


def pause(attempt: int, *, schedule: Schedule, rand: float) -> timedelta:
    """Return how long to wait after failed attempt number `attempt` (from 1); `rand` is in [0, 1).

    Never shorter than the first pause: a greylisting relay refuses whoever comes back too early (RFC 6647 §5).
    """
    exponent = min(attempt - 1, 32)  # beyond that the longest pause holds anyway, and floats overflow
    seconds = schedule.first.total_seconds() * GROWTH**exponent * (1 + JITTER * rand)
    return timedelta(seconds=min(seconds, max(schedule.longest, schedule.first).total_seconds()))
