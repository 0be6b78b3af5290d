"""Given: a transport to a relay, a sender over it, and a claim on a message."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

from flask import Flask

from api.core.claim import Address, Claim, Content
from api.delivery.sender import Sender
from api.delivery.smtp import Mail
from tests.relay.process import Relay

#: More text than the sockets' buffers hold, so that writing it ends only when the relay reads.
LARGE = "a line of text that is repeated until no buffer can hold it all\n" * 250_000


class Place(Protocol):
    """Where a relay, or what passes for one, listens."""

    host: str
    port: int


@contextmanager
def sending(mail: Mail) -> Iterator[Sender]:
    """A sender over this transport, closed at the end."""
    with closing(Sender(mail)) as sender:
        yield sender


def mail_to(relay: Place, **config: Any) -> Mail:
    """Return a transport of an app of its own to this relay."""
    app = Flask("postroom-test")
    app.config.update(
        MAIL_SERVER=relay.host,
        MAIL_PORT=relay.port,
        MAIL_TIMEOUT=5,
        MAIL_DEADLINE=20,
        MAIL_LOCAL_HOSTNAME="mail.example.org",
        MAIL_DEFAULT_SENDER=("Post Room", "room@example.org"),
    )
    app.config.update(config)
    return Mail(app)


def a_content(**changes: Any) -> Content:
    """Return a short message, with other values by the names of the fields."""
    values: dict[str, Any] = {
        "message_id": f"<{uuid4()}@example.org>",
        "date": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        "sender": Address("room@example.org", "Post Room"),
        "to": (Address("ann@example.org", "Ann"),),
        "cc": (),
        "reply_to": (),
        "subject": "Hello",
        "text": "Hello Ann,\n.\nthis is all.\n",
        "html": None,
    }
    return Content(**values | changes)


def a_claim(recipient: str = "ann@example.org", **content: Any) -> Claim:
    """Return a claim on a message to one recipient, with other values by the names of the content's fields."""
    return Claim(
        delivery_id=uuid4(),
        notification_id=uuid4(),
        token=uuid4(),
        attempt=1,
        transport="default",
        recipient=recipient,
        content=a_content(**content),
    )


def yes() -> bool:
    """Confirm that the claim is still held."""
    return True


def verbs(relay: Relay, connection: int | None = None) -> list[str]:
    """Return the names of the commands that the relay was told, all or of one connection."""
    return [command.verb for command in relay.commands(connection)]
