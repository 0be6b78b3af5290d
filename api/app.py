"""The app factory: all the wiring, and the only reader of the settings."""

from api import garbage  # noqa: F401 -- before all others, as it says

# isort: split
from datetime import timedelta
from pathlib import Path

from flask import Flask
from sqlalchemy.engine import make_url

from api import config, paths, shell
from api.core import addresses, backlog, db, leases, migrations, quotas, rates, retry, simulator, uploads, watch
from api.core.claim import Address
from api.core.policy import Policy
from api.core.rendering import Library
from api.delivery import thread
from api.delivery.dispatch import DispatchSettings
from api.delivery.smtp import mail
from api.rest import http
from schemas.vocabulary import Mode

#: Added to the deadline of one SMTP transaction: a lease must outlive the slowest of them.
LEASE_MARGIN = timedelta(seconds=60)


def create_app(settings: config.Settings | None = None, *, reload: bool = False) -> Flask:
    """Make the app from `settings`, or from the environment; with `reload`, changed templates are picked up.

    Starts no thread and touches no table. Raises ConfigError.
    """
    settings = config.read() if settings is None else settings
    app = Flask("postroom", static_folder=None, template_folder=str(paths.share("templates")))
    url = database_url(settings)
    app.config.update(
        settings.mail(),
        SQLALCHEMY_DATABASE_URI=url,
        SQLALCHEMY_ENGINE_OPTIONS=db.engine_options(url, connections=settings.database_connections),
        MAX_CONTENT_LENGTH=settings.max_body,
        **http.config(public_url=settings.public_url, trusted_hosts=settings.trusted_hosts),
    )
    app.extensions["postroom.policy"] = _policy(settings, reload=reload)
    app.extensions["postroom.dispatch"] = DispatchSettings(
        senders=settings.senders,
        rate=settings.relay_rate,
        probe_first=settings.relay_probe_first,
        probe_max=settings.relay_probe_max,
        grace=settings.grace,
        journals=_state(settings, url),
    )
    db.configure(app)
    watch.configure(app, seats=settings.waiters)
    migrations.configure(app, paths.share("migrations"))
    mail.init_app(app)
    quotas.configure(app, leases.Database() if settings.limit_store == "database" else quotas.Memory())
    backlog.configure(app, None if settings.max_queue == "off" else int(settings.max_queue))
    http.configure(
        app,
        public_url=settings.public_url,
        dispatch=settings.dispatch,
        origins=settings.cors_origins,
        open_metrics=settings.metrics == "open",
        rate=rates.parse(settings.rate_limit),
        browser_rate=rates.parse(settings.browser_rate_limit),
    )
    app.shell_context_processor(shell.names)
    return app


def start_dispatcher(app: Flask, settings: config.Settings) -> None:
    """Start this process's dispatcher thread, if mail is dispatched by thread."""
    if settings.dispatch == "thread":
        thread.start(app)


def database_url(settings: config.Settings) -> str:
    """Return the database's URL, a SQLite path made absolute: Flask-SQLAlchemy would put it elsewhere."""
    url = make_url(settings.database_url)
    if url.drivername == "postgres":  # as many hosts call it
        url = url.set(drivername="postgresql")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        url = url.set(database=str(Path(url.database).absolute()))
    return url.render_as_string(hide_password=False)


def _state(settings: config.Settings, url: str) -> Path:
    """Return the folder for files: unless another is set, a SQLite database's own, and `var` for one elsewhere."""
    if settings.state is not None:
        return Path(settings.state).absolute()
    database = make_url(url).database
    on_disk = url.startswith("sqlite") and database and database != ":memory:"
    return Path(str(database)).parent if on_disk else Path("var").absolute()


def _policy(settings: config.Settings, *, reload: bool) -> Policy:
    sender = _address("POSTROOM_SENDER", settings.sender)
    allowed = settings.allowed_senders or ((sender.email,) if sender else ())
    folders = [Path(settings.templates)] if settings.templates else []
    return Policy(
        sender=sender,
        allowed_senders=frozenset(_allowed(entry) for entry in allowed),
        admin=_admin(settings.admin),
        welcome=settings.welcome,
        subject_prefix=settings.subject_prefix,
        schedule=retry.Schedule(
            first=timedelta(seconds=settings.retry_first),
            longest=timedelta(seconds=settings.retry_max),
            give_up=timedelta(seconds=settings.give_up),
        ),
        lease=timedelta(seconds=settings.mail_deadline) + LEASE_MARGIN,
        templates=Library([*folders, paths.share("templates") / "mail"], reload=reload),
        attachments=uploads.Limits(
            size=settings.max_attachment_size, total=settings.max_attachment_total, count=settings.max_attachment_count
        ),
        retain_content=_days(settings.retain_content_days),
        retain_metadata=_days(settings.retain_metadata_days),
        receipts_kept=timedelta(hours=settings.idempotency_hours),
        recipient_rate=rates.parse(settings.recipient_limit),
    )


def _days(number: int) -> timedelta | None:
    return timedelta(days=number) if number else None


def _address(name: str, text: str | None) -> Address | None:
    if text is None:
        return None
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise config.ConfigError(f"{name}: {error}") from None


def _admin(text: str | None) -> Address | None:
    admin = _address("POSTROOM_ADMIN", text)
    complaint = simulator.complaint(admin.email, mode=Mode.LIVE) if admin else None
    if complaint is not None:
        raise config.ConfigError(f"POSTROOM_ADMIN: {complaint[0]}")
    return admin


def _allowed(entry: str) -> str:
    if entry.startswith("@"):
        return entry.lower()
    address = _address("POSTROOM_ALLOWED_SENDERS", entry)
    return addresses.key(address.email) if address else ""
