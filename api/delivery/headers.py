"""Header fields as they go on the wire: ASCII, folded, and with nothing in them that could end a line.

A field is returned as whole lines, each ended by CRLF. Lines stay within 76 octets where a fold is allowed
(RFC 5322 2.1.1 recommends 78, RFC 2047 2 demands 76 around encoded words) and never pass 998.
A "piece" is text that may not be broken, with the space before it: folding puts a CRLF before a piece.
"""

import re
from binascii import b2a_base64
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from api.core.claim import Address

#: RFC 5322 2.1.1, without the CRLF.
LINE_LIMIT = 998
_LINE_AIM = 76
_WORD_LIMIT = 75
#: RFC 5321 4.5.3.1.3, without the angle brackets.
_ADDRESS_LIMIT = 254
#: Leaves room for `Reply-To: ` on the first line; a name longer than this is cut into encoded words.
_NAME_LIMIT = 64

#: Controls (C0, DEL, C1 with NEL), the Unicode line ends, and lone surrogates, which UTF-8 cannot hold.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PIECE = re.compile(" *[^ ]+")
_FIELD_NAME = re.compile(r"[!-9;-~]+")
_OWNED_NAME = re.compile(
    r"(?:from|to|cc|bcc|date|message-id|subject|reply-to|sender|mime-version|return-path|received|received-spf"
    r"|delivered-to|envelope-to|apparently-to|errors-to|dkim-signature|domainkey-signature|authentication-results"
    r"|(?:content|resent|arc)-.*)",
    re.IGNORECASE,
)
_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]"
_DOT_ATOM = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_ADDR_SPEC = re.compile(rf"{_DOT_ATOM}@{_DOT_ATOM}")
_IDENTIFIER = re.compile(rf"<[.@{_ATEXT[1:]}+>")
_PHRASE = re.compile(rf"{_ATEXT}+(?: {_ATEXT}+)*")

#: RFC 2047 5 (3): what may stand for itself in every place, a display name included.
_Q_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = ["_" if byte == 0x20 else chr(byte) if byte in _Q_LITERAL else f"={byte:02X}" for byte in range(256)]
_Q_CHARACTER = re.compile(r"=[C-F].(?:=[89AB].)+|=[2-7].|[^=]")

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class UnsendableMessage(ValueError):
    """The message cannot be put on the wire safely, now or ever; the text names the part, never its content."""


def check(what: str, value: str) -> str:
    """Return `value`, fit for a header. Raises UnsendableMessage for controls, line ends and lone surrogates."""
    # For ASCII, printable is exactly U+0020 to U+007E.
    if not (value.isascii() and value.isprintable()):
        unsafe = _UNSAFE.search(value)
        if unsafe:
            raise UnsendableMessage(f"The {what} holds U+{ord(unsafe[0]):04X}, which no header may hold.")
    return value


def fold(name: str, pieces: Sequence[str]) -> str:
    """Return the field `name` with its pieces, folded before a piece where a line would pass 76 octets.

    The first piece stays beside the name: some parsers take a field with an empty first line for an empty one.
    Raises UnsendableMessage for a line over 998 octets.
    """
    line = f"{name}:{''.join(pieces)}"
    if len(line) <= _LINE_AIM:
        return line + "\r\n"
    line = f"{name}:{''.join(pieces[:1])}"
    lines = []
    for piece in pieces[1:]:
        if len(line) + len(piece) > _LINE_AIM:
            lines.append(line)
            line = piece
        else:
            line += piece
    lines.append(line)
    if max(map(len, lines)) > LINE_LIMIT:
        raise UnsendableMessage(f"The header {name} holds a word too long for a line.")
    return "\r\n".join(lines) + "\r\n"


def encoded_words(value: str, room: int) -> list[str]:
    """Return `value` as RFC 2047 encoded words, each a piece; the first takes `room` octets at most, the others 75.

    All are B or all are Q, whichever is shorter. No word splits a character, and no text stands between two words:
    the space there is not part of the value (RFC 2047 6.2).
    """
    data = value.encode()
    quoted = "".join([_Q[byte] for byte in data])
    # Below this a word might not hold one character; a field name that long is beyond what the RFC thought of.
    room = max(room, 24)
    if (len(data) + 2) // 3 * 4 < len(quoted):
        return [f" =?utf-8?b?{b2a_base64(run, newline=False).decode()}?=" for run in _byte_runs(data, room)]
    return [f" =?utf-8?q?{run}?=" for run in escaped_runs(quoted, _Q_CHARACTER, room - 12, _WORD_LIMIT - 12)]


