"""One run: a load, a killer, a wait until everything is finished, and the audit."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.broker import Broker
from tests.crash.audit import Audit, compare
from tests.crash.fleet import Fleet
from tests.crash.load import Load
from tests.relay.process import Relay

#: SMTP connections of one dispatcher.
SENDERS = 4
#: Seconds after which a finish counts as late: by then every retry and probe has had its turn.
FINISH_SECONDS = 120.0
#: The longest pause, in seconds, between the moment that is due for a kill and the kill.
JITTER_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for: `seconds` bounds the load and the kills, `latency_ms` is the relay's."""

    messages: int
    kills: int
    dispatchers: int
    seed: int
    seconds: float
    latency_ms: float = 0.0
    clients: int = 8
    #: The dispatchers are workers of Celery's.
    celery: bool = False


@dataclass(slots=True)
class Report:
    """What came of a plan; times are in seconds."""

    plan: Plan
    audit: Audit
    #: How many there were, by what was killed.
    kills: Counter[str] = field(default_factory=Counter)
    load_seconds: float = 0.0
    finish_seconds: float = 0.0
    #: Deliveries still open when the wait was over.
    unfinished: int = 0
    flaws: list[str] = field(default_factory=list)

    @property
    def bound(self) -> int:
        """How many extra copies the kills explain: one for each connection that may have been open."""
        return SENDERS * self.kills.total()

    def breaches(self) -> list[str]:
        """Return a line for each promise that was broken."""
        lines = [*self.audit.breaches(), *self.flaws]
        if self.unfinished:
            lines.append(f"{self.unfinished} deliveries are not finished after {FINISH_SECONDS} s")
        if self.audit.extra > self.bound:
            lines.append(f"{self.audit.extra} extra copies, more than {self.bound} open connections")
        return lines


def run(
    plan: Plan, directory: Path, tell: Callable[[str], None] = lambda _: None, *, database_url: str | None = None
) -> Report:
    """Carry a plan out in an empty directory; the processes' own logs stay there, and the database by default."""
    quick: dict[str, object] = {"POSTROOM_RETRY_FIRST": 0.5, "POSTROOM_RETRY_MAX": 2, "POSTROOM_SENDERS": SENDERS}
    probes = {"POSTROOM_RELAY_PROBE_FIRST": 0.2, "POSTROOM_RELAY_PROBE_MAX": 0.5}
    limits = {"POSTROOM_RATE_LIMIT": "off", "POSTROOM_RECIPIENT_LIMIT": "off"}
    with ExitStack() as stack, Relay(directory, log_level="counts", latency_ms=plan.latency_ms) as relay:
        broker = stack.enter_context(Broker(directory)) if plan.celery else None
        settings = quick | probes | limits | {"MAIL_PORT": relay.port}
        if database_url is not None:
            settings["POSTROOM_DATABASE_URL"] = database_url
        with Fleet(directory / "data", plan.dispatchers, broker, **settings) as fleet:
            report = Report(plan, Audit())
            load = Load(fleet.server, plan.messages, clients=plan.clients)
            began = time.monotonic()
            _fire(plan, fleet, load, report, tell)
            report.load_seconds = time.monotonic() - began
            fleet.restore()
            _finish(fleet, report)
            report.audit = compare(load.posts, relay.messages(), statuses(fleet))
        report.flaws = [*fleet.store.flaws(), *(str(each) for each in relay.violations())]
    return report


def statuses(fleet: Fleet) -> Iterator[dict[str, Any]]:
    """Return every status resource, as a client reads them."""
    after = ""
    while True:
        answer = fleet.server.get(f"/v1/notifications?limit=100{after}")
        assert answer.status == 200, answer
        yield from answer.body["data"]
        if answer.body["next"] is None:
            return
        after = f"&after={answer.body['next']}"


def _fire(plan: Plan, fleet: Fleet, load: Load, report: Report, tell: Callable[[str], None]) -> None:
    """Kill at random moments, each within its own share of the load, so that there is load at every one of them."""
    chance = random.Random(plan.seed)
    ends = time.monotonic() + plan.seconds
    share = plan.messages / max(1, plan.kills)
    load.start()
    try:
        for kill in range(plan.kills):
            load.allow(int((kill + 2) * share))
            if not load.wait_for((kill + chance.random()) * share, until=ends):
                return
            time.sleep(chance.random() * JITTER_SECONDS)
            report.kills[fleet.strike(chance)] += 1
            fleet.restore()
            tell(f"{report.kills.total()} kills, {len(load.posts)} messages, {fleet.store.unfinished()} open")
        load.finish()
    finally:
        load.stop()


def _finish(fleet: Fleet, report: Report) -> None:
    began = time.monotonic()
    while (left := fleet.store.unfinished()) and time.monotonic() < began + FINISH_SECONDS:
        time.sleep(0.05)
    report.unfinished = left
    report.finish_seconds = time.monotonic() - began
