"""The relay's log as values: messages, commands, connections, breaches and kills."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the relay accepted; `at` is Unix time in seconds, of every record.

    At log level `counts` the sender, user and raw content are empty and `tls` is False.
    """

    at: float
    connection: int
    queue_id: str
    #: With its angle brackets.
    message_id: str | None
    recipients: tuple[str, ...]
    #: Of the content, in hexadecimal.
    sha256: str
    sender: str = ""
    tls: bool = False
    user: str | None = None
    #: The content exactly as sent, dots unstuffed.
    raw: bytes = b""

    @property
    def parsed(self) -> EmailMessage:
        """The content as the standard library reads it."""
        message = message_from_bytes(self.raw, policy=default)
        assert isinstance(message, EmailMessage)
        return message


@dataclass(frozen=True, slots=True)
class Command:
    """A line that a client sent outside of content, credentials included."""

    at: float
    connection: int
    line: str
    #: It came through TLS.
    tls: bool

    @property
    def verb(self) -> str:
        """The command's name in capitals; an answer to a challenge of AUTH gives nonsense."""
        return self.line.partition(" ")[0].upper()


@dataclass(frozen=True, slots=True)
class Violation:
    """What a client may not do, and what it was about.

    Kinds, of commands: `order`, `pipelined`, `after_421`, `unknown_command`, `parameter`, `syntax`, `long_command`,
    `eight_bit_command`, `bare_newline`; of content: `bare_newline`, `long_line`, `nul`, `eight_bit`.
    """

    connection: int
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Kill:
    """A SIGKILL asked for by a rule; `found` tells whether there was such a process."""

    at: float
    connection: int
    target: str
    pid: int | None
    found: bool


@dataclass(slots=True)
class Connection:
    """One TCP connection; `closed` is None while it is open."""

    number: int
    opened: float
    #: The TCP port of the client.
    client: int
    closed: float | None = None
    #: The name of the last EHLO or HELO.
    hello: str | None = None
    #: The version of TLS, or None without it.
    tls: str | None = None
    #: Why a handshake failed.
    handshake_error: str | None = None
    #: Octets that came and were never looked at.
    unread: int = 0


class Log:
    """Reads the log as it grows; an event counts once its line is whole."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.messages: list[Message] = []
        self._path = path
        self._offset = 0

    def read(self) -> None:
        """Take in what was written since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for line in data[:whole].splitlines():
            event = json.loads(line)
            if event["event"] == "message":
                self.messages.append(_message(event))
            self.events.append(event)

    def forget(self) -> None:
        """Begin anew with what is written from now on."""
        self.events, self.messages = [], []

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the events of these kinds, in order."""
        return [event for event in self.events if event["event"] in kinds]


def _message(event: dict[str, Any]) -> Message:
    # The content is kept once: decoded, in the value.
    raw = base64.b64decode(event.pop("raw", ""))
    facts = {name: value for name, value in event.items() if name not in ("event", "recipients")}
    return Message(recipients=tuple(event["recipients"]), raw=raw, **facts)


def commands(events: Iterable[Mapping[str, Any]]) -> list[Command]:
    """Read `command` events."""
    return [Command(each["at"], each["connection"], each["text"], each["tls"]) for each in events]


def connections(events: Iterable[Mapping[str, Any]]) -> list[Connection]:
    """Gather what the events tell of each connection, in the order of their opening."""
    found: dict[int, Connection] = {}
    for event in events:
        number = event["connection"]
        match event["event"]:
            case "connect":
                found[number] = Connection(number, event["at"], event["client"])
            case "close":
                found[number].closed, found[number].unread = event["at"], event["unread"]
            case "hello":
                found[number].hello = event["name"]
            case "secured":
                found[number].tls = event["version"]
            case "handshake_failed":
                found[number].handshake_error = event["error"]
    return list(found.values())


def concurrency(events: Iterable[Mapping[str, Any]]) -> int:
    """Return how many connections were open at once, at most."""
    open_now = most = 0
    for event in events:
        open_now += {"connect": 1, "close": -1}.get(event["event"], 0)
        most = max(most, open_now)
    return most


def dialogue(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write events as lines a person can read: `1 C: MAIL FROM:<a@b>`, `1 S: 250 2.1.0 sender ok`, `1 ! drop`."""
    signs = {"command": "C:", "reply": "S:"}
    lines = []
    for event in events:
        facts = {name: value for name, value in event.items() if name not in ("event", "at", "connection", "raw")}
        what = facts["text"] if event["event"] in signs else f"{event['event']} {facts}"
        lines += [f"{event['connection']} {signs.get(event['event'], '!')} {line}" for line in what.split("\r\n")]
    return lines
