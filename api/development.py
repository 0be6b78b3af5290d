"""`postroom dev`: the settings, the key and the words that a first look at Postroom needs."""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from flask import Flask, current_app

from api import serving
from api.app import create_app, start_dispatcher
from api.config import Settings
from api.core import keys
from api.startup import prepared, reachable
from schemas.vocabulary import Scope

LOOPBACK = "127.0.0.1"
SENDER = "Postroom <postroom@example.org>"
ADMIN = "admin@example.org"
KEY_FILE = "development-key"
#: What decides which relay is spoken to, and how.
_RELAY = ("mail_server", "mail_port", "mail_use_tls", "mail_use_ssl", "mail_username")

_FIRST = """\
Postroom runs at {url}; Ctrl-C ends it.

  API explorer   {url}/docs
  Mail goes to   {relay}
  Key            {secret}

Register a user:

  curl -sS {url}/v1/users \\
    -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\
    -d '{{"username": "ann", "email": "ann@example.org", "name": "Ann"}}'
"""
_INBOX = """
Read the mail that this has sent:

  curl -sS {url}/v1/inbox -H 'Authorization: Bearer {secret}'
"""


class UnusableKey(Exception):
    """The development key cannot be kept or read: one sentence that names its file."""


def run(settings: Settings, *, port: int, smtp_port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT, with what the settings lack. Raises what keeps it from starting."""
    host, port = serving.free_address(LOOPBACK, port)
    with ExitStack() as stack:
        inbox = None
        if not has_relay(settings):
            inbox = stack.enter_context(serving.listener(LOOPBACK, smtp_port, purpose="the inbox"))
        settings = completed(reachable(settings, port=port), inbox=inbox)
        with prepared(settings):
            secret = key()
        serving.serve(
            partial(load, settings, inbox),
            host=host,
            port=port,
            workers=1,
            grace=settings.grace,
            ready=greeting(settings, secret, inbox=inbox is not None),
        )


def has_relay(settings: Settings) -> bool:
    """Tell whether the operator has named a relay; if not, mail goes to the embedded inbox."""
    unset = Settings()
    return any(name in settings.explicit or getattr(settings, name) != getattr(unset, name) for name in _RELAY)


def completed(settings: Settings, *, inbox: socket.socket | None) -> Settings:
    """Return the settings with what a first look needs, where the operator has set nothing."""
    if inbox is not None:
        host, port = inbox.getsockname()
        settings = replace(settings, mail_server=host, mail_port=port)
    return replace(
        settings,
        sender=settings.sender or SENDER,
        admin=settings.admin or ADMIN,
        trusted_hosts=(*settings.trusted_hosts, LOOPBACK, "localhost"),
    )


def key() -> str:
    """Return the secret of a live key that may do everything, the same one as long as its file lies there.

    The file stands in the folder for files, unless told otherwise beside the database. Raises UnusableKey.
    """
    folder: Path = current_app.extensions["postroom.dispatch"].journals
    path = folder / KEY_FILE
    try:
        secret = path.read_text().strip() if path.exists() else None
        if secret is None or keys.adopt(secret, name="development", scopes=list(Scope)).revoked_at is not None:
            secret = keys.create(name="development", scopes=list(Scope))[1]
            _write_private(path, secret)
    except ValueError:
        raise UnusableKey(f"{path} does not hold a key: delete it, and a new one is made.") from None
    except OSError as error:
        raise UnusableKey(f"The development key cannot be kept in {path}: {error.strerror}.") from None
    return secret


def load(settings: Settings, inbox: socket.socket | None) -> Flask:
    """Make the app in a worker, with its dispatcher and, on a bound socket, the embedded inbox."""
    app = create_app(settings, reload=True)
    if inbox is not None:
        from api.delivery.inbox import Inbox  # noqa: PLC0415 -- an SMTP server, which nothing but this one has a use for

        Inbox(app, inbox).start()
    start_dispatcher(app, settings)
    return app


def greeting(settings: Settings, secret: str, *, inbox: bool) -> Callable[[], None]:
    """Return what tells the developer, on stdout, where everything is and what to try first."""
    url = settings.public_url.rstrip("/")
    relay = f"{settings.mail_server}:{settings.mail_port}"
    words = _FIRST.format(url=url, secret=secret, relay=f"{relay}, which keeps it in the inbox" if inbox else relay)
    return partial(click.echo, words + (_INBOX.format(url=url, secret=secret) if inbox else ""))


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read, also for the moment in which it is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
