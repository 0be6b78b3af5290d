"""Ids and other random names: UUIDs of version 7 (RFC 9562 §5.7), in the order in which a process makes them.

The operating system is asked for randomness seldom and for much of it, because each question lets the other threads
go first.
"""

import os
import time
from collections import deque
from uuid import UUID

from api.core.driver import uuid_from

#: Octets asked for at once, and of each piece that is handed out.
_SUPPLY, _PIECE = 4096, 8
_VERSION, _VARIANT = 7 << 76, 0b10 << 62
_RANDOM = (1 << 62) - 1

#: Whoever takes a piece off it has it alone.
_pieces: deque[bytes] = deque()
_last = 0

# A child would hand out what its parent does.
os.register_at_fork(after_in_child=_pieces.clear)


def new() -> UUID:
    """Return a new id: milliseconds, then their fraction in 12 bits (RFC 9562 §6.2, method 3), then 62 random bits."""
    global _last
    tick = _last = max((time.time_ns() << 12) // 1_000_000, _last + 1)
    random = int.from_bytes(_piece()) & _RANDOM
    return uuid_from((tick >> 12) << 80 | _VERSION | (tick & 0xFFF) << 64 | _VARIANT | random)


def token() -> str:
    """Return 32 random hexadecimal digits."""
    return (_piece() + _piece()).hex()


def _piece() -> bytes:
    try:
        return _pieces.popleft()
    except IndexError:
        supply = os.urandom(_SUPPLY)
        _pieces.extend([supply[at : at + _PIECE] for at in range(_PIECE, _SUPPLY, _PIECE)])
        return supply[:_PIECE]
