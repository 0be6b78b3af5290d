"""Quotas: who has used how much of a rate. Exact under concurrency, all or nothing.

    verdict = quotas.take("browser", f"{key.id} {address}", rates.Rate(10, 60))
    if not verdict.allowed: …  # rates.seconds(verdict.retry) tells when

Counted in this process's memory, or for all processes in the database (`core.leases`). A subject (a key, a recipient,
a client) is kept as a digest.
"""

import hashlib
import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import ClassVar

from flask import Flask
from sqlalchemy.orm import Session

from api.core import clock, extension, rates
from api.core.rates import Log, Rate, Verdict

#: Subjects of one policy that memory has room for; beyond, those counted longest ago are forgotten.
MOST_SUBJECTS = 200_000


@dataclass(frozen=True, slots=True)
class Charge:
    """What came of counting many at once: the verdicts on those that are over, else nothing; and how to undo it."""

    refused: Mapping[str, Verdict]
    undo: Callable[[], None] = lambda: None


class Store(ABC):
    """Where quotas are counted."""

    #: Whether a charge is part of a session's transaction.
    in_database: ClassVar[bool] = True

    @abstractmethod
    def take(self, policy: str, subject: str, rate: Rate) -> Verdict:
        """Count one, if it fits."""

    @abstractmethod
    def charge(self, session: Session | None, policy: str, wanted: Mapping[str, int], rate: Rate) -> Charge:
        """Count so many of each subject if all of them fit, else nothing; for good once the session commits.

        Who asks undoes the charge if the session does not.
        """


def configure(app: Flask, store: Store) -> None:
    """Count there."""
    app.extensions["postroom.quotas"] = store


def take(policy: str, subject: str, rate: Rate) -> Verdict:
    """Count one for a subject under a policy's name, if it fits, and say how the rate stands. Raises nothing."""
    return current().take(policy, subject, rate)


def current() -> Store:
    """Return the running app's store."""
    store: Store = extension.of("postroom.quotas")
    return store


class Memory(Store):
    """Counts in this process alone, and forgets with it."""

    in_database = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By policy and digest, in the order in which they were counted last.
        self._logs: dict[str, dict[bytes, Log]] = {}

    def take(self, policy: str, subject: str, rate: Rate) -> Verdict:
        """Count one, if it fits."""
        now = moment()
        with self._lock:
            self._make_room(policy, now, number=1)
            return rates.count(self._log(policy, subject), rate, 1, now)

    def charge(self, session: Session | None, policy: str, wanted: Mapping[str, int], rate: Rate) -> Charge:
        """Count so many of each subject if all of them fit, else nothing."""
        now = moment()
        with self._lock:
            self._make_room(policy, now, number=len(wanted))
            logs = {subject: self._log(policy, subject) for subject in wanted}
            refused = count_all(logs, wanted, rate, now)
        return Charge(refused) if refused else Charge({}, partial(self._undo, logs, dict(wanted), now + rate.window))

    def _undo(self, logs: Mapping[str, Log], counted: Mapping[str, int], until: float) -> None:
        with self._lock:
            for subject, log in logs.items():
                rates.take_back(log, counted[subject], until)

    def _log(self, policy: str, subject: str) -> Log:
        logs = self._logs.setdefault(policy, {})
        known_as = digest(policy, subject)
        log = logs.pop(known_as, None)
        logs[known_as] = log = array("d") if log is None else log
        return log

    def _make_room(self, policy: str, now: float, *, number: int) -> None:
        """Forget a few subjects more than may come, if they count no more or there is no room: first those in front."""
        logs = self._logs.get(policy, {})
        for old in list(islice(logs, number + 1)):
            if len(logs) + number > MOST_SUBJECTS or not logs[old] or logs[old][-2] <= now:
                del logs[old]


def count_all(logs: Mapping[str, Log], wanted: Mapping[str, int], rate: Rate, now: float) -> dict[str, Verdict]:
    """Count all if all fit; return the verdicts on those that do not."""
    over = [subject for subject, log in logs.items() if rates.forget(log, rate, now) < wanted[subject]]
    counted = over or logs
    verdicts = {subject: rates.count(logs[subject], rate, wanted[subject], now) for subject in counted}
    return verdicts if over else {}


def digest(policy: str, subject: str) -> bytes:
    """Return what a subject is known by under a policy."""
    return hashlib.blake2b(f"{policy}\0{subject}".encode(), digest_size=16).digest()


def moment() -> float:
    """Return the time, in seconds of the epoch."""
    return clock.utcnow().timestamp()
