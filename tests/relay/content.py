"""The content of a message on the wire: where it ends, its dot-stuffing, and what a client got wrong in it."""

import hashlib
import re

#: Smuggling servers take any line end for the dot's; a lone CR only once it is known that no LF follows.
_LOOSE_END = re.compile(rb"(\r\n|\n|\r)\.(?:\r\n|\n|\r(?=[^\n]))")
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>\r\n]*>)", re.IGNORECASE | re.MULTILINE)
#: RFC 5321, 4.5.3.1.6: octets of a line without its CRLF.
LONGEST_LINE = 998


def find_end(buffer: bytearray, start: int, *, loose: bool) -> tuple[int, int] | None:
    """Return where the content ends and where the next command begins (RFC 5321, 4.1.1.4), or None before the dot."""
    if buffer.startswith(b".\r\n"):
        return 0, 3
    if loose:
        match = _LOOSE_END.search(buffer, start)
        return (match.end(1), match.end()) if match else None
    found = buffer.find(b"\r\n.\r\n", start)
    return None if found < 0 else (found + 2, found + 5)


def unstuff(content: bytes) -> bytes:
    """Take one leading dot off each line that has one (RFC 5321, 4.5.2)."""
    if content.startswith(b"."):
        content = content[1:]
    return content.replace(b"\r\n.", b"\r\n")


def flaws(content: bytes, *, eight_bit: bool) -> list[str]:
    """Name what RFC 5321 forbids a client to send, in content as it came over the wire."""
    pairs = content.count(b"\r\n")
    checks = {
        "bare_newline": content.count(b"\n") != pairs or content.count(b"\r") != pairs,
        "long_line": max(map(len, content.split(b"\r\n"))) > LONGEST_LINE,
        "nul": b"\0" in content,
        "eight_bit": not eight_bit and not content.isascii(),
    }
    return [name for name, wrong in checks.items() if wrong]


def message_id(content: bytes) -> str | None:
    """Return the Message-ID of the header with its angle brackets, or None."""
    match = _MESSAGE_ID.search(content.partition(b"\r\n\r\n")[0])
    return match[1].decode("latin-1") if match else None


def fingerprint(content: bytes) -> str:
    """Return the SHA-256 of the content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
