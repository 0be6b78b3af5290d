"""Whether the disk is waited for before each 202: `python -m benchmarks.syncs`, which needs strace.

A running `postroom serve` is watched while one client posts one mail after the other: with nobody to share a commit
with, the log must have been synced between a request and its answer, every time. Ends with an error if it was not.
"""

import http.client
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import servers
from benchmarks.load import BODY
from benchmarks.processes import PATIENCE, started
from benchmarks.servers import PATH, Served

_MAILS = 100
_DONE = re.compile(r"\b(?:fdatasync|fsync)\b.*= 0$", re.MULTILINE)


def counted(served: Served, directory: Path) -> list[int]:
    """Return how many syncs had ended between each request and its answer."""
    trace, log = directory / "trace", directory / "strace.log"
    processes = [option for pid in served.pids() for option in ("-p", str(pid))]
    command = [str(shutil.which("strace")), "-f", "-e", "trace=fdatasync,fsync", "-o", str(trace), *processes]
    with started(command, log=log) as strace:
        _wait_until_attached(strace, log, len(served.pids()))
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
        return [_syncs_of_one(connection, served.key, trace, number) for number in range(_MAILS)]


def _syncs_of_one(connection: http.client.HTTPConnection, key: str, trace: Path, number: int) -> int:
    before = len(_DONE.findall(trace.read_text()))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", PATH, BODY.replace("NUMBER", str(number)), headers)
    answer = connection.getresponse()
    # strace writes a line before what it watches goes on, so what is not there now came after the answer.
    syncs = len(_DONE.findall(trace.read_text())) - before
    assert answer.status == 202, answer.read()
    answer.read()
    return syncs


def _wait_until_attached(strace: subprocess.Popen[bytes], log: Path, processes: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while log.read_text().count(" attached") < processes:
        assert strace.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def main() -> None:
    if shutil.which("strace") is None:
        sys.exit("strace is not installed.")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with servers.postroom(directory / "postroom.db", POSTROOM_DISPATCH="none") as served:
            syncs = counted(served, directory)
    without = syncs.count(0)
    print(f"{len(syncs)} answers, one after the other: {sum(syncs)} syncs before them, {without} answers without one")
    sys.exit(1 if without else 0)


if __name__ == "__main__":
    main()
