"""What happened, written by the relay: one JSON object a line, in the order of events."""

import base64
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.relay import content


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message that the relay took: its envelope, its channel, and its content as sent, dots unstuffed."""

    connection: int
    queue_id: str
    sender: str
    recipients: tuple[str, ...]
    tls: bool
    user: str | None
    raw: bytes


class Journal:
    """Appends to the log; a message is in the file when `accept` returns, the rest when `flush` does.

    With `full` off only connections, messages (without content), violations and kills are written.
    """

    def __init__(self, path: Path, *, full: bool = True, fsync: bool = False) -> None:
        self.full = full
        self._fsync = fsync
        self._pending = bytearray()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, event: str, connection: int, **facts: object) -> None:
        """Remember an event for the next write."""
        line = json.dumps({"event": event, "at": time.time(), "connection": connection, **facts})
        self._pending += line.encode() + b"\n"

    def accept(self, receipt: Receipt) -> None:
        """Write a message and all before it with one `write`. Raises OSError when it cannot be stored whole."""
        facts: dict[str, object] = {
            "queue_id": receipt.queue_id,
            "message_id": content.message_id(receipt.raw),
            "recipients": receipt.recipients,
            "sha256": content.fingerprint(receipt.raw),
        }
        if self.full:
            facts |= {
                "sender": receipt.sender,
                "tls": receipt.tls,
                "user": receipt.user,
                "raw": base64.b64encode(receipt.raw).decode(),
            }
        self.note("message", receipt.connection, **facts)
        self.flush()
        if self._fsync:
            os.fsync(self._file)

    def flush(self) -> None:
        """Write what is remembered. Raises OSError when it cannot be stored whole."""
        if self._pending:
            data = bytes(self._pending)
            self._pending.clear()
            if os.write(self._file, data) != len(data):
                raise OSError("the log took only a part of what was written")
