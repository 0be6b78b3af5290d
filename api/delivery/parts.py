"""The leaves of a message: a text or a file, with the transfer encoding that carries it safely (RFC 2045)."""

import re
from binascii import b2a_base64, b2a_qp
from functools import cache
from typing import NamedTuple
from urllib.parse import quote

from api.core.claim import Attachment
from api.delivery.headers import UnsendableMessage, check, escaped_runs, fold, identifier

#: Below RFC 5322's 998, so that a relay may add a little.
_LINE_LIMIT_7BIT = 990
_PLAIN_OCTETS = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F)])
_BEYOND_ASCII = bytes(range(0x80, 0x100))
#: As a number: of octets given as bytes, `in` first asks whether they are one, by an exception.
_CR = 0x0D
_ENCODED_LINE = 76
#: Octets by which the density of those beyond ASCII is judged.
_SAMPLE = 256

#: An mbox puts ">" before "From "; a lone dot ends the message for who forgets to look for stuffing. A pattern that
#: begins with one plain octet is found in half the time that `in` takes.
_TAKEN_LINE = re.compile(rb"\n(?:\.\r\n|From )")
_MBOX_LINE = re.compile(rb"^From ", re.MULTILINE)
#: Tells quickly whether anything is to be mended, but for the text's first line.
_MENDED = re.compile(rb"\n(?:From |(?<==20\n)|(?<==09\n))")
#: b2a_qp turns a space before a line end into =20 without counting the two octets more; at the text's end it counts.
_OVERLONG_SPACE = re.compile(rb"^(.{74,75})(=20|=09)$", re.MULTILINE)
_LAST_TOKEN = re.compile(rb"(=..|.)\Z")

_ATTRIBUTE = r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]+"
_CONTENT_TYPE = re.compile(rf'{_ATTRIBUTE}/{_ATTRIBUTE}(?: *; *{_ATTRIBUTE}=(?:{_ATTRIBUTE}|"[ !#-\[\]-~]*"))*')
_COMPOSITE_TYPE = re.compile(r"(?:message|multipart)/", re.IGNORECASE)
_PLAIN_FILENAME = re.compile(r"(?! )[A-Za-z0-9 !#$&()+,\-.=@_]{0,55}(?<! )")
_PERCENT_CHARACTER = re.compile(r"%[C-F].(?:%[89AB].)+|%[2-7].|[^%]")


class Part(NamedTuple):
    """An entity (RFC 2045 2.4): its `Content-*` lines, each ended by CRLF, and its encoded body.

    The body ends as the content does, with no line end of its own: inside a multipart the CRLF before a
    delimiter belongs to the delimiter.
    """

    head: bytes
    body: bytes
    encoding: str


def text(subtype: str, content: str | bytes) -> Part:
    """Return `content`, octets being UTF-8, as `text/<subtype>`, its line ends (CRLF, CR, LF) made CRLF.

    7bit where every octet and line may stand as it is, else quoted-printable or base64 by the shorter.
    Raises UnsendableMessage for lone surrogates.
    """
    data = content if isinstance(content, bytes) else _octets(subtype, content)
    lines, canonical = _line_ends(data)
    if data.isascii() and _stands_as_it_is(canonical):
        encoding, body = "7bit", canonical
    else:
        encoding, body = _encode(lines, canonical)
    return Part(_text_head(subtype, encoding), body, encoding)


