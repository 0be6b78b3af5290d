"""The Celery entry: `celery -A api.celery_app worker`, and once beside all workers `celery -A api.celery_app beat`.

The broker carries nothing but "there may be work". Beat says so every second, and when each periodic job is due; a
worker process then does what the dispatcher's thread does elsewhere. What is to be sent, and how often it was tried,
stands in the outbox alone: a message to a worker may be lost, doubled or late, and that changes nothing.

Raises SystemExit with a sentence where it cannot start.
"""

import logging
import mmap
import os
import ssl
import threading
from dataclasses import replace
from typing import Any

from celery import Celery, signals  # type: ignore[import-untyped]  # noqa: TID251 -- this is the module
from celery.beat import Scheduler, SchedulingError  # type: ignore[import-untyped]  # noqa: TID251 -- as above
from flask import Flask

from api import config, garbage
from api.app import create_app
from api.core import jobs
from api.core.db import close
from api.core.dispatchers import Drive
from api.core.errors import Unavailable
from api.core.migrations import SchemaError
from api.delivery.shift import Shift
from api.startup import keep_apart, prepared

log = logging.getLogger(__name__)

QUEUE = "postroom"
#: Seconds between two calls to dispatch, and after which one that nobody has taken means nothing any more.
TICK_SECONDS, TICK_EXPIRES = 1.0, 5.0
#: Seconds that a task waits for the pass it has begun. Meanwhile the next call finds another process, if there is one.
PASS_SECONDS = 5.0
#: Seconds after which Redis hands out again what a worker took and never answered for. It only means one call more.
VISIBILITY_SECONDS = 120
#: Messages that wait at the broker at most: where no worker runs, they would only pile up.
MOST_WAITING = 100


def _settings() -> config.Settings:
    try:
        read = config.read()
    except config.ConfigError as error:
        raise SystemExit(f"Error: {error}") from None
    if read.broker_url is None:
        raise SystemExit("Error: POSTROOM_BROKER_URL is missing: set it to the broker, like redis://localhost:6379/0.")
    # Who asks Celery to dispatch has decided, whatever else runs on this database.
    return replace(read, dispatch="celery")


class Beat(Scheduler):  # type: ignore[misc]  # it has no types
    """Beat's schedule in memory: when something was done last stands in the database, where it matters."""

    _is_broken = False

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a message, unless nobody takes those that wait, or there is no broker: the next one is as good."""
        try:
            if self._waiting(producer) < MOST_WAITING:
                self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError:
            if not self._is_broken:
                log.warning("the broker cannot be reached; nobody is called to dispatch until it is back")
            self._is_broken = True
        else:
            self._is_broken = False

    def _waiting(self, producer: Any) -> int:
        """Return how many messages wait at the broker; 0 if that cannot be told now."""
        if producer.channel.connection is None:
            return 0  # to send makes a broken connection anew
        try:
            return int(app.amqp.queues[QUEUE].bind(producer.channel).queue_declare().message_count)
        except (*self.connection.connection_errors, *self.connection.channel_errors):
            return 0


def _transport(url: str) -> dict[str, Any]:
    """Return what Celery is to know of the way to the broker, by its kind."""
    if not url.startswith("redis"):
        return {}
    options = {"visibility_timeout": VISIBILITY_SECONDS, "socket_connect_timeout": 5, "socket_keepalive": True}
    # A certificate is checked unless the URL says otherwise (`?ssl_cert_reqs=`), and so is the name in it.
    is_plain = not url.startswith("rediss:") or "ssl_cert_reqs" in url
    secure = {} if is_plain else {"broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}}
    return {"broker_transport_options": options, **secure}


settings = _settings()
app = Celery("postroom", broker=settings.broker_url)
app.conf.update(
    _transport(settings.broker_url or ""),
    task_default_queue=QUEUE,
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    # Who dies over a message has not done it. It may be done twice: the outbox hands each delivery out once.
    task_acks_late=True,
    # A process takes one message at a time and leaves the others to whoever is free.
    worker_prefetch_multiplier=1,
    # A process makes its app at its first message, but the machine may be busy.
    worker_proc_alive_timeout=60.0,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    beat_scheduler=Beat,
    beat_max_loop_interval=TICK_SECONDS,
    beat_schedule={
        "dispatch": {
            "task": "postroom.dispatch",
            "schedule": TICK_SECONDS,
            "options": {"expires": TICK_EXPIRES},
        },
        **{
            f"job-{job.name}": {
                "task": "postroom.job",
                "args": [job.name],
                "schedule": job.period.total_seconds(),
                "options": {"expires": job.period.total_seconds()},
            }
            for job in jobs.JOBS
        },
    },
)


class Process:
    """What one process of a worker has for as long as it lives: an app, and a dispatcher while there are calls."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        keep_apart(settings)
        self.app: Flask = create_app(settings)
        garbage.settle()
        self.shift = Shift(self.app, drive=Drive.CELERY, ending=_is_ending)


#: Written by the parent, which alone hears SIGTERM, and read by the processes that it has forked.
_ending = mmap.mmap(-1, 1)
_guard = threading.Lock()
_process: Process | None = None
_main: int | None = None


def _here() -> Process:
    """Return this process's own: neither a thread nor a connection survives a fork, so it is made at the first use."""
    global _process
    with _guard:
        if _process is None or _process.pid != os.getpid():
            _process = Process()
        return _process


def _is_ending() -> bool:
    # A process whose parent was killed gets no more calls, and nobody else would end it.
    is_orphan = _main is not None and _main != os.getpid() and os.getppid() != _main
    return _ending[0] != 0 or is_orphan


@app.task(name="postroom.dispatch")  # type: ignore[untyped-decorator]
def dispatch() -> None:
    """Send what is due."""
    _here().shift.work(PASS_SECONDS)


@app.task(name="postroom.job")  # type: ignore[untyped-decorator]
def job(name: str) -> None:
    """Do one of the periodic jobs, unless somebody else does it."""
    process = _here()
    try:
        with process.app.app_context():
            jobs.run(jobs.named(name))
    except Unavailable as error:
        log.warning("%s is put off: %s", name, error.detail)


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _prepare(**_: object) -> None:
    """Bring the database up to date before any process of this worker uses it."""
    global _main
    _main = os.getpid()
    logging.getLogger("api").setLevel(logging.INFO)
    try:
        with prepared(settings):
            pass
    except (config.ConfigError, SchemaError) as error:
        raise SystemExit(f"Error: {error}") from None


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _end(**_: object) -> None:
    """Let every process of this worker claim nothing more."""
    _ending[0] = 1


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _leave(**_: object) -> None:
    """End what is under way: at the end of a forked process, and of a worker that sends by its own threads."""
    process = _process
    if process is not None and process.pid == os.getpid():
        process.shift.stop()
        close(process.app)
