"""Leases: quotas counted in the database, exactly for all processes, and seldom.

A process takes single units from a lease: units that it has counted ahead of their use, the more the faster they go.
They are of no use beyond the lease's end, and what is left of them is given back with the next lease.
"""

import threading
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy.orm import Session

from api.core import ledger, quotas, rates
from api.core.db import transact
from api.core.errors import Unavailable
from api.core.quotas import Charge
from api.core.rates import Rate, Verdict

#: Seconds that a lease lasts at most; a quota is leased in so many parts at least.
LEASE_SECONDS = 1.0
LEASE_PARTS = 64
#: Subjects whose lease a process remembers, the latest ones.
MOST_HOLDERS = 10_000


@dataclass(frozen=True, slots=True)
class _Lease:
    """Units of a subject that this process has counted ahead of their use, or that there are none for now."""

    verdict: Verdict
    at: float
    #: Until when they may be used, and until when they count.
    ends: float
    until: float
    size: int
    left: int

    def told(self, now: float) -> Verdict:
        """Return how the rate stands, as far as this process can know."""
        over = max(0.0, now - self.at)
        verdict = self.verdict
        return Verdict(
            verdict.allowed,
            verdict.remaining + self.left,
            max(0.0, verdict.reset - over),
            max(0.0, verdict.retry - over),
        )


@dataclass(slots=True)
class _Holder:
    """A subject's lease, and whose turn it is to look at it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    lease: _Lease | None = None


class Database(quotas.Store):
    """Counts for all processes that share the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[tuple[str, str], _Holder] = {}

    def take(self, policy: str, subject: str, rate: Rate) -> Verdict:
        """Count one, if it fits; while the database cannot be written, all do."""
        holder = self._holder(policy, subject)
        with holder.lock:
            now, lease = quotas.moment(), holder.lease
            if lease is None or not _holds(lease, now):
                try:
                    renew = partial(_renew, lease=lease, name=quotas.digest(policy, subject).hex(), rate=rate)
                    lease = transact(renew, durable=False)
                except Unavailable:
                    return Verdict(True, 0, float(rate.window))
            if lease.verdict.allowed:
                lease = replace(lease, left=lease.left - 1)
            holder.lease = lease
            return lease.told(now)

    def charge(self, session: Session | None, policy: str, wanted: Mapping[str, int], rate: Rate) -> Charge:
        """Count so many of each subject if all of them fit, else nothing, in the session's own transaction."""
        assert session is not None  # noqa: S101 -- only what counts in memory needs none
        names = {subject: quotas.digest(policy, subject).hex() for subject in wanted}
        known = ledger.read(session, sorted(names.values()))
        logs = {subject: known.get(name, array("d")) for subject, name in names.items()}
        refused = quotas.count_all(logs, wanted, rate, quotas.moment())
        if not refused:
            ledger.write(session, {names[subject]: log for subject, log in logs.items()}, known)
        return Charge(refused)

    def _holder(self, policy: str, subject: str) -> _Holder:
        with self._lock:
            holder = self._holders.pop((policy, subject), None) or _Holder()
            self._holders[policy, subject] = holder
            if len(self._holders) > MOST_HOLDERS:
                del self._holders[next(iter(self._holders))]
            return holder


def _holds(lease: _Lease, now: float) -> bool:
    """Tell whether a lease has a unit left that may be used now, or whether what it was refused is still refused."""
    if not lease.verdict.allowed:
        return lease.at <= now < lease.at + lease.verdict.retry
    return lease.left > 0 and lease.at <= now < lease.ends


def _renew(session: Session, *, lease: _Lease | None, name: str, rate: Rate) -> _Lease:
    """Give back what is left of a lease and return the next one, larger if that was used up before its end."""
    now = quotas.moment()
    lasts = min(LEASE_SECONDS, rate.window / LEASE_PARTS)
    known = ledger.read(session, [name])
    log = known.get(name, array("d"))
    size = 1
    if lease is not None and lease.left:
        rates.take_back(log, lease.left, lease.until)
    elif lease is not None and now < lease.at + lasts:
        size = min(lease.size * 2, max(1, rate.quota // LEASE_PARTS))
    granted = max(1, min(size, rates.forget(log, rate, now)))
    # A single unit is used at once; more of them count as if all were used at the end.
    ends = now + lasts if granted > 1 else now
    verdict = rates.count(log, rate, granted, now, until=ends + rate.window)
    ledger.write(session, {name: log}, known)
    left = granted if verdict.allowed else 0
    return _Lease(verdict, at=now, ends=ends, until=ends + rate.window, size=size, left=left)
