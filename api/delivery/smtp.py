"""Flask-Mail, made fit to be relied on: `mail.send` and `with mail.connect()` over a bounded, verified dialogue.

SMTPException (smtplib)
├── NoSession   the relay could not be reached, encrypted to, or logged in at
└── NotSent     some recipients, or all, did not get the message
"""

import smtplib
from collections.abc import Mapping
from threading import RLock
from types import TracebackType
from typing import Any, Self

import flask_mail
from flask import current_app

from api.delivery import transaction
from api.delivery.blame import Verdict
from api.delivery.dialogue import Dialogue
from api.delivery.line import Line
from api.delivery.message import Mailbox, Message, mailbox
from api.delivery.relay import ConfigReader
from api.delivery.relay import RelaySettings as RelaySettings
from schemas.vocabulary import Outcome


class NoSession(smtplib.SMTPException):
    """The relay could not be reached, encrypted to, or logged in at; `verdict` says which, and whose fault it is."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(_told(verdict))


class NotSent(smtplib.SMTPException):
    """Not every recipient got the message: `refused` tells why for each, `sent` names those who did."""

    def __init__(self, refused: Mapping[str, Verdict], sent: tuple[str, ...]) -> None:
        self.refused = dict(refused)
        self.sent = sent
        reasons = "; ".join(f"{recipient}: {_told(verdict)}" for recipient, verdict in refused.items())
        super().__init__(f"not sent to {reasons}" + (f"; sent to {', '.join(sent)}" if sent else ""))


class MailState(flask_mail._Mail):
    """What `app.extensions["mail"]` holds: Flask-Mail's settings, and the relay's."""

    def __init__(self, config: Mapping[str, Any], *, testing: bool) -> None:
        read = ConfigReader(config)
        self.relay = relay = RelaySettings.from_config(config)
        super().__init__(
            relay.server,
            relay.username,
            relay.password,
            relay.port,
            relay.use_tls,
            relay.use_ssl,
            config.get("MAIL_DEFAULT_SENDER"),
            0,  # never MAIL_DEBUG: it prints the password
            relay.max_emails,
            read.flag("MAIL_SUPPRESS_SEND", default=testing),
            read.flag("MAIL_ASCII_ATTACHMENTS"),
        )


class Connection(flask_mail.Connection):
    """A connection for several messages; threads that share one take turns."""

    host: Dialogue | None

    def __init__(self, mail: MailState) -> None:
        super().__init__(mail)  # type: ignore[arg-type]  # Flask-Mail names the extension here, and passes its state
        self._line = Line(mail.relay)
        self._turn = RLock()

    def __enter__(self) -> Self:
        """Connect and log in, unless sending is suppressed. Raises NoSession."""
        self.host = None if self.mail.suppress else self.configure_host()
        self.num_emails = 0
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Take leave of the relay; a dropped QUIT changes nothing about what was sent."""
        with self._turn:
            self._line.close()
            self.host = None

    def configure_host(self) -> Dialogue:
        """Open a connection. Raises NoSession."""
        verdict = self._line.open()
        if verdict.outcome is not Outcome.SENT or self._line.dialogue is None:
            raise NoSession(verdict)
        return self._line.dialogue

    def send(self, message: flask_mail.Message, envelope_from: Mailbox | None = None) -> None:
        """Send to all recipients, each in a transaction of its own, so that each has its own answer.

        Raises BadHeaderError, UnsendableMessage, and NotSent once every recipient has been tried.
        """
        ours = message if isinstance(message, Message) else Message.adopt(message)
        recipients = ours.envelope_recipients()
        if not recipients or not ours.sender:
            # Flask-Mail's users know this as an assertion, which `python -O` would leave out.
            raise AssertionError("No recipients have been added" if ours.sender else "The message has no sender")
        if ours.has_bad_headers():
            raise flask_mail.BadHeaderError
        if self.mail.suppress:
            sent, refused = recipients, dict[str, Verdict]()
        else:
            with self._turn:
                sent, refused = self._deliver(ours, recipients, mailbox(envelope_from or ours.sender).email)
        self._announce(message, sent)
        if refused:
            raise NotSent(refused, sent)

    def send_message(self, *args: Any, **kwargs: Any) -> None:
        """Send a message made from the arguments of `Message`."""
        self.send(Message(*args, **kwargs))

    def _deliver(
        self, message: Message, recipients: tuple[str, ...], sender: str
    ) -> tuple[tuple[str, ...], dict[str, Verdict]]:
        """Return who got it, and why the others did not; once the relay fails, nobody else is tried."""
        data = message.as_bytes()
        verdicts: dict[str, Verdict] = {}
        last: Verdict | None = None
        for recipient in recipients:
            if last is None or last.outcome is not Outcome.RELEASED:
                last = self._line.deliver(
                    transaction.seal(
                        data,
                        sender=sender,
                        recipient=recipient,
                        mail_options=message.mail_options,
                        rcpt_options=message.rcpt_options,
                    )
                )
            verdicts[recipient] = last
        self.host = self._line.dialogue
        sent = tuple(each for each, verdict in verdicts.items() if verdict.outcome is Outcome.SENT)
        return sent, {each: verdict for each, verdict in verdicts.items() if each not in sent}

    def _announce(self, message: flask_mail.Message, sent: tuple[str, ...]) -> None:
        if sent:
            app = current_app._get_current_object()  # type: ignore[attr-defined]
            flask_mail.email_dispatched.send(app, message=message)
            self.num_emails += 1


class Mail(flask_mail.Mail):
    """The extension; its settings are read and checked by `init_app`."""

    def init_mail(self, config: dict[str, Any], debug: bool | int = False, testing: bool = False) -> MailState:
        """Read the MAIL_* settings. Raises ValueError that names the setting."""
        return MailState(config, testing=testing)

    def connect(self) -> Connection:
        """Return a connection to the relay, to be used with `with`. Raises RuntimeError without `init_app`."""
        return Connection(self._state())

    def send_message(self, *args: Any, **kwargs: Any) -> None:
        """Send a message made from the arguments of `Message`."""
        self.send(Message(*args, **kwargs))

    def relay_settings(self) -> RelaySettings:
        """Return the app's relay. Raises RuntimeError without `init_app`, or outside of an app context."""
        return self._state().relay

    def _state(self) -> MailState:
        state = (self.app or current_app).extensions.get("mail")
        if not isinstance(state, MailState):
            raise RuntimeError("The current application was not configured with this Mail")
        return state


#: The application's one transport; it belongs to whatever app is current.
mail = Mail()


def _told(verdict: Verdict) -> str:
    reply = verdict.reply
    words = [str(reply.code or ""), reply.enhanced_code or "", reply.text]
    return f"{' '.join(word for word in words if word)} ({verdict.outcome} at {verdict.phase})"
