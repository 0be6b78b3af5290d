"""Misbehaviour: carries an action out on a connection, in place of the normal reply of a turn or after it."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.relay.script import Action, Drip, Garbage, Phase
from tests.relay.wire import Wire

_ENDLESS = b"250-and there is more to say\r\n" * 100
_BINARY = bytes(octet for octet in range(256) if octet not in b"\r\n") + b"\r\n"


def nothing() -> None:
    """Do nothing, where a step has nothing to do."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A moment at which it is the relay's turn, as it would go without a fault."""

    phase: Phase
    #: The normal reply, one item a line.
    reply: tuple[str, ...]
    #: Writes and logs reply lines.
    say: Callable[[tuple[str, ...]], None]
    #: Sends SIGKILL to an id or a name.
    kill: Callable[[int | str], None]
    #: What a positive reply makes true.
    accept: Callable[[], None] = nothing
    #: What follows a positive reply once it is written.
    then: Callable[[], None] = nothing
    #: The normal way on, where that is more than to accept and reply.
    instead: Callable[[], None] | None = None

    def proceed(self) -> bool:
        """Go the normal way, up to the written reply; tell whether that is positive."""
        if self.instead is None:
            return self.answer(self.reply)
        self.instead()
        return True

    def answer(self, lines: tuple[str, ...]) -> bool:
        """Give this reply, accepting first if it is positive; tell whether it was."""
        if positive := self.welcomes(lines):
            self.accept()
        self.say(lines)
        return positive

    def welcomes(self, lines: tuple[str, ...]) -> bool:
        """Tell whether a reply is as good as a positive normal one: a 354 to the final dot takes no message."""
        return lines[0][:1] == self.reply[0][:1] and lines[0].startswith(("2", "3"))


async def perform(action: Action, turn: Turn, wire: Wire) -> bool:
    """Carry `action` out; return whether something else than the normal reply was written."""
    positive = action.after_reply and turn.proceed()
    wire.flush()
    await asyncio.sleep(action.delay)
    if action.kill is not None:
        turn.kill(action.kill)
    if action.hang is not None:
        await _hang(action.hang, turn, wire)
        return False
    answer = await _answer(action, turn, wire)
    if answer is not None:
        positive = answer
    _end(action, turn, wire, answered=answer is not None)
    if answer is None and not action.after_reply and not wire.closing:
        positive = turn.proceed()
    if positive and not wire.closing:
        turn.then()
    return answer is not None


def _end(action: Action, turn: Turn, wire: Wire, *, answered: bool) -> None:
    if action.rst:
        wire.reset()
    elif action.drop and not answered:
        wire.drop()
    elif action.drop or (answered and turn.phase is Phase.HANDSHAKE):  # in plain words no handshake goes on
        wire.close()


async def _hang(seconds: float, turn: Turn, wire: Wire) -> None:
    if turn.phase is Phase.BODY:
        await wire.stop_reading(seconds)
    else:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wire.gone.wait(), None if seconds == math.inf else seconds)
    wire.drop()


async def _answer(action: Action, turn: Turn, wire: Wire) -> bool | None:
    """Write what the action puts in the reply's place: None when that is nothing, else whether it was positive."""
    if action.reply:
        return turn.answer(action.reply)
    if action.drip is not None:
        return await _drip(action.drip, turn, wire)
    if action.garbage is not None:
        await _litter(action.garbage, action.size, turn, wire)
        return False
    return None


async def _drip(drip: Drip, turn: Turn, wire: Wire) -> bool:
    lines = (drip.reply,) if drip.reply else turn.reply
    if positive := turn.welcomes(lines):
        turn.accept()
    data = "\r\n".join(lines).encode()
    for octet in data + b"\r\n" if drip.finish else data:
        await _trickle(bytes([octet]), drip.interval, wire)
    while not drip.finish:
        await _trickle(b".", drip.interval, wire)
    return positive


async def _trickle(data: bytes, interval: float, wire: Wire) -> None:
    wire.put(data)
    await wire.drain()
    await asyncio.sleep(interval)


async def _litter(kind: Garbage, size: int, turn: Turn, wire: Wire) -> None:
    match kind:
        case "text":
            wire.put(b"this is no reply\r\n")
        case "binary":
            wire.put(_BINARY)
        case "empty":
            wire.put(b"\r\n")
        case "wrong_code":
            turn.say(("250 2.0.0 as you like",) if turn.reply[0].startswith("3") else ("354 go on",))
        case "huge_line":
            wire.put(b"250 ".ljust(size, b"x"))
            await wire.drain()
            await wire.gone.wait()
        case "endless_lines":
            while not wire.gone.is_set():
                # A pause between the bursts leaves the processor to those under test.
                await _trickle(_ENDLESS, 0.001, wire)
