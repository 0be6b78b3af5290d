"""Rates: so many in so long, and the log that tells whether one more fits. Pure: no clock, no store.

The window slides: no stretch of its length holds more than the quota, wherever it begins. A log is a flat array of
pairs, until when something counts (seconds of the epoch) and how many, earliest first.
"""

import math
import re
from array import array
from dataclasses import dataclass
from typing import TypeAlias

WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
MOST = 1_000_000_000
#: A larger quota than this is counted in so many parts of its window, each as if all came at its end.
GRAINS = 256
#: Seconds that do not count: times of this century are no exacter as floating-point numbers.
_MOMENT = 1e-6
_FORM = re.compile(r"([0-9]{1,10})/(second|minute|hour|day)")

Log: TypeAlias = "array[float]"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `quota` in any `window` seconds."""

    quota: int
    window: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether what was asked for fits, and how the rate stands then; times in seconds from now."""

    allowed: bool
    #: How many more fit.
    remaining: int
    #: Until more fit than remain.
    reset: float
    #: Until what was refused fits; 0 when it was not.
    retry: float = 0.0


def parse(text: str) -> Rate | None:
    """Read `6000/minute`; `off` is None. Raises ValueError with a sentence."""
    if text == "off":
        return None
    form = _FORM.fullmatch(text)
    if form is None or not 0 < int(form[1]) <= MOST:
        raise ValueError(f"{text!r} is no rate; it must be like 6000/minute (or second, hour, day), or off.")
    return Rate(int(form[1]), WINDOWS[form[2]])


def seconds(duration: float) -> int:
    """Return the whole seconds after which a duration is over, as headers tell them; 1 at least."""
    return max(1, math.ceil(duration - _MOMENT))


def count(log: Log, rate: Rate, number: int, now: float, *, until: float | None = None) -> Verdict:
    """Count `number` more until a time, the window's end by default, if they fit; and say how the rate stands."""
    free = forget(log, rate, now)
    if number > free:
        # What is more than the whole quota never fits; it is told to wait for a window, like a full one.
        retry = _until(log, number - free, now) if number <= rate.quota else float(rate.window)
        return Verdict(False, max(free, 0), _until(log, 1, now), retry)
    add(log, rate, number, until or now + rate.window)
    return Verdict(True, free - number, _until(log, 1, now))


def forget(log: Log, rate: Rate, now: float) -> int:
    """Drop what does not count any more, and return how many fit."""
    if log and log[-2] > now + 2 * rate.window:  # written by a clock that was far ahead
        for index in range(0, len(log), 2):
            log[index] = min(log[index], now + rate.window)
    over = 0
    while over < len(log) and log[over] <= now + _MOMENT:
        over += 2
    del log[:over]
    return rate.quota - int(sum(log[1::2]))


def add(log: Log, rate: Rate, number: int, until: float) -> None:
    """Count `number` until a time, whether they fit or not."""
    if log:
        until = max(until, log[-2])
    grain = rate.window / GRAINS
    if log and (log[-2] == until or (rate.quota > GRAINS and log[-2] // grain == until // grain)):
        log[-2] = until
        log[-1] += number
    else:
        log.extend((until, number))


def take_back(log: Log, number: int, until: float) -> None:
    """Uncount `number` that were counted until a time."""
    index = 0
    while number > 0 and index < len(log):
        if log[index] >= until:
            taken = min(number, int(log[index + 1]))
            log[index + 1] -= taken
            number -= taken
        index += 2


def _until(log: Log, number: int, now: float) -> float:
    """Return the seconds until `number` of what counts have ceased to."""
    for index in range(0, len(log), 2):
        number -= int(log[index + 1])
        if number <= 0:
            return log[index] - now
    return 0.0
