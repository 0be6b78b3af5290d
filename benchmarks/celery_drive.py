"""Postroom driven by Celery: workers of one process each, beat and a broker, on a copy of a filled outbox."""

import os
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks import outbox
from benchmarks.celery_queue import broker
from benchmarks.drain import Watch, settings
from benchmarks.processes import Measure, descendants, started
from benchmarks.sinks import Sink


def drain(filled: Path, sink: Sink, directory: Path, *, workers: int) -> Measure:
    """Drain a copy of the outbox, from the first dispatcher's announcement to the last result in the table.

    Beat and the broker are in the CPU seconds and the memory. Raises AssertionError unless every mail is `sent`, by one
    attempt.
    """
    database = outbox.copy(filled, directory / "postroom.db")
    count = sum(outbox.statuses(database).values())
    log = directory / "celery.log"
    with ExitStack() as stack:
        url = f"redis://127.0.0.1:{broker(directory, stack)}/0"
        env = settings(database, sink, None) | {"POSTROOM_BROKER_URL": url, "POSTROOM_DISPATCH": "celery"}
        launched = time.monotonic()
        commands = [_worker(number) for number in range(workers)] + [_celery("beat")]
        running = [stack.enter_context(started(command, log=log, env=env)) for command in commands]
        watch = Watch(database, [])
        stack.enter_context(closing(watch))
        watch.until_begun(running)
        watch.follow(descendants(os.getpid()))
        watch.until_done(running)
    assert outbox.statuses(database) == {"sent": count}, outbox.statuses(database)
    assert outbox.attempts(database) == count
    return Measure(count, watch.done - watch.begun, watch.used, watch.peak, watch.begun - launched)


def _worker(number: int) -> list[str]:
    return _celery("worker", "--concurrency", "1", "--hostname", f"worker-{number}@localhost", "--loglevel", "WARNING")


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "api.celery_app", *arguments]
