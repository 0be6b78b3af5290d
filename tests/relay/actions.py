"""The actions of a rule, by name: `Rule("rcpt", reply("450 4.2.0 greylisted"), recipient="bob@*", times=1)`."""

import math

from tests.relay.script import Action, Drip, Garbage


def reply(*lines: str) -> Action:
    """Answer with these lines (`450-4.2.0 try`, `450 4.2.0 later`); a positive code accepts, as the normal one does."""
    return Action(reply=lines)


def close_after(*lines: str) -> Action:
    """Answer with these lines, then close politely: what a real 421 does."""
    return Action(reply=lines, drop=True)


def drop(*, after_reply: bool = False) -> Action:
    """Close without a reply, or without a word of farewell after the normal one."""
    return Action(drop=True, after_reply=after_reply)


def reset(*, after_reply: bool = False) -> Action:
    """Close with a TCP reset, without a reply or after the normal one."""
    return Action(drop=True, rst=True, after_reply=after_reply)


def hang(seconds: float = math.inf, *, after_reply: bool = False) -> Action:
    """Say nothing for so many seconds, then drop; by default until the client leaves. In `body` nothing is read."""
    return Action(hang=seconds, after_reply=after_reply)


def delay(seconds: float) -> Action:
    """Behave, so many seconds later; a client that leaves meanwhile ends the turn, and nothing is accepted."""
    return Action(delay=seconds)


def drip(line: str | None = None, *, interval: float = 0.2, finish: bool = True) -> Action:
    """Send this line, or the normal reply, a byte at a time; unfinished, the line never ends."""
    return Action(drip=Drip(line, interval, finish))


def garbage(kind: Garbage, *, size: int = 1_000_000) -> Action:
    """Send nonsense; `huge_line` (of `size` octets) and `endless_lines` go on until the client leaves."""
    return Action(garbage=kind, size=size)


def kill(process: int | str = "peer", *, delay: float = 0.0, after_reply: bool = False) -> Action:
    """Send SIGKILL to a process id, a registered name or the connection's other end, then behave as if it lived."""
    return Action(kill=process, delay=delay, after_reply=after_reply)
