"""Ends a PostgreSQL server, and removes its folder, when whoever started it is gone, however that came about.

    python keeper.py FOLDER

Runs until its stdin ends: the other end is held by the process that uses the server, and by nobody else.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def end(folder: Path) -> None:
    """Have the server in this folder, if one runs, shut down at once, and remove the folder."""
    pid = postmaster(folder / "data")
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
    deadline = time.monotonic() + 10
    while postmaster(folder / "data") is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def postmaster(data: Path) -> int | None:
    """Return the process id of the server on these data, or None when there is none."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return None
    # A server that was killed leaves its file behind, and its number to others.
    return pid if os.fsencode(data) in command else None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the pipe tells when it is time
    sys.stdin.buffer.read()
    end(Path(sys.argv[1]))
