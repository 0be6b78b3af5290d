"""The script: where the relay misbehaves, and how. Plain values, carried between the processes as JSON.

A rule names a phase, may ask for a recipient, sender or subject, and holds one action. The first rule that matches
and still has hits left decides; without one the relay behaves.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal, get_args

from tests.relay.settings import Settings

Garbage = Literal["text", "binary", "huge_line", "endless_lines", "wrong_code", "empty"]


class Phase(StrEnum):
    """A step of the dialogue at which a rule can take over, in the order of a session."""

    #: TCP is accepted; nothing was said and no TLS was begun.
    CONNECT = "connect"
    #: The TLS handshake: on connecting with implicit TLS, else after the 220 to STARTTLS.
    HANDSHAKE = "handshake"
    BANNER = "banner"
    EHLO = "ehlo"
    HELO = "helo"
    STARTTLS = "starttls"
    #: The credentials are complete.
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    #: Content arrives, before its end is looked for.
    BODY = "body"
    #: The final dot came; the message is neither accepted nor logged.
    DOT = "dot"
    #: The message is accepted and logged; the 250 is not written.
    AFTER_DOT = "after_dot"
    RSET = "rset"
    NOOP = "noop"
    QUIT = "quit"


@dataclass(frozen=True, slots=True)
class Drip:
    """A reply sent one byte each `interval` seconds; unfinished, its line goes on until the client leaves."""

    #: None drips the phase's normal reply.
    reply: str | None = None
    interval: float = 0.2
    finish: bool = True


@dataclass(frozen=True, slots=True)
class Action:
    """What is done instead of the normal reply, in the order of the fields; nothing but a delay or a kill goes on."""

    #: Seconds before anything else. A client that leaves meanwhile ends the turn, and nothing is accepted.
    delay: float = 0.0
    #: SIGKILL for a process id, a registered name, or "peer": whoever holds the other end of the connection.
    kill: int | str | None = None
    #: Seconds of silence, then the connection is dropped; infinite means until the client leaves.
    hang: float | None = None
    #: Reply lines as they are written. A positive code is an acceptance like the normal one.
    reply: tuple[str, ...] = ()
    drip: Drip | None = None
    garbage: Garbage | None = None
    #: Octets of the huge line.
    size: int = 1_000_000
    #: Close: abruptly, or politely after a reply.
    drop: bool = False
    #: Make the close a TCP reset.
    rst: bool = False
    #: The normal reply is written first, then the rest happens.
    after_reply: bool = False

    def __post_init__(self) -> None:
        if self.garbage is not None and self.garbage not in get_args(Garbage):
            raise ValueError(f"no garbage of the kind {self.garbage!r}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One misbehaviour: in `phase`, for what matches, skipping `after` hits and then for at most `times` hits.

    `recipient`, `sender` and `subject` are globs without case. From `data` on, `recipient` matches when any recipient
    of the envelope does; `subject` needs content, so it holds from `body` on. `at_bytes` waits for that much content.
    """

    phase: str
    action: Action
    recipient: str | None = None
    sender: str | None = None
    subject: str | None = None
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    at_bytes: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "phase", Phase(self.phase))


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that decides the relay's behaviour; `seed` feeds the rules' probabilities."""

    settings: Settings = field(default_factory=Settings)
    rules: tuple[Rule, ...] = ()
    seed: int = 0
    processes: Mapping[str, int] = field(default_factory=dict)


def encode(value: object) -> Any:
    """Return what a script, or a part of one, says beyond its defaults, ready for `json.dumps`."""
    if isinstance(value, Script | Settings | Rule | Action | Drip):
        told = {each.name: getattr(value, each.name) for each in fields(value)}
        defaults = {each.name: each.default for each in fields(value)}
        return {name: encode(what) for name, what in told.items() if what != defaults[name]}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return None if value == math.inf else value


def decode(data: Mapping[str, Any]) -> Script:
    """Read a script. Raises TypeError for an unknown key, ValueError for an unknown word."""
    plain = dict(data)
    settings = Settings.decode(plain.pop("settings", {}))
    rules = tuple(decode_rule(rule) for rule in plain.pop("rules", ()))
    return Script(settings=settings, rules=rules, **plain)


def decode_rule(data: Mapping[str, Any]) -> Rule:
    """Read one rule. Raises TypeError for an unknown key, ValueError for an unknown word."""
    plain = dict(data)
    return Rule(action=_decode_action(plain.pop("action")), **plain)


def _decode_action(data: Mapping[str, Any]) -> Action:
    plain = dict(data)
    if "close_after" in plain:
        plain["reply"], plain["drop"] = plain.pop("close_after"), True
    if "hang" in plain and plain["hang"] is None:
        plain["hang"] = math.inf
    if isinstance(plain.get("drip"), Mapping):
        plain["drip"] = Drip(**plain["drip"])
    reply = plain.pop("reply", ())
    return Action(reply=(reply,) if isinstance(reply, str) else tuple(reply), **plain)


def loads(text: str) -> Script:
    """Read a script from JSON text. Raises ValueError or TypeError where it makes no sense."""
    return decode(json.loads(text))
