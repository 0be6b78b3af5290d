"""Turn-taking: cuts the input into commands and content, and at each step lets a rule take over from the normal way."""

import asyncio
import re
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from tests.relay import content
from tests.relay.faults import Turn, nothing, perform
from tests.relay.manners import Manners
from tests.relay.rulebook import Facts
from tests.relay.script import Phase, encode
from tests.relay.station import Station
from tests.relay.wire import Wire

Result = TypeVar("Result")
_ENHANCED = re.compile(r"^(\d{3}[ -])[245]\.\d{1,3}\.\d{1,3} ")
#: A line that grows beyond this without an end is no line.
_ENDLESS_LINE = 100_000


class Turns(Wire):
    """A connection on which client and relay take turns; what a command means is the subclass's."""

    def __init__(self, station: Station) -> None:
        super().__init__()
        self.station = station
        self.number = station.enter(self)
        self.manners = Manners(self.breach)
        #: PIPELINING was offered, and the client has said EHLO.
        self.pipelining = False
        #: Content is coming in.
        self.receiving = False
        #: The content was answered before its end: it is neither kept nor answered again.
        self.swallowing = False
        self._disturbed = False
        self._considered: set[int] = set()
        self._scanned = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle: asyncio.TimerHandle | None = None

    @property
    def latency(self) -> float:
        return self.station.settings.latency_ms / 1000

    @abstractmethod
    def facts(self) -> Facts:
        """Return what is known of the transaction."""

    @abstractmethod
    def command(self, line: str) -> None:
        """Answer one command line."""

    @abstractmethod
    def complete(self, raw: bytes) -> None:
        """Answer the final dot of this content."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self.gone.is_set():
            return
        super().connection_lost(exc)
        for task in self._tasks:
            task.cancel()
        if self._idle is not None:
            self._idle.cancel()
        self.station.leave(self)
        self.station.journal.note("close", self.number, unread=len(self.buffer))
        self.station.journal.flush()

    def received(self, data: bytes) -> None:
        self.station.activity += 1
        # Who gives up waiting may say QUIT; and content may go on coming while a rule is busy with it.
        answering = self.owes or (bool(self._tasks) and not self.receiving)
        if answering and self.sealed == self.secured and data[:4].upper() != b"QUIT":
            self.manners.ahead(pipelining=self.pipelining)
        self.buffer += data
        self.await_word()
        self.work()

    def work(self) -> None:
        """Take what has come in, as far as it goes, and send the replies together."""
        while self.buffer and not self._tasks and not self.closing and self.sealed == self.secured:
            if not (self._take_content() if self.receiving else self._take_line()):
                break
        self.flush()
        self.station.journal.flush()

    def step(
        self,
        phase: Phase,
        *reply: str,
        accept: Callable[[], None] = nothing,
        then: Callable[[], None] = nothing,
        instead: Callable[[], None] | None = None,
        facts: Facts | None = None,
    ) -> None:
        """Take the relay's turn: by a rule if one holds, else `accept`, `reply` and `then`, or `instead`."""
        turn = Turn(phase, self._plain(reply), self.say, self._kill, accept, then, instead)
        if not self._disturb(turn, facts) and turn.proceed() and not self.closing:
            then()

    def say(self, lines: tuple[str, ...]) -> None:
        """Put reply lines on their way, and log them."""
        if lines[0].startswith("421"):
            self.manners.parting = True
        text = "\r\n".join(lines)
        if self.station.journal.full:
            self.station.journal.note("reply", self.number, text=text)
        self.put(text.encode("utf-8", "surrogateescape") + b"\r\n")

    def answer(self, *lines: str) -> None:
        """Give a reply that no rule can change."""
        self.say(self._plain(lines))

    def breach(self, kind: str, detail: str) -> None:
        """Log what the client did wrong."""
        self.station.journal.note("violation", self.number, kind=kind, detail=detail)

    def receive(self) -> None:
        """Take what comes for content, up to the final dot."""
        self.receiving, self.swallowing, self._disturbed, self._scanned = True, False, False, 0
        self._considered = set()

    def await_word(self) -> None:
        """Start waiting anew for the client's next word, where the settings bound that."""
        if self._idle is not None:
            self._idle.cancel()
        if (seconds := self.station.settings.idle_timeout) is not None:
            self._idle = asyncio.get_running_loop().call_later(seconds, self._bore)

    def background(self, work: Coroutine[None, None, Result], done: Callable[[Result], None]) -> None:
        """Take no command until `work` is done and `done` has its result."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._performed, done))

    def _performed(self, done: Callable[[Result], None], task: asyncio.Task[Result]) -> None:
        self._tasks.discard(task)
        self.station.activity += 1
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self.station.fail(error)
            return
        done(task.result())
        self.work()

    def _disturb(self, turn: Turn, facts: Facts | None) -> bool:
        if not self.station.rulebook.knows(turn.phase):
            return False
        action = self.station.rulebook.choose(
            turn.phase, facts or self.facts(), self._considered if turn.phase is Phase.BODY else set()
        )
        if action is None:
            return False
        self.station.journal.note("fault", self.number, phase=turn.phase, action=encode(action))
        self.background(perform(action, turn, self), partial(self._answered, turn.phase))
        return True

    def _answered(self, phase: Phase, differently: bool) -> None:
        if phase is Phase.BODY:
            self.swallowing = differently

    def _take_line(self) -> bool:
        end = self.buffer.find(b"\n")
        if end < 0:
            if len(self.buffer) > _ENDLESS_LINE:
                self.breach("long_command", "without an end")
                self.buffer.clear()
                self.answer("500 5.5.2 that line has no end")
            return False
        whole = end > 0 and self.buffer[end - 1] == 0x0D
        line = bytes(self.buffer[: end - whole])
        del self.buffer[: end + 1]
        self.manners.line(line, whole=whole, pending=bool(self.buffer), pipelining=self.pipelining)
        self.command(line.decode("utf-8", "backslashreplace"))
        return True

    def _take_content(self) -> bool:
        if not self._disturbed and self.station.rulebook.knows(Phase.BODY):
            waiting = len(self._tasks)
            self.step(Phase.BODY, "250 2.0.0 never said", instead=nothing)
            self._disturbed = len(self._tasks) > waiting
            if self._disturbed:
                return True
        end = content.find_end(self.buffer, self._scanned, loose=self.station.settings.loose_dot)
        if end is None:
            self._scanned = max(0, len(self.buffer) - 4)
            return False
        raw = bytes(self.buffer[: end[0]])
        del self.buffer[: end[1]]
        self.receiving = False
        self.manners.end_of_content(pending=bool(self.buffer), pipelining=self.pipelining)
        if not self.swallowing:
            self.complete(raw)
        return True

    def _kill(self, target: int | str) -> None:
        self.station.kill(target, self, self.number)

    def _bore(self) -> None:
        if not self._tasks and not self.closing:
            self.answer("421 4.4.2 you said nothing for too long")
            self.close()
            self.station.journal.flush()

    def _plain(self, lines: tuple[str, ...]) -> tuple[str, ...]:
        if self.station.settings.enhanced_codes:
            return lines
        return tuple(_ENHANCED.sub(r"\1", line) for line in lines)
