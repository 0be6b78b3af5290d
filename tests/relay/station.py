"""What all connections share: the script in force, the log, the certificates, and who is connected."""

import os
import signal
import ssl
import sys
import traceback
from pathlib import Path

from tests.relay import peer
from tests.relay.journal import Journal
from tests.relay.rulebook import Rulebook
from tests.relay.script import Script
from tests.relay.settings import Settings
from tests.relay.tls import server_context
from tests.relay.wire import Wire


class Station:
    """The relay's shared state; a part of the script that is replaced holds from the next step on.

    Connections are numbered from the one after `connections`, which an earlier process has counted.
    """

    def __init__(self, journal: Journal, certificates: Path, *, connections: int = 0) -> None:
        self.journal = journal
        self.settings = Settings()
        self.rulebook = Rulebook(())
        self.processes: dict[str, int] = {}
        self.wires: set[Wire] = set()
        #: Rises with everything that a client does.
        self.activity = 0
        #: An error of the relay itself: the process ends with it.
        self.failed = False
        self._certificates = certificates
        self._contexts: dict[tuple[str, str | None], ssl.SSLContext] = {}
        self._connections = connections

    def follow(self, script: Script) -> None:
        """Take over the whole script, its hits uncounted."""
        self.settings = script.settings
        self.rulebook = Rulebook(script.rules, seed=script.seed)
        self.processes = dict(script.processes)

    def enter(self, wire: Wire) -> int:
        """Count a new connection and return its number."""
        self.activity += 1
        self.wires.add(wire)
        self._connections += 1
        return self._connections

    def leave(self, wire: Wire) -> None:
        """Forget a connection that is gone."""
        self.activity += 1
        self.wires.discard(wire)

    def context(self) -> ssl.SSLContext:
        """Return the TLS side of the configured certificate and version."""
        key = (self.settings.certificate, self.settings.tls_maximum)
        if key not in self._contexts:
            self._contexts[key] = server_context(self._certificates / f"{key[0]}.pem", key[1])
        return self._contexts[key]

    def fail(self, error: BaseException | str) -> None:
        """Note an error of the relay itself, which must not pass for misbehaviour."""
        self.failed = True
        if isinstance(error, BaseException):
            traceback.print_exception(error)
        else:
            sys.stderr.write(f"relay: {error}\n")

    def kill(self, target: int | str, wire: Wire, connection: int) -> None:
        """Send SIGKILL to a process id, a registered name or "peer", and log what came of it."""
        pid = self._pid(target, wire)
        found = pid is not None and pid > 1
        if pid is not None and found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                found = False
        self.journal.note("kill", connection, target=str(target), pid=pid, found=found)
        self.journal.flush()

    def _pid(self, target: int | str, wire: Wire) -> int | None:
        if isinstance(target, int):
            return target
        return peer.process_of(*wire.addresses()) if target == "peer" else self.processes.get(target)
