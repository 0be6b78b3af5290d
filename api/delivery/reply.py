"""Replies of the relay, cut out of the byte stream and made fit to be stored (RFC 5321 section 4.2)."""

import re
from functools import lru_cache

from api.core.claim import Reply

#: Octets of one line; sixteen times what RFC 5321 section 4.5.3.1.5 allows, for relays that explain at length.
MAX_LINE = 8192
#: Lines and octets of one reply: a relay that sends more is not answering.
MAX_LINES = 200
MAX_REPLY = 64 * 1024
#: Characters of a reply's text that are kept.
MAX_TEXT = 1000

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
#: MAIL, RCPT and DATA accepted, in a line each.
_ALL_ACCEPTED = re.compile(rb"2[0-9]{2}(?: [^\n]{0,998})?\n2[0-9]{2}(?: [^\n]{0,998})?\n(354(?: [^\n]{0,998})?)\n")
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$)")


class Garbled(ValueError):
    """What the relay sent is not a reply; the text says why."""


class Replies:
    """The bytes that have come from the relay and have not been taken as replies yet."""

    def __init__(self) -> None:
        self._buffer = b""
        #: Where what was not taken yet begins.
        self._start = 0
        self._lines: list[bytes] = []
        self._code: int | None = None
        self._size = 0

    def __bool__(self) -> bool:
        """Tell whether anything is waiting, be it a part of a reply."""
        return self._start < len(self._buffer) or bool(self._lines)

    def closing(self) -> bool:
        """Tell whether a 421 is waiting, which a relay may send unasked before it hangs up (RFC 5321 section 3.8)."""
        return not self._lines and self._buffer.startswith(b"421", self._start)

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._buffer = self._buffer[self._start :] + data
        self._start = 0

    def take(self) -> tuple[int, tuple[bytes, ...]] | None:
        """Return the next complete reply as its code and the text of its lines, or None while some is missing.

        Raises Garbled as soon as it is clear that no reply comes of it.
        """
        while True:
            end = self._buffer.find(b"\n", self._start)
            if end < 0:
                self._refuse_hopeless()
                return None
            line = self._buffer[self._start : end].removesuffix(b"\r")
            self._start = end + 1
            if not self._lines and (whole := _whole(line)) is not None:
                return whole
            code = self._add(line)
            if code is not None:
                lines = tuple(self._lines)
                self._code, self._lines, self._size = None, [], 0
                return code, lines

    def take_accepted(self) -> tuple[int, tuple[bytes, ...]] | None:
        """Take the replies that accept MAIL, RCPT and DATA, if all three are there, and return the last; else none."""
        found = None if self._lines else _ALL_ACCEPTED.match(self._buffer, self._start)
        if found is None:
            return None
        self._start = found.end()
        return _whole(found[1].removesuffix(b"\r"))

    def _add(self, line: bytes) -> int | None:
        """Add one line to the reply, and return its code if it was the last."""
        self._size += len(line) + 2
        if len(line) > MAX_LINE or self._size > MAX_REPLY or len(self._lines) >= MAX_LINES:
            raise Garbled("the relay's reply has no end")
        match = _LINE.fullmatch(line)
        if match is None:
            raise Garbled(f"the relay's answer is no SMTP reply: {_printable(line)[:80]}")
        code = int(match[1])
        if self._code not in (None, code):
            raise Garbled(f"the relay's reply holds two codes, {self._code} and {code}")
        self._code = code
        self._lines.append(match[3] or b"")
        return None if match[2] == b"-" else code

    def _refuse_hopeless(self) -> None:
        rest = self._buffer[self._start :]
        if len(rest) > MAX_LINE:
            raise Garbled("the relay's reply has no end")
        if rest and not re.fullmatch(rb"[2-5]?[0-9]{0,2}", rest[:3]):
            raise Garbled(f"the relay's answer is no SMTP reply: {_printable(rest)[:80]}")


@lru_cache(maxsize=256)
def _whole(line: bytes) -> tuple[int, tuple[bytes, ...]] | None:
    """Return the reply that this line is by itself, or None where it is none or only a part."""
    match = _LINE.fullmatch(line)
    if match is None or match[2] == b"-" or len(line) > MAX_LINE:
        return None
    return int(match[1]), (match[3] or b"",)


@lru_cache(maxsize=256)  # of the four replies that a mail takes, three are always the same
def readable(code: int, lines: tuple[bytes, ...]) -> Reply:
    """Return the reply with its enhanced code (RFC 3463) set apart from its text.

    An enhanced code of another class than the basic code breaks RFC 2034 section 4, and stays mere text.
    """
    enhanced: str | None = None
    texts = []
    for line in lines:
        text = _printable(line).strip()
        match = _ENHANCED.match(text)
        if match and match[0][0] == str(code)[0]:
            enhanced = enhanced or match[0]
            text = text[match.end() :].lstrip()
        texts.append(text)
    return Reply(code, enhanced, one_line(" ".join(text for text in texts if text)))


def one_line(text: str) -> str:
    """Return the text as it may be stored and shown: printable, on one line, of bounded length."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text[:MAX_TEXT]


def _printable(line: bytes) -> str:
    return one_line(line.replace(b"\t", b" ").decode("utf-8", "replace"))
