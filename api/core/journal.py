"""The journal of one dispatcher: what its senders know and the table does not yet.

A line each, by one `write` before a sender's next final dot: it survives the process, not the machine, which is all
that results need (losing one only means a second copy). Two kinds of line:

    {"begun": [delivery, token]}              the delivery was let into DATA
    {"settled": [delivery, token, …]}         an attempt came to this

Replayed by whoever finds the dispatcher dead on this machine; the tokens fence what is out of date.
"""

import contextlib
import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from api.core.claim import Blame, Hold, Reply, Result, Settlement
from api.core.driver import text_of
from api.core.errors import Unavailable
from schemas.vocabulary import Outcome, Phase

#: Octets after which what is settled in the table is left out of a new file.
COMPACT_SIZE = 1024 * 1024
#: The file that tells one folder of journals from another.
IDENTITY = "journals.id"

#: What `json.dumps` does with a text, without what it asks before that.
_quoted = json.encoder.encode_basestring_ascii


@dataclass(frozen=True, slots=True)
class Replay:
    """What a dead dispatcher left: results to be stored, and deliveries that it had let into DATA."""

    settlements: tuple[Settlement, ...]
    begun: tuple[Hold, ...]


#: There is no journal: its owner never got so far as to claim anything, or it lies elsewhere.
NONE = Replay((), ())


class Journal:
    """One file, written by all senders of a dispatcher; thread-safe. Locked as long as its process lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._begun: dict[int, bytes] = {}
        self._unsettled: dict[int, bytes] = {}
        #: Known to the table before the line was written, which is on its way.
        self._early: set[int] = set()
        self._size = 0
        self._file = _open(path)

    def write(self, settled: Settlement | None, begun: Hold | None) -> None:
        """Note that one attempt is over and that another enters DATA. Raises Unavailable if it cannot be written."""
        # Out of the lock: what others wait for is short.
        lines = end = b"" if settled is None else _settled(settled)
        if begun is not None:
            start = f'{{"begun": ["{begun.delivery_id.hex}", "{begun.token.hex}"]}}\n'.encode()
            lines = end + start
        with self._lock:
            if settled is not None:
                self._note(settled.hold.delivery_id.int, end)
            try:
                _append(self._file, lines)
            except OSError as error:
                raise Unavailable("The dispatcher's journal cannot be written.") from error
            self._size += len(lines)
            if begun is not None:
                self._begun[begun.delivery_id.int] = start

    def forget(self, deliveries: Iterable[UUID]) -> None:
        """Leave out of the next file what the table knows now."""
        with self._lock:
            for delivery in deliveries:
                if self._unsettled.pop(delivery.int, None) is None:
                    self._early.add(delivery.int)
            if self._size > COMPACT_SIZE:
                self._compact()

    def _note(self, delivery: int, line: bytes) -> None:
        self._begun.pop(delivery, None)
        if delivery in self._early:
            self._early.discard(delivery)
        else:
            self._unsettled[delivery] = line

    def close(self) -> None:
        """Remove the file, unless it holds what the table does not."""
        with self._lock:
            os.close(self._file)
            if not self._unsettled and not self._begun:
                self._path.unlink(missing_ok=True)

    def _compact(self) -> None:
        """Write what still counts to a new file and put it in the old one's place, in one step."""
        name = self._path.with_name(self._path.name + ".new")
        content = b"".join([*self._unsettled.values(), *self._begun.values()])
        with contextlib.suppress(OSError, Unavailable):  # a full disk: the long file goes on being true
            name.unlink(missing_ok=True)
            fresh = _open(name)
            try:
                _append(fresh, content)
                name.rename(self._path)
            except OSError:
                os.close(fresh)
                name.unlink(missing_ok=True)
                raise
            os.close(self._file)
            self._file = fresh
            self._size = len(content)


def identity(folder: Path) -> str:
    """Return a name for a folder of journals, the same wherever it is mounted. Raises Unavailable.

    It is made at the first call: of those who come at once one wins, and nobody reads half of it.
    """
    path = folder / IDENTITY
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = folder / f"{IDENTITY}.{uuid4().hex}"
            made.write_text(uuid4().hex)
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(made)
            made.unlink()
        return path.read_text()
    except OSError as error:
        raise Unavailable(f"The folder {folder}, for journals, cannot be written.") from error


@contextlib.contextmanager
def left_behind(path: Path) -> Iterator[Replay | None]:
    """Read the journal of a dead dispatcher, and remove it once that was made use of; None while its process lives."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield NONE
        return
    except OSError:  # it may hold anything
        yield None
        return
    try:
        if not _is_abandoned(file, path):
            yield None
            return
        yield read(path)
        path.unlink(missing_ok=True)
    finally:
        os.close(file)


def _is_abandoned(file: int, path: Path) -> bool:
    """Tell whether nobody writes to a journal, and lock it then.

    Between the opening and the locking its owner may have put a new file in this one's place, and so let go of it: who
    does that is alive.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(file).st_ino
    except OSError:  # locked, or gone: used up by somebody else a moment ago
        return False


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Unavailable(f"The journal {path} cannot be opened.") from error
    return file


def _append(file: int, content: bytes) -> None:
    """Write all of it or, as a disk that fills up takes a part, nothing: that part would spoil the next line."""
    written = os.write(file, content)
    if written < len(content):
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(path: Path) -> Replay:
    """Return what a journal holds; a last line that was cut short counts as never written. No file: nothing."""
    settlements: list[Settlement] = []
    begun: dict[UUID, Hold] = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "begun" in entry:
            delivery, token = (UUID(hex=text) for text in entry["begun"])
            begun[delivery] = Hold(delivery, token, attempt=0, transport="")
        else:
            settlement = _read_settled(entry["settled"])
            begun.pop(settlement.hold.delivery_id, None)
            settlements.append(settlement)
    return Replay(tuple(settlements), tuple(begun.values()))


def _settled(settlement: Settlement) -> bytes:
    hold, result, reply = settlement.hold, settlement.result, settlement.result.reply
    # Only the texts can hold anything; the rest is digits and words, and this line is written for every mail.
    code = "null" if reply.code is None else reply.code
    enhanced = "null" if reply.enhanced_code is None else _quoted(reply.enhanced_code)
    return (
        f'{{"settled": ["{hold.delivery_id.hex}", "{hold.token.hex}", {hold.attempt}, '
        f'"{text_of(settlement.at)}+00:00", '
        f"{_words(result.outcome, result.blame, result.phase)}, {result.duration_ms}, "
        f"{_quoted(hold.transport)}, {code}, {enhanced}, {_quoted(reply.text)}]}}\n"
    ).encode()


@lru_cache(maxsize=256)
def _words(*words: str) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _read_settled(fields: list[Any]) -> Settlement:
    delivery, token, attempt, at, outcome, blame, phase, duration, transport, code, enhanced, text = fields
    return Settlement(
        hold=Hold(UUID(hex=delivery), UUID(hex=token), int(attempt), transport),
        result=Result(
            Outcome(outcome),
            Blame(blame),
            Phase(phase),
            Reply(None if code is None else int(code), enhanced, text),
            int(duration),
        ),
        at=datetime.fromisoformat(at),
    )
