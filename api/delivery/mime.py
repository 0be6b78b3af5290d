"""The complete message, from frozen content to the bytes on the wire.

The same content gives the same bytes on every attempt and in every process: no clock, no random number and no name
look-up takes part. The tree, where a level with only one part is left out:

    mixed
    ├── related
    │   ├── alternative
    │   │   ├── text/plain
    │   │   └── text/html
    │   └── files with a content id, shown by the HTML
    └── attachments
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

from api.core.claim import Content
from api.delivery import headers, parts
from api.delivery.headers import UnsendableMessage
from api.delivery.parts import Part

__all__ = ["UnsendableMessage", "assemble", "dot_stuff"]

#: Most messages hold none.
_DOT_LINE = re.compile(rb"\n\.")
_UNDERSCORE = 0x5F


def assemble(content: Content) -> bytes:
    """Return the message (RFC 5322, RFC 2045): CRLF line ends, lines of at most 998 octets, not dot-stuffed.

    A text decodes to what it was, with CRLF line ends; only a 7bit text that is the whole message gains its missing
    last line end. Raises UnsendableMessage for what no message may hold.
    """
    fields = parts.checked("".join(_fields(content)).encode("ascii"))
    root = _root(content)
    return b"".join((fields, b"MIME-Version: 1.0\r\n", root.head, b"\r\n", parts.ended(root)))


def dot_stuff(message: bytes) -> bytes:
    """Return an assembled message as it follows DATA, the final dot included (RFC 5321 4.5.2).

    That its line ends are CRLF, each of its parts has seen to: to look through all of it once more takes a tenth of
    what assembling takes.
    """
    stuffed = message.replace(b"\r\n.", b"\r\n..") if _DOT_LINE.search(message) else message
    start = b"." if message.startswith(b".") else b""
    end = b".\r\n" if not message or message.endswith(b"\r\n") else b"\r\n.\r\n"
    return start + stuffed + end


def _fields(content: Content) -> list[str]:
    """Return the header fields above MIME's own, in their order on the wire."""
    fields = [headers.date(content.date), headers.sender(content.sender)]
    if content.to:
        fields.append(headers.addresses("To", content.to))
    elif not content.cc:
        # Only blind copies: RFC 5322 3.4 has the empty group, and readers expect some To.
        fields.append("To: undisclosed-recipients:;\r\n")
    if content.cc:
        fields.append(headers.addresses("Cc", content.cc))
    if content.reply_to:
        fields.append(headers.addresses("Reply-To", content.reply_to))
    fields.append(headers.identifier("Message-ID", content.message_id))
    fields.append(headers.subject(content.subject))
    fields += [headers.custom(name, value) for name, value in content.headers]
    return fields


def _root(content: Content) -> Part:
    """Return the top of the tree, with no level that would hold only one part."""
    root = _texts(content)
    if not content.attachments:
        return root
    shown = content.html is not None
    inline = [a for a in content.attachments if shown and a.content_id is not None]
    attached = [a for a in content.attachments if not shown or a.content_id is None]
    if inline:
        # RFC 2387 3.1: `type` names the type of what the files belong to.
        kind = "text/html" if content.text is None else "multipart/alternative"
        files = [parts.file(a, "inline") for a in inline]
        root = _multipart(f'related; type="{kind}"', content.message_id, [root, *files])
    if attached:
        files = [parts.file(a, "attachment") for a in attached]
        root = _multipart("mixed", content.message_id, [root, *files])
    return root


def _texts(content: Content) -> Part:
    """Return the text, the HTML, or both as alternatives, the best last (RFC 2046 5.1.4)."""
    if content.html is None:
        return parts.text("plain", content.text or "")
    html = parts.text("html", content.html)
    if content.text is None:
        return html
    return _multipart("alternative", content.message_id, [parts.text("plain", content.text), html])


def _multipart(subtype: str, message_id: str, children: Sequence[Part]) -> Part:
    """Return `multipart/<subtype>` of the children (RFC 2046 5.1)."""
    boundary = _boundary(subtype + message_id, [child.body for child in children])
    delimiter = b"\r\n--" + boundary
    pieces: list[bytes] = []
    for child in children:
        pieces += (delimiter, b"\r\n", child.head, b"\r\n", child.body)
    pieces += (delimiter, b"--\r\n")
    head = b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n' % (subtype.encode("ascii"), boundary)
    return Part(head, b"".join(pieces), "7bit")


def _boundary(seed: str, bodies: Sequence[bytes]) -> bytes:
    """Return a delimiter made from the seed that stands in none of the bodies, not even one forged to hold it.

    `=_` keeps it out of quoted-printable and base64 by their syntax (RFC 2045 6.7); all have one length, so that
    none is the beginning of another.
    """
    boundary = b"=_" + blake2b(seed.encode("ascii"), digest_size=16).hexdigest().encode("ascii")
    for body in bodies:
        # Base64 has no underscore and most texts have none, which is known at once.
        if _UNDERSCORE in body and boundary in body:
            return _boundary(boundary.decode("ascii"), bodies)
    return boundary
