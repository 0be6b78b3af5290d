"""The servers that take the mail: Postfix's smtp-sink where it is installed, and the recording one of this folder."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import PATIENCE, free_port, module, started, wait_for_port

SMTP_SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
USERNAME, PASSWORD = "bench", "correct horse"
#: Connections that may wait to be taken; a thread per mail opens many at once.
_BACKLOG = 1000


class Sink:
    """A running sink; `count` and `spool` are to be asked when the mail is through."""

    def __init__(self, port: int, directory: Path) -> None:
        self.port = port
        #: Where the messages are recorded, if they are.
        self.spool: Path | None = directory / "spool"
        #: Who vouches for the certificate, where there is one.
        self.ca: Path | None = None
        self.figures: dict[str, Any] = {}
        #: Its process.
        self.pids: list[int] = []

    def count(self) -> int:
        """Return how many messages have come; for a recording sink, once it has ended."""
        return int(self.figures["messages"])


class PostfixSink(Sink):
    """smtp-sink: it counts, and keeps nothing."""

    def __init__(self, port: int, directory: Path) -> None:
        super().__init__(port, directory)
        self.spool = None
        self._told = directory / "smtp-sink.out"

    def count(self) -> int:
        found = re.findall(rb"mesg=(\d+)", self._told.read_bytes()[-200:])
        return int(found[-1]) if found else 0


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of sink: what it is called in the report, and how it behaves."""

    title: str
    delay: float = 0.0
    secure: bool = False
    fast: bool = False

    @contextmanager
    def running(self, directory: Path) -> Iterator[Sink]:
        """Give a sink of this sort, which has seen nothing yet."""
        if self.fast and SMTP_SINK:
            with _smtp_sink(directory) as sink:
                yield sink
        else:
            with _recording(directory, self.delay, secure=self.secure) as sink:
                yield sink


@contextmanager
def _smtp_sink(directory: Path) -> Iterator[Sink]:
    port = free_port()
    told = directory / "smtp-sink.out"
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    # A pipe that nobody reads would stop it: its counters are rewritten at each message.
    with told.open("wb") as output:
        command = [str(SMTP_SINK), "-c", *user, f"127.0.0.1:{port}", str(_BACKLOG)]
        with started(command, log=directory / "sink.log", stdout=output.fileno()) as process:
            wait_for_port(port)
            sink = PostfixSink(port, directory)
            sink.pids = [process.pid]
            yield sink


@contextmanager
def _recording(directory: Path, delay: float, *, secure: bool) -> Iterator[Sink]:
    options: list[object] = ["--delay", delay]
    if secure:
        options += ["--pem", certificate(directory)]
    command = module("sink", directory / "spool", *options)
    pipe = subprocess.PIPE
    with started(command, log=directory / "sink.log", stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        sink = Sink(int(process.stdout.readline()), directory)
        sink.ca = directory / "ca.pem" if secure else None
        sink.pids = [process.pid]
        yield sink
        told, _ = process.communicate(timeout=PATIENCE)
        sink.figures.update(json.loads(told))


def certificate(directory: Path) -> Path:
    """Write a key with its certificate, and beside it `ca.pem`; return the former."""
    # A development dependency, which only the run with TLS needs.
    import trustme  # noqa: PLC0415

    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(directory / "sink.pem")
    return directory / "sink.pem"


def arrived(sink: Sink, count: int) -> int:
    """Return how many messages smtp-sink has counted, waiting a moment for the last of them to be."""
    deadline = time.monotonic() + 2.0
    while sink.count() < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return sink.count()
