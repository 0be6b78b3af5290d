"""Who sends: Postroom and what it is measured beside, each of them once per round."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import celery_drive
from benchmarks.drain import drain
from benchmarks.letters import SENDER, letters
from benchmarks.processes import ROOT, Measure, measured, module
from benchmarks.sinks import Sink

PEERS = ROOT / "var/bench/peers/bin/python"
NODEMAILER = ROOT / "var/bench/node/node_modules/nodemailer"
SMTP_SOURCE = shutil.which("smtp-source", path="/usr/sbin:/usr/local/sbin:/usr/bin")
NODE = shutil.which("node")
_KEPT = 2
_POOL = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Where one measurement happens: an empty folder, the sink, and the filled outbox of that many mails."""

    directory: Path
    sink: Sink
    filled: Path | None
    count: int

    @property
    def log(self) -> Path:
        return self.directory / "sender.log"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to send; `share` is how many of Postroom's mails it gets, so that a slow one does not take all day."""

    name: str
    run: Callable[[Place], Measure]
    share: float = 1.0
    #: Its mails are the letters, and can be told apart.
    letters: bool = True
    #: It drains an outbox.
    drains: bool = False


def postroom(name: str, *, processes: int = 1, senders: int | None = None) -> Contestant:
    def run(place: Place) -> Measure:
        assert place.filled is not None
        return drain(place.filled, place.sink, place.directory, processes=processes, senders=senders)

    return Contestant(name, run, drains=True)


def postroom_celery(name: str, *, workers: int) -> Contestant:
    """Return Postroom driven by Celery, its workers of one process each."""

    def run(place: Place) -> Measure:
        assert place.filled is not None
        return celery_drive.drain(place.filled, place.sink, place.directory, workers=workers)

    return Contestant(name, run, drains=True)


def flask_mail(name: str, way: str, share: float) -> Contestant:
    def run(place: Place) -> Measure:
        secure = ["--secure"] if place.sink.ca else []
        return measured(module("flaskmail", way, place.sink.port, place.count, *secure), log=place.log)

    return Contestant(name, run, share)


def celery(share: float) -> Contestant | None:
    """Return Celery with two prefork workers, if it is installed."""

    def run(place: Place) -> Measure:
        return measured(module("celery_queue", place.sink.port, place.count, python=PEERS), log=place.log)

    return Contestant("Celery + Valkey, 2 workers", run, share) if PEERS.exists() else None


def nodemailer(share: float) -> Contestant | None:
    """Return nodemailer's pool, if it is installed."""

    def run(place: Place) -> Measure:
        file = place.directory / "letters.json"
        file.write_text(json.dumps([asdict(one) | {"sender": SENDER} for one in letters(place.count)]))
        program = str(ROOT / "benchmarks/pool.mjs")
        command = [str(NODE), program, str(NODEMAILER), str(place.sink.port), str(file), str(_POOL)]
        return measured(command, log=place.log)

    return Contestant(f"nodemailer pool, {_POOL} connections", run, share) if NODE and NODEMAILER.exists() else None


def smtp_source(share: float) -> Contestant | None:
    """Return Postfix's load generator over kept connections, if it is installed; it has mails of its own."""

    def run(place: Place) -> Measure:
        command = module("source", str(SMTP_SOURCE), place.sink.port, place.count, _KEPT)
        return measured(command, log=place.log)

    name = f"smtp-source (C), {_KEPT} kept connections"
    return Contestant(name, run, share, letters=False) if SMTP_SOURCE else None