def _octets(subtype: str, content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise UnsendableMessage(f"The text/{subtype} body holds a lone surrogate.") from None


def _line_ends(data: bytes) -> tuple[bytes, bytes]:
    """Return the text with LF, and with CRLF, for each of its line ends (CRLF, CR, LF)."""
    lines = data.replace(b"\r", b"")
    canonical = to_crlf(lines)
    if _CR not in data or canonical == data:
        return lines, canonical
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines, to_crlf(lines)


def to_crlf(lines: bytes) -> bytes:
    """Return LF-ended text with CRLF. Raises UnsendableMessage for a CR, which would be a bare one or stand twice."""
    if _CR in lines:
        raise UnsendableMessage("A text holds a bare CR.")
    # Of one octet alone, replacing takes a tenth of what searching for two takes.
    return lines.replace(b"\n", b"\r\n")


def checked(head: bytes) -> bytes:
    """Return header lines in which every CR and LF is a part of a CRLF. Raises UnsendableMessage for others.

    Servers read a bare one in different ways (RFC 5321 2.3.8), and behind it might stand another command.
    """
    if to_crlf(head.replace(b"\r", b"")) != head:
        raise UnsendableMessage("A header holds a bare CR or LF.")
    return head


@cache
def _text_head(subtype: str, encoding: str) -> bytes:
    """Return the header lines of a text; there are six of them in all."""
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n'
    return head.encode("ascii")


def _encode(lines: bytes, canonical: bytes) -> tuple[str, bytes]:
    """Return the shorter encoding's name, and in it the text, which is given with LF and with CRLF."""
    in_base64 = _base64_length(canonical)
    # Where base64 beats even the least that quoted-printable can come to, the slower encoder is not run. That is when
    # about a fifth of the octets are beyond ASCII: a sample tells whether they are worth counting.
    sample = canonical[:: len(canonical) // _SAMPLE + 1]
    if _beyond_ascii(sample) * 8 < len(sample) or len(canonical) + 2 * _beyond_ascii(canonical) <= in_base64:
        quoted = quoted_printable(lines)
        if len(quoted) <= in_base64:
            return "quoted-printable", quoted
    return "base64", base64_lines(canonical)


def _beyond_ascii(data: bytes) -> int:
    """Return how many octets are not ASCII; quoted, each takes two octets more."""
    return len(data) - len(data.translate(None, _BEYOND_ASCII))


def _stands_as_it_is(data: bytes) -> bool:
    """Tell whether CRLF-ended ASCII text may go out as 7bit, and nothing on its way takes a line of it for its own."""
    return not (
        data.translate(None, _PLAIN_OCTETS)
        or _has_long_line(data)
        or _TAKEN_LINE.search(data)
        or data.startswith((b"From ", b".\r\n"))
        or data.endswith(b"\n.")
        or data == b"."
    )


def _has_long_line(data: bytes) -> bool:
    """Tell whether a line is too long for 7bit, looking only for the last line end within each stretch."""
    start = 0
    while len(data) - start > _LINE_LIMIT_7BIT:
        start = data.rfind(b"\n", start, start + _LINE_LIMIT_7BIT + 2) + 1
        if start == 0:
            return True
    return False


def quoted_printable(data: bytes) -> bytes:
    """Encode LF-ended text (RFC 2045 6.7); lines take 76 octets at most, none reads `From …` or is a lone dot."""
    # b2a_qp takes the line end of its soft breaks from the data and keeps a bare CR: so LF in, CRLF last.
    quoted = b2a_qp(data, istext=True)
    if _MENDED.search(quoted) or quoted.startswith(b"From "):
        quoted = _OVERLONG_SPACE.sub(rb"\1=\n\2", quoted)
        # A soft break hides the word, and makes no line longer as =46 would.
        quoted = _MBOX_LINE.sub(b"F=\nrom ", quoted)
    return to_crlf(quoted)


def _base64_length(data: bytes) -> int:
    """Return the length of `base64_lines(data)`."""
    octets = (len(data) + 2) // 3 * 4
    return octets + 2 * ((octets - 1) // _ENCODED_LINE)


def base64_lines(data: bytes) -> bytes:
    """Encode in lines of 76 octets (RFC 2045 6.8), the last without a line end."""
    encoded = b2a_base64(data, newline=False)
    return b"\r\n".join([encoded[start : start + _ENCODED_LINE] for start in range(0, len(encoded), _ENCODED_LINE)])


def ended(part: Part) -> bytes:
    """Return the body of a part that is the whole message, ended by CRLF as a message must be.

    The decoded text stays as it was in quoted-printable and base64; a 7bit text gains its missing last line end.
    """
    if not part.body or part.body.endswith(b"\r\n"):
        return part.body
    if part.encoding != "quoted-printable":
        return part.body + b"\r\n"
    if len(part.body) - (part.body.rfind(b"\n") + 1) < _ENCODED_LINE:
        return part.body + b"=\r\n"
    return _LAST_TOKEN.sub(rb"=\r\n\1=\r\n", part.body)


def file(attachment: Attachment, disposition: str) -> Part:
    """Return an attachment in base64 with its name, `disposition` being `inline` or `attachment` (RFC 2183).

    Raises UnsendableMessage for a type that is no media type or holds messages or parts of its own, and for an unsafe
    name or content id.
    """
    kind = attachment.content_type
    if not _CONTENT_TYPE.fullmatch(kind) or _COMPOSITE_TYPE.match(kind):
        raise UnsendableMessage("An attachment's content type is not one that may be sent.")
    head = (
        fold("Content-Type", [" " + kind])
        + "Content-Transfer-Encoding: base64\r\n"
        + fold("Content-Disposition", _disposition(disposition, attachment.filename))
    )
    if attachment.content_id is not None:
        head += identifier("Content-ID", f"<{attachment.content_id}>")
    return Part(checked(head.encode("ascii")), base64_lines(attachment.content), "base64")


def _disposition(disposition: str, filename: str) -> list[str]:
    """Return the value of Content-Disposition in pieces: a plain file name as it is, any other after RFC 2231."""
    check("file name", filename)
    if not filename:
        return [" " + disposition]
    if _PLAIN_FILENAME.fullmatch(filename):
        return [f" {disposition};", f' filename="{filename}"']
    runs = escaped_runs(quote(filename, safe=""), _PERCENT_CHARACTER, 54, 54)
    if len(runs) == 1:
        return [f" {disposition};", f" filename*=utf-8''{runs[0]}"]
    numbered = [f" filename*{n}*={run};" for n, run in enumerate(["utf-8''" + runs[0], *runs[1:]])]
    return [f" {disposition};", *numbered[:-1], numbered[-1][:-1]]
