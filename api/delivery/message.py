"""Flask-Mail's message with safe headers and stable bytes: what it holds is put on the wire by `mime.assemble`."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import make_msgid
from typing import Any, Self, TypeAlias

import flask_mail
from flask import current_app, has_app_context

from api.core import addresses, clock
from api.core.claim import Address, Attachment, Content
from api.delivery import mime

Mailbox: TypeAlias = str | tuple[str, str]

_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED = re.compile(r"(.*)<([^<>]*)>\s*", re.DOTALL)
_SPECIAL = re.compile(r"[^\w !#$%&\'*+\-/=?^`{|}~]")


class Message(flask_mail.Message):
    """A message for `mail.send`, or, made by `of`, the frozen content of a claim on its way to one recipient.

    Message-ID and Date are made once, so that `as_bytes` gives the same bytes each time. Text is always UTF-8:
    `charset` is taken for compatibility and not used.
    """

    def __init__(
        self,
        subject: str = "",
        recipients: list[Mailbox] | None = None,
        body: str | None = None,
        html: str | None = None,
        alts: dict[str, str] | Iterable[tuple[str, str]] | None = None,
        sender: Mailbox | None = None,
        cc: list[Mailbox] | None = None,
        bcc: list[Mailbox] | None = None,
        attachments: list[flask_mail.Attachment] | None = None,
        reply_to: Mailbox | None = None,
        date: float | None = None,
        charset: str | None = None,
        extra_headers: dict[str, str] | None = None,
        mail_options: list[str] | None = None,
        rcpt_options: list[str] | None = None,
    ) -> None:
        # Flask-Mail's own constructor asks DNS for this machine's name, and writes a sender's name unquoted.
        sender = sender or current_app.extensions["mail"].default_sender
        self.recipients = recipients or []
        self.subject = subject
        self.sender = _written(*sender) if isinstance(sender, tuple) else sender
        self.reply_to = reply_to
        self.cc = cc or []
        self.bcc = bcc or []
        self.body = body
        self.alts = dict(alts or {})
        self.html = html
        self.date = date
        self.msgId = make_msgid(domain=_domain(self.sender))
        self.charset = charset
        self.extra_headers = extra_headers
        self.mail_options = mail_options or []
        self.rcpt_options = rcpt_options or []
        self.attachments = attachments or []

    @classmethod
    def of(cls, content: Content, recipient: str) -> "FrozenMessage":
        """Return the message that carries this content to one recipient, whoever its headers name."""
        return FrozenMessage(content, recipient)

    @classmethod
    def adopt(cls, message: flask_mail.Message) -> Self:
        """Return a twin of Flask-Mail's own message, with its Message-ID and its date."""
        if message.date is None:
            message.date = clock.utcnow().timestamp()
        twin = cls.__new__(cls)
        vars(twin).update(vars(message))
        return twin

    def envelope_recipients(self) -> tuple[str, ...]:
        """Return all addresses of To, Cc and Bcc, each once, in order. Raises UnsendableMessage."""
        return tuple(each.email for each in _unique([*self.recipients, *self.cc, *self.bcc]))

    def content(self) -> Content:
        """Return what the bytes are made from. Raises UnsendableMessage for what cannot be sent."""
        if self.date is None:
            self.date = clock.utcnow().timestamp()
        if unknown := set(self.alts) - {"html"}:
            raise mime.UnsendableMessage(f"Only HTML can be an alternative, not {', '.join(sorted(unknown))}.")
        return Content(
            message_id=self.msgId,
            date=datetime.fromtimestamp(self.date, UTC),
            sender=mailbox(self.sender),
            to=_unique(self.recipients),
            cc=_unique(self.cc),
            reply_to=(mailbox(self.reply_to),) if self.reply_to else (),
            subject=str(self.subject or ""),
            text=self.body,
            html=self.html,
            headers=tuple((name, str(value)) for name, value in (self.extra_headers or {}).items()),
            attachments=tuple(_attachment(each) for each in self.attachments),
        )

    def as_bytes(self) -> bytes:
        """Return the message as it is sent, before dot-stuffing; the same bytes each time. Raises UnsendableMessage."""
        return mime.assemble(self.content())

    def as_string(self) -> str:
        """Return the bytes as text, which they are: all ASCII. Raises UnsendableMessage."""
        return self.as_bytes().decode("ascii")

    def has_bad_headers(self) -> bool:
        """Tell whether anything bound for a header holds a line end or another control character."""
        boxes: list[Any] = [self.sender, *self.recipients, *self.cc, *self.bcc, self.reply_to]
        texts: list[Any] = [self.subject, self.msgId, *(self.extra_headers or {}).keys()]
        texts += [*(self.extra_headers or {}).values(), *self.mail_options, *self.rcpt_options]
        for box in boxes:
            texts += box if isinstance(box, tuple) else [box]
        for file in self.attachments:
            texts += [file.filename, file.content_type, file.disposition, *file.headers.keys(), *file.headers.values()]
        return any(_UNSAFE.search(str(text)) for text in texts if text is not None)


