"""The test's handle on real Postroom processes: `serve` and `dev` with their workers, and `dispatch`.

    with Server(tmp_path, MAIL_PORT=relay.port) as server:
        answer = server.post("/v1/users", {"username": "ann", "email": "ann@example.org"})
        assert answer.status == 202
        server.wait_for_status(answer.headers["Location"], "sent")

    server.stop()        # SIGTERM; returns the exit status
    server.kill()        # SIGKILL to the parent and every worker
    server.start()       # again, on the same data

Whatever still runs when `with` ends is killed. What the processes said is in `server.log()`, and in every failure.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from api import config
from api.app import create_app
from api.core import keys, migrations
from api.core.db import close
from schemas.vocabulary import Scope

_ROOT = Path(__file__).parents[2]
#: Seconds for anything that should take one.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its headers, and its body as JSON, or as bytes where it is none."""

    status: int
    headers: HTTPMessage
    body: Any


class Server:
    """A `postroom` process that serves from a data directory, and those that it starts; running inside `with`."""

    host = "127.0.0.1"
    #: What is run, before the command.
    program: Sequence[str] = (sys.executable, "-m", "api.cli")

    def __init__(self, directory: Path, *command: str, **settings: object) -> None:
        self.directory = directory
        self.directory.mkdir(exist_ok=True)
        self.port = 0
        self.key = ""
        self._command = command or ("serve",)
        self._log = directory / f"{self._command[0]}.log"
        self._begin = 0
        self._settings = {"POSTROOM_SENDER": "Postroom <postroom@example.org>", "MAIL_SERVER": self.host} | settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        if error is not None:
            error.add_note(f"--- {self._log.name}\n{self.log()}")

    @property
    def pid(self) -> int:
        """The process id of the parent."""
        return self._running().pid

    def start(self, *, ready: bool = True) -> Self:
        """Start the process and wait until it answers, and unless told otherwise until it is ready to send."""
        self.launch()
        if self._command[0] == "dispatch":
            return self
        self.port = int(self.wait_for_line(r"http://127\.0\.0\.1:(\d+)")[1])
        self.wait_until_up("/readyz" if ready else "/healthz")
        self.key = self.key or make_key(self.directory, self._settings.get("POSTROOM_DATABASE_URL"))
        return self

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        free_port = self._command[0] in ("serve", "dev") and "--port" not in self._command
        command = [*self._command, *(["--port", "0"] if free_port else [])]
        with self._log.open("ab") as log:
            log.write(f"\n--- {' '.join(command)}\n".encode())
            log.flush()
            self._begin = self._log.stat().st_size
            self._process = subprocess.Popen(
                [*self.program, *command],
                cwd=self.directory,
                env=environment(**self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own process group, so that a Ctrl-C can be sent to all that a terminal would send it to.
                start_new_session=True,
            )

    def log(self) -> str:
        """Return what the processes have said since the last start."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Return the match of a pattern in the log once it is there; the process must live until then."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.log())) is None:
            assert self._running().poll() is None, f"ended with {self._running().returncode}:\n{self.log()}"
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.log()}"
            time.sleep(0.02)
        return found

    def wait_until_up(self, path: str = "/readyz") -> None:
        """Return once the path answers 200."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = None
            with contextlib.suppress(OSError):
                answer = self.get(path)
            if answer is not None and answer.status == 200:
                return
            assert self._running().poll() is None, f"ended with {self._running().returncode}:\n{self.log()}"
            assert time.monotonic() < deadline, f"{path}: {answer}\n{self.log()}"
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """Return the ids of the parent and its living descendants."""
        return [self.pid, *_descendants(self.pid)] if self._process is not None else []

    def workers(self) -> list[int]:
        """Return the ids of the living worker processes."""
        return self.processes()[1:]

    def terminate(self) -> None:
        """Send SIGTERM to the parent."""
        self._running().terminate()

    def interrupt(self) -> None:
        """Do what Ctrl-C in a terminal does: SIGINT to every process of the group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self) -> int:
        """Wait for the parent's end, and return its exit status."""
        status = self._running().wait(PATIENCE)
        self._process = None
        return status

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit status."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """Send SIGKILL to the parent and all its workers at once, if they run."""
        if self._process is None:
            return
        # The parent first and stopped, so that it replaces nobody meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)
        for pid in reversed(self.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET with the key."""
        return self.request("GET", path, None, **headers)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        """Send a POST of JSON with the key."""
        return self.request("POST", path, json.dumps(body).encode(), **headers)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request with the key. Raises OSError where nobody answers."""
        given = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"} | headers
        connection = HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            raw = response.read()
            kind = response.headers.get("Content-Type", "")
            return Answer(response.status, response.headers, json.loads(raw) if "json" in kind else raw)
        finally:
            connection.close()

    def wait_for_status(self, path: str, *statuses: str) -> dict[str, Any]:
        """Return the notification once its status is one of these."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.get(path).body)["status"] not in statuses:
            assert time.monotonic() < deadline, f"{found}\n{self.log()}"
            time.sleep(0.05)
        return dict(found)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process


def environment(**settings: object) -> dict[str, str]:
    """Return an environment with these settings and no others, in which `python -m api.cli` is the checkout's."""
    ours = ("POSTROOM_", "MAIL_", "FLASKY_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {"PYTHONPATH": str(_ROOT)} | {name: str(value) for name, value in settings.items()}


def make_key(directory: Path, url: object = None) -> str:
    """Return the secret of a new live key that may do everything, in this database or that of a data directory."""
    app = create_app(config.Settings(database_url=str(url or f"sqlite:///{directory}/var/postroom.db")))
    with app.app_context():
        migrations.upgrade()
        secret = keys.create(name="e2e", scopes=[Scope.ADMIN])[1]
    close(app)
    return secret


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *_descendants(child)]
    return found
