"""The races: a sink each, who sends to it, and what is expected of Postroom there."""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import contestants
from benchmarks.contestants import Contestant
from benchmarks.report import Goal
from benchmarks.sinks import SMTP_SINK, Kind

ONE, TWO = "Postroom, 1 process", "Postroom, 2 processes"
DRIVEN, DRIVEN_TWO = "Postroom by Celery, 1 worker", "Postroom by Celery, 2 workers"
THREADS, FRESH = "Flask-Mail, a thread per mail", "Flask-Mail, a connection per mail"


@dataclass(frozen=True, slots=True)
class Race:
    """One sink, who sends to it, and how many mails Postroom gets of the run's count."""

    kind: Kind
    share: float
    contestants: tuple[Contestant, ...]
    goals: tuple[Goal, ...]


def races() -> list[Race]:
    """Return the three races, with those who are installed; a contestant's share is of the race's mails."""
    threads = contestants.flask_mail(THREADS, "thread", 0.1)
    celery, pool, source = contestants.celery(0.1), contestants.nodemailer(0.25), contestants.smtp_source(1.0)
    loopback = (
        contestants.postroom(ONE),
        contestants.postroom(TWO, processes=2),
        contestants.postroom_celery(DRIVEN, workers=1),
        contestants.postroom_celery(DRIVEN_TWO, workers=2),
        threads,
        contestants.flask_mail("Flask-Mail, one kept connection", "kept", 0.1),
        celery,
        pool,
        source,
    )
    far = (
        contestants.postroom(ONE, senders=64),
        contestants.flask_mail(THREADS, "thread", 0.15),
        contestants.nodemailer(0.04),
    )
    secure = (
        contestants.postroom(ONE),
        contestants.flask_mail(THREADS, "thread", 0.1),
        contestants.flask_mail(FRESH, "fresh", 0.1),
        contestants.flask_mail("Flask-Mail, one kept connection", "kept", 0.2),
    )
    against = [Goal(ONE, 15, THREADS)]
    if celery:
        against += [Goal(ONE, 12, celery.name), Goal(DRIVEN_TWO, 5, celery.name)]
    if pool:
        against.append(Goal(ONE, 4, pool.name))
    against.append(Goal(DRIVEN_TWO, 1.6, DRIVEN))
    if source:
        against.append(Goal(ONE, 0.5, source.name))
    return [
        Race(_fast(), 1.0, _present(loopback), (*against, Goal(TWO, 20, THREADS))),
        Race(Kind("20 ms a round trip", delay=0.02), 0.4, _present(far), (Goal(ONE, 1000), Goal(ONE, 4, THREADS))),
        Race(
            Kind("STARTTLS and AUTH", secure=True), 0.3, _present(secure), (Goal(ONE, 4, FRESH), Goal(ONE, 4, THREADS))
        ),
    ]


def _fast() -> Kind:
    return Kind("loopback, smtp-sink" if SMTP_SINK else "loopback, the included sink", fast=True)


def _present(some: Iterable[Contestant | None]) -> tuple[Contestant, ...]:
    return tuple(one for one in some if one is not None)
