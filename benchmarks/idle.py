"""What it costs to start `postroom serve`, and to keep it running with nothing to do."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.letters import SENDER
from benchmarks.processes import cpu, descendants, free_port, started
from benchmarks.servers import serve, wait_until_answered

#: Seconds for which it is left alone: heartbeats and sweeps are in it.
_IDLE = 12.0
_SETTLE = 1.0


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds to import the app, and from nothing until `/readyz` is green; then memory (MB) and share of a core."""

    imported: float
    ready: float
    memory: float
    idle: float


def start(directory: Path) -> Start:
    """Start a server in an empty folder, and leave it alone."""
    port, log = free_port(), directory / "serve.log"
    settings = {"POSTROOM_SENDER": SENDER}
    began = time.monotonic()
    with started([sys.executable, "-c", "import api.app"], log=log, env=settings) as process:
        assert process.wait() == 0, log.read_text()[-2000:]
    imported, began = time.monotonic() - began, time.monotonic()
    with started(serve(port), log=log, env=settings) as process:
        wait_until_answered(process, f"http://127.0.0.1:{port}/readyz", log)
        ready = time.monotonic() - began
        time.sleep(_SETTLE)
        pids = [process.pid, *descendants(process.pid)]
        used, began = cpu(pids), time.monotonic()
        time.sleep(_IDLE)
        share = (cpu(pids) - used) / (time.monotonic() - began)
        return Start(imported, ready, sum(map(_memory, pids)), share)


def _memory(pid: int) -> float:
    """Return the memory of a process in MB, where a page that several have counts as a part for each."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