class FrozenMessage(Message):
    """The frozen content of a claim; only its envelope is its own."""

    def __init__(self, content: Content, recipient: str) -> None:
        # Not `super().__init__`, which would write and read again what is frozen already, once for every mail.
        self._content = content
        self._recipient = recipient

    def __getattr__(self, name: str) -> Any:
        """Give what Flask-Mail's messages have besides, made when somebody asks for it."""
        if name.startswith("_"):
            raise AttributeError(name)
        content = self._content
        made = {
            "subject": content.subject,
            "recipients": [self._recipient],
            "sender": (content.sender.name or "", content.sender.email),
            "reply_to": None,
            "cc": [],
            "bcc": [],
            "alts": {} if content.html is None else {"html": _read(content.html)},
            "body": _read(content.text),
            "date": content.date.timestamp(),
            "msgId": content.message_id,
            "charset": None,
            "extra_headers": dict(content.headers),
            "mail_options": [],
            "rcpt_options": [],
            "attachments": [],
        }
        vars(self).update(made | vars(self))  # what somebody has set stays
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(name) from None

    def content(self) -> Content:
        """Return the content as it was frozen."""
        return self._content


def _read(text: str | bytes | None) -> str | None:
    return text.decode() if isinstance(text, bytes) else text


def mailbox(value: Mailbox) -> Address:
    """Read one mailbox, as `address`, `Name <address>` or `(name, address)`; a string is never more than one.

    A domain becomes IDNA 2008 (Flask-Mail's IDNA 2003 makes another domain of straße.de). Raises UnsendableMessage.
    """
    if isinstance(value, tuple):
        name, email = value
    elif match := _NAMED.fullmatch(value):
        name, email = _unquoted(match[1].strip()), match[2]
    else:
        name, email = "", value
    email = email.strip()
    if not email.isascii():
        try:
            email = addresses.normalise(email)
        except ValueError as error:
            raise mime.UnsendableMessage(str(error)) from None
    return Address(email, name or None)


def _unique(values: Iterable[Mailbox]) -> tuple[Address, ...]:
    """Return the mailboxes in their order, the first of each address."""
    found: dict[str, Address] = {}
    for value in values:
        box = mailbox(value)
        found.setdefault(addresses.key(box.email), box)
    return tuple(found.values())


def _written(name: str | None, email: str) -> str:
    """Return `Name <address>`, the name quoted where it would be read as something else."""
    if not name:
        return email
    if _SPECIAL.search(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{email}>"


def _unquoted(name: str) -> str:
    if len(name) >= 2 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1], flags=re.DOTALL)
    return name


def _domain(sender: Mailbox | None) -> str:
    """Return the sender's domain for the Message-ID, so that no DNS is asked for ours."""
    try:
        domain = mailbox(sender or "").email.rpartition("@")[2]
    except mime.UnsendableMessage:
        return "localhost"
    return domain if re.fullmatch(r"[A-Za-z0-9.-]+", domain) else "localhost"


def _attachment(file: flask_mail.Attachment) -> Attachment:
    """Raises UnsendableMessage for a header that is not Content-ID."""
    headers = {name.lower(): value for name, value in file.headers.items()}
    content_id = headers.pop("content-id", None)
    if headers:
        raise mime.UnsendableMessage("An attachment can have no header of its own but Content-ID.")
    kind, data = file.content_type, file.data
    if isinstance(data, str):
        data = data.encode()
        if kind.startswith("text/") and ";" not in kind:
            kind += "; charset=utf-8"
    return Attachment(_filename(file.filename or ""), kind, data, content_id.strip("<> ") if content_id else None)


def _filename(name: str) -> str:
    """Return the file name, in ASCII if MAIL_ASCII_ATTACHMENTS asks for that."""
    if name.isascii() or not has_app_context() or not current_app.extensions["mail"].ascii_attachments:
        return name
    return " ".join(unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().split())
