"""`postroom doctor`: look at everything that sending needs, and say what to do about what is wrong."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from api import config
from api.config import Settings
from api.core import clock, dispatchers, figures, migrations, overview
from api.core.claim import Blame, Result
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.core.migrations import SchemaError, Standing
from api.delivery.sender import Sender
from api.delivery.smtp import mail
from api.hostnames import is_loopback
from api.startup import opened
from schemas.vocabulary import Outcome, Phase

#: Seconds for the broker to answer.
PATIENCE = 5.0
_BROKER_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
#: What to do where the relay does not let mail in, by the phase that it says so in.
_CURES = {
    Phase.CONNECT: "see to MAIL_SERVER and MAIL_PORT, and to what stands between here and there",
    Phase.STARTTLS: "the relay must offer STARTTLS while MAIL_USE_TLS is set; where it speaks TLS from the first byte"
    " (465), set MAIL_USE_SSL instead; for a private CA, MAIL_CA_FILE",
    Phase.AUTH: "see to MAIL_USERNAME and MAIL_PASSWORD; some providers want a password made for programs",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether all is well with it, and a sentence; with what is wrong, what to do."""

    name: str
    well: bool
    told: str
    cure: str = ""


@click.command()
def doctor() -> None:
    """Look at the settings, the database and the relay, login and TLS included, and say what to do.

    Sends no mail. Ends with status 1 if something is wrong.
    """
    ill = False
    for finding in _findings():
        ill = ill or not finding.well
        click.echo(f"{'ok  ' if finding.well else 'FAIL'}  {finding.name}: {finding.told}")
        if finding.cure:
            click.echo(f"      {'to do' if not finding.well else 'note'}: {finding.cure}.")
    if ill:
        raise click.exceptions.Exit(1)


def _findings() -> Iterator[Finding]:
    try:
        settings = config.read()
        with opened(settings) as app:
            yield _sender(settings)
            yield from _database()
            yield _journals(app)
            yield _relay(settings)
            yield from _dispatch(settings)
    except config.ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("settings", False, line, "mend it; README.md has the table of all settings")


def _sender(settings: Settings) -> Finding:
    if settings.sender is None:
        return Finding(
            "settings", False, "POSTROOM_SENDER is missing", "set it to where mail comes from, `Name <address>`"
        )
    note = ""
    if settings.public_url == Settings().public_url:
        note = "POSTROOM_PUBLIC_URL is this machine's own: links in answers are of use here alone"
    return Finding("settings", True, f"mail comes from {settings.sender}", note)


def _database() -> Iterator[Finding]:
    if _is_new():
        yield Finding("database", True, f"{db.engine.url.database} is not there yet", "the first start makes it")
        return
    try:
        found = migrations.state()
    except SchemaError as error:
        yield Finding("database", False, str(error).rstrip("."), "see to POSTROOM_DATABASE_URL, and that it runs")
        return
    told = f"{migrations.name()} is at schema {found.current or 'none'}, {found.head} is needed"
    if found.standing in (Standing.AHEAD, Standing.UNKNOWN):
        yield Finding("database", False, told, "take the version of Postroom that made it, or another database")
    elif found.standing is not Standing.CURRENT:
        yield Finding("database", True, told, "`postroom db upgrade` does that, and so does every start")
    else:
        yield _writing(told)


def _is_new() -> bool:
    """Tell whether the database is a file that nobody has made; to look into it would make it."""
    url = db.engine.url
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def _writing(told: str) -> Finding:
    try:
        transact(partial(figures.put, values={"doctor": 1}), durable=True)
    except Unavailable as error:
        return Finding("database", False, error.detail.rstrip("."), "see to its disk, its rights and its load")
    except SQLAlchemyError as error:
        return Finding("database", False, f"a write was refused ({type(error).__name__})", "see to its rights")
    return Finding("database", True, f"{told}, and can be written")


def _journals(app: Flask) -> Finding:
    folder = app.extensions["postroom.dispatch"].journals
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cure = "dispatchers keep their journals there; give the process the right, or another folder by POSTROOM_STATE"
        return Finding("journals", False, f"{folder} cannot be written: {error.strerror}", cure)
    return Finding("journals", True, f"{folder} can be written")


def _relay(settings: Settings) -> Finding:
    where = f"{settings.mail_server}:{settings.mail_port}"
    sender = Sender(mail)
    try:
        result = sender.probe()
    finally:
        sender.close()
    if result.outcome is not Outcome.SENT:
        return Finding("relay", False, f"{where} {_refusal(result)}", _cure(result))
    secure = settings.mail_use_tls or settings.mail_use_ssl
    how = ["TLS, certificate checked" if secure else "no TLS", "logged in" if settings.mail_username else "no login"]
    note = "" if secure or is_loopback(settings.mail_server) else "mail crosses the network in plaintext"
    return Finding("relay", True, f"{where} takes mail ({', '.join(how)})", note)


def _refusal(result: Result) -> str:
    said = " ".join(str(part) for part in (result.reply.code, result.reply.text) if part)
    return f"takes no mail, by what it said in {result.phase.value}: {said}"


def _cure(result: Result) -> str:
    blamed = "its operator must see to it" if result.blame is Blame.RELAY else "see to the MAIL_ settings"
    return _CURES.get(result.phase, blamed)


def _dispatch(settings: Settings) -> Iterator[Finding]:
    try:
        registered = [] if _is_new() else overview.registered(db.session())
        alive = sum(dispatchers.is_alive(one, clock.utcnow()) for one in registered)
    except SQLAlchemyError:
        alive = 0
    starts: dict[str, str] = {
        "thread": "`postroom serve` does",
        "celery": "`celery -A api.celery_app worker` does, called by one `celery -A api.celery_app beat`",
        "none": "`postroom dispatch` does",
    }
    note = "" if alive else f"nothing dispatches now; {starts[settings.dispatch]}"
    yield Finding("dispatch", True, f"by {settings.dispatch}, alive: {alive}", note)
    if settings.dispatch == "celery":
        yield _broker(settings)


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return Finding("broker", False, "POSTROOM_BROKER_URL is missing", "set it for the workers and beat")
    parts = urlsplit(settings.broker_url)
    host, port = parts.hostname or "localhost", parts.port or _BROKER_PORTS[parts.scheme]
    connect: Callable[[], socket.socket] = partial(socket.create_connection, (host, port), timeout=PATIENCE)
    try:
        connect().close()
    except OSError as error:
        cure = "start it, or see to POSTROOM_BROKER_URL; until then accepted mail waits"
        return Finding("broker", False, f"{host}:{port} cannot be reached: {error.strerror or error}", cure)
    return Finding("broker", True, f"{host}:{port} can be reached")
