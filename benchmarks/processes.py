"""Processes that are measured: what they used, and how a program of ours tells what it did."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Seconds for any one measurement; what takes longer is broken, or has the wrong size.
PATIENCE = 180.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Measure:
    """What one drain took: seconds from its start to the last mail, CPU seconds and peak RSS (MB) of all its processes.

    `startup` is the seconds from the start of the process until it drained; they are in none of the others.
    """

    mails: int
    seconds: float
    cpu: float
    rss: float
    startup: float = 0.0

    @property
    def rate(self) -> float:
        return self.mails / self.seconds


def tell(measure: Measure) -> None:
    """Print a measure as the last line of a program of ours, for `measured`."""
    print(json.dumps(asdict(measure)), flush=True)


def measured(command: Sequence[str], *, log: Path) -> Measure:
    """Run a program that ends by `tell`, and return what it told. Raises RuntimeError with its log if it fails."""
    with started(command, log=log, stdout=subprocess.PIPE) as process:
        told = process.communicate(timeout=PATIENCE)[0]
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return Measure(**json.loads(told.splitlines()[-1]))


@contextmanager
def started(
    command: Sequence[str],
    *,
    log: Path,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = None,
    env: Mapping[str, object] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a group of its own, its stderr in the log; the whole group is gone afterwards."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env=environment(env or {}),
            stdin=stdin,
            stdout=errors if stdout is None else stdout,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return an environment with these settings and none of the caller's, in which the checkout is imported."""
    ours = ("POSTROOM_", "MAIL_", "FLASKY_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {"PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in settings.items()}


def module(name: str, *arguments: object, python: Path | None = None) -> list[str]:
    """Return the command that runs a module of this folder."""
    return [str(python or sys.executable), "-m", f"benchmarks.{name}", *map(str, arguments)]


def descendants(pid: int) -> list[int]:
    """Return the living processes that a process has started, and those that they have."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def cpu(pids: Iterable[int]) -> float:
    """Return the CPU seconds, user and system, that living processes and their dead children have used."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / _TICK
    return total


def peak_rss(pids: Iterable[int]) -> float:
    """Return the most memory, in MB, that living processes have had, summed."""
    # Not `getrusage`: what it tells of a child starts with the memory of whoever started it.
    return sum(_status(pid, "VmHWM:") for pid in pids)


def rss(pid: int) -> float:
    """Return the memory of a living process now, in MB."""
    return _status(pid, "VmRSS:")


def _status(pid: int, name: str) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Return once somebody listens there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() < deadline, f"nobody listens at port {port}"
        time.sleep(0.01)
