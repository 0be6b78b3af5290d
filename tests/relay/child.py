"""The relay's process as seen by its parent: started, given orders, stopped in its tracks, ended."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]
#: Seconds within which a process that is well has started, answered or ended, on a busy machine.
_PATIENCE = 30.0


class Child:
    """A running relay; `port` is where it listens. Raises RuntimeError when it does not start."""

    def __init__(self, options: Sequence[str | Path]) -> None:
        command = [sys.executable, "-m", "tests.relay.server", *options]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._answers = b""
        self._talking = threading.Lock()
        self.paused = False
        try:
            self.port = int(self._answer().removeprefix("ready "))
        except BaseException:
            self._process.kill()
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def order(self, do: str, **facts: object) -> None:
        """Have an order carried out. Raises RuntimeError when it is refused or the relay is paused or dead."""
        if self.paused:
            raise RuntimeError("a paused relay takes no orders")
        assert self._process.stdin is not None
        with self._talking:
            try:
                self._process.stdin.write(json.dumps({"do": do, **facts}).encode() + b"\n")
            except BrokenPipeError:
                raise RuntimeError(f"the relay is dead: {self._process.poll()}") from None
            answer = self._answer()
        if answer != "ok":
            raise RuntimeError(f"{do}: {answer}")

    def pause(self) -> None:
        """Stop the process with SIGSTOP, and wait until it has stopped."""
        self.paused = True
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + _PATIENCE
        while os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG) is None:
            if time.monotonic() > deadline:
                raise RuntimeError("the relay does not stop")
            time.sleep(0.001)

    def resume(self) -> None:
        """Let the process go on, if it is paused."""
        if self.paused:
            os.kill(self.pid, signal.SIGCONT)
            self.paused = False

    def stop(self) -> int:
        """End the process, paused or not, and return its exit status; 0 is good."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.resume()
        with contextlib.suppress(RuntimeError):
            self.order("stop")  # a fork of this process may hold the end of the pipe, too
        self._process.stdin.close()
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + _PATIENCE
        while b"\n" not in self._answers:
            patience = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self._process.stdout], [], [], patience)
            data = os.read(self._process.stdout.fileno(), 65536) if readable else b""
            if not data:
                raise RuntimeError("the relay is dead" if readable else "the relay does not answer")
            self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        return line.decode()
