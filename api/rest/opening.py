"""Opening a captured mail: whatever bytes it is, something is shown of it, and never an error."""

import base64
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

from api.core import inbox

#: What the standard library's parser is known to raise on odd mail.
_ODDITIES = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def opened(raw: bytes) -> dict[str, Any]:
    """Return `headers`, `text`, `html`, `attachments`, `raw` and `raw_encoding` of a mail."""
    shown: dict[str, Any] = {"headers": [], "text": None, "html": None, "attachments": [], **_raw(raw)}
    try:
        message = inbox.parsed(raw)
        shown["headers"] = list(_headers(message))
        for part in _leaves(message):
            _sort(part, shown)
    except _ODDITIES:
        pass  # what was understood so far is shown, and `raw` has it all
    return shown


def _raw(raw: bytes) -> dict[str, str]:
    try:
        return {"raw": raw.decode(), "raw_encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"raw": base64.b64encode(raw).decode(), "raw_encoding": "base64"}


def _headers(message: EmailMessage) -> Iterator[dict[str, str]]:
    for name, value in message.raw_items():
        try:
            decoded = str(message.policy.header_fetch_parse(name, value))
        except _ODDITIES:
            decoded = str(value)
        yield {"name": _clean(name), "value": _clean(decoded)}


def _leaves(message: EmailMessage) -> Iterator[EmailMessage]:
    waiting: list[Any] = [message]
    while waiting:
        part = waiting.pop(0)
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            waiting[:0] = part.get_payload()
        else:
            yield part


def _sort(part: EmailMessage, shown: dict[str, Any]) -> None:
    """Put a part where it belongs: the first text and the first HTML are the bodies, all else is attached."""
    kind = {"text/plain": "text", "text/html": "html"}.get(part.get_content_type())
    if kind is not None and shown[kind] is None and not part.is_attachment() and part.get_filename() is None:
        shown[kind] = _text(part)
    else:
        shown["attachments"].append(_attachment(part))


def _text(part: EmailMessage) -> str:
    content = _bytes(part)
    try:
        text = content.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = content.decode("utf-8", "replace")
    return _clean(text.replace("\r\n", "\n"))


def _attachment(part: EmailMessage) -> dict[str, Any]:
    filename, content_id = part.get_filename(), part.get("Content-ID")
    return {
        "filename": None if filename is None else _clean(filename),
        "content_type": _clean(part.get_content_type()),
        "size": len(_bytes(part)),
        "content_id": None if content_id is None else _clean(str(content_id)).strip("<> "),
    }


def _bytes(part: EmailMessage) -> bytes:
    content = part.get_payload(decode=True)
    # A mail inside the mail has no bytes of its own, but those it is made of.
    return content if isinstance(content, bytes) else b"".join(bytes(inner) for inner in part.iter_parts())


def _clean(text: str) -> str:
    """Return a text that an answer in UTF-8 can hold: undecoded bytes are read as UTF-8, the rest is replaced."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