def _byte_runs(data: bytes, room: int) -> list[bytes]:
    """Cut UTF-8 before whole characters, so that each run's base64 fits into its encoded word."""
    runs = []
    start = 0
    while start < len(data):
        end = start + (room - 12) // 4 * 3
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        runs.append(data[start:end])
        start, room = end, _WORD_LIMIT
    return runs


def escaped_runs(escaped: str, character: re.Pattern[str], first: int, others: int) -> list[str]:
    """Cut escaped UTF-8 between matches of `character`: the first run within `first` octets, the rest `others`."""
    if len(escaped) <= first:
        return [escaped]
    runs = [""]
    for match in character.findall(escaped):
        if len(runs[-1]) + len(match) > (others if len(runs) > 1 else first):
            runs.append("")
        runs[-1] += match
    return runs


def subject(value: str) -> str:
    """Return the Subject field; a parser that decodes RFC 2047 gets exactly `value` back. Raises UnsendableMessage."""
    check("subject", value)
    # What reads like an encoded word already, or ends in spaces, would not arrive as it is.
    if value.isascii() and "=?" not in value and value == value.strip(" "):
        if len(value) <= _LINE_AIM - 9:
            return f"Subject: {value}\r\n" if value else "Subject:\r\n"
        pieces = _PIECE.findall(" " + value)
        if max(map(len, pieces)) <= LINE_LIMIT - 9:
            return fold("Subject", pieces)
    return fold("Subject", encoded_words(value, _LINE_AIM - 9))


def custom(name: str, value: str) -> str:
    """Return a field that the caller asked for. Spaces around the value go, as no parser keeps them.

    ASCII is never turned into encoded words, which would break List-Unsubscribe (RFC 8058); other values are.
    Raises UnsendableMessage for a name that is no field name or is written by us or a relay, and for an unsafe value.
    """
    if not _FIELD_NAME.fullmatch(name) or _OWNED_NAME.fullmatch(name):
        raise UnsendableMessage(f"The header name {name!a} is not one that may be set.")
    value = check(f"header {name}", value).strip(" ")
    if value.isascii():
        return fold(name, _PIECE.findall(" " + value))
    return fold(name, encoded_words(value, _LINE_AIM - len(name) - 2))


def addresses(name: str, mailboxes: Sequence[Address]) -> str:
    """Return the address list field `name` (RFC 5322 3.4). Raises UnsendableMessage for a bad address or name."""
    pieces: list[str] = []
    for mailbox in mailboxes:
        if pieces:
            pieces[-1] += ","
        pieces += _mailbox(mailbox.email, mailbox.name)
    return fold(name, pieces)


@lru_cache(maxsize=512)
def _mailbox(email: str, name: str | None) -> tuple[str, ...]:
    """Return one mailbox: its addr-spec as it stands, after a display name that cannot touch it."""
    if len(email) > _ADDRESS_LIMIT or not _ADDR_SPEC.fullmatch(email):
        raise UnsendableMessage("An address is not a plain ASCII addr-spec.")
    if not name:
        return (" " + email,)
    check("display name", name)
    address = f" <{email}>"
    # Parsers decode encoded words even inside of quotes, so text that reads like one is encoded itself.
    if not name.isascii() or "=?" in name or len(name) > _NAME_LIMIT - 4:
        return (*encoded_words(name, _NAME_LIMIT), address)
    if _PHRASE.fullmatch(name):
        return (" " + name, address)
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return (f' "{quoted}"', address)


@lru_cache(maxsize=64)
def sender(mailbox: Address) -> str:
    """Return the From field, which is the same for many messages. Raises UnsendableMessage."""
    return addresses("From", (mailbox,))


def identifier(name: str, value: str) -> str:
    """Return a Message-ID or Content-ID field of a `value` in angle brackets. Raises UnsendableMessage.

    Looser than RFC 5322 3.6.4, which wants one `@`: a Content-ID must equal what the HTML says after `cid:`.
    """
    if not _IDENTIFIER.fullmatch(value):
        raise UnsendableMessage(f"The {name} is not an identifier in angle brackets.")
    return fold(name, [" " + value])


def date(value: datetime) -> str:
    """Return the Date field in UTC (RFC 5322 3.3). Raises UnsendableMessage for a naive time or one out of range."""
    if value.utcoffset() is None:
        raise UnsendableMessage("The date has no time zone.")
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        raise UnsendableMessage("The date is out of range.") from None
    return _date(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second)


@lru_cache(maxsize=64)
def _date(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    weekday = _DAYS[datetime(year, month, day, tzinfo=UTC).weekday()]
    # strftime would ask the process's locale for the names.
    return f"Date: {weekday}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} +0000\r\n"
