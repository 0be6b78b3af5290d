"""Every setting: its name in the environment, its default, its meaning. The only module that reads the environment.

A secret may also come from a file: `NAME_FILE` holds the path of a file whose content is the value of `NAME`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from environs import EnvValidationError, FileAwareEnv

from api import login
from api.core import rates
from api.hostnames import ehlo_name, is_base, is_origin
from schemas.attachments import LONGEST_LIST

#: Where a setting had another name first, that name is read too.
ALIASES = {
    "POSTROOM_SUBJECT_PREFIX": "FLASKY_MAIL_SUBJECT_PREFIX",
    "POSTROOM_SENDER": "FLASKY_MAIL_SENDER",
    "POSTROOM_ADMIN": "FLASKY_ADMIN",
}
DISPATCH = ("thread", "celery", "none")


class ConfigError(Exception):
    """Settings that cannot be used; each line names one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, read and checked. Times are in seconds, sizes in bytes."""

    database_url: str = field(default="sqlite:///var/postroom.db", repr=False)
    database_connections: int = 20
    state: str | None = None
    public_url: str = "http://127.0.0.1:8000"
    trusted_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    sender: str | None = None
    allowed_senders: tuple[str, ...] = ()
    admin: str | None = None
    welcome: bool = True
    subject_prefix: str = ""
    templates: str | None = None
    dispatch: str = "thread"
    broker_url: str | None = field(default=None, repr=False)
    metrics: str = "key"
    affinity: str = "one"
    senders: int = 4
    relay_rate: float | None = None
    retry_first: float = 300.0
    retry_max: float = 14_400.0
    give_up: float = 432_000.0
    relay_probe_first: float = 5.0
    relay_probe_max: float = 300.0
    grace: float = 20.0
    max_body: int = 25 * 1024 * 1024
    max_attachment_size: int = 10 * 1024 * 1024
    max_attachment_total: int = 15 * 1024 * 1024
    max_attachment_count: int = 20
    retain_content_days: int = 30
    retain_metadata_days: int = 0
    idempotency_hours: float = 24.0
    waiters: int = 128
    rate_limit: str = "6000/minute"
    recipient_limit: str = "60/hour"
    browser_rate_limit: str = "10/minute"
    limit_store: str = "memory"
    max_queue: str = "2000000"
    mail_server: str = "localhost"
    mail_port: int = 25
    mail_use_tls: bool = False
    mail_use_ssl: bool = False
    mail_username: str | None = None
    mail_password: str | None = field(default=None, repr=False)
    mail_default_sender: str | None = None
    mail_max_emails: int | None = None
    mail_ascii_attachments: bool = False
    mail_debug: bool = False
    mail_suppress_send: bool = False
    mail_idle: float = 20.0
    mail_timeout: float = 60.0
    mail_deadline: float = 900.0
    mail_ca_file: str | None = None
    mail_local_hostname: str | None = None
    #: The names of those that somebody has set, be it to the default.
    explicit: frozenset[str] = field(default=frozenset(), repr=False, metadata={"setting": False})

    def mail(self) -> dict[str, Any]:
        """Return what Flask-Mail and the transport read from the app's config."""
        return {
            "MAIL_SERVER": self.mail_server,
            "MAIL_PORT": self.mail_port,
            "MAIL_USE_TLS": self.mail_use_tls,
            "MAIL_USE_SSL": self.mail_use_ssl,
            "MAIL_USERNAME": self.mail_username,
            "MAIL_PASSWORD": self.mail_password,
            "MAIL_DEFAULT_SENDER": self.mail_default_sender or self.sender,
            "MAIL_MAX_EMAILS": self.mail_max_emails,
            "MAIL_ASCII_ATTACHMENTS": self.mail_ascii_attachments,
            "MAIL_DEBUG": self.mail_debug,
            "MAIL_SUPPRESS_SEND": self.mail_suppress_send,
            "MAIL_IDLE": self.mail_idle,
            "MAIL_TIMEOUT": self.mail_timeout,
            "MAIL_DEADLINE": self.mail_deadline,
            "MAIL_CA_FILE": self.mail_ca_file,
            "MAIL_LOCAL_HOSTNAME": self.mail_local_hostname or ehlo_name(self.public_url),
        }


def read(**given: Any) -> Settings:
    """Read the settings from the environment, `given` ones first. Raises ConfigError naming every bad one."""
    env = FileAwareEnv(eager=False, strip_whitespace=True)
    values: dict[str, Any] = {}
    try:
        for name, default in defaults().items():
            variable = name.upper() if name.startswith("mail_") else f"POSTROOM_{name.upper()}"
            values[name] = _value(env, variable, default)
        env.seal()
    except EnvValidationError as error:
        wrong = error.error_messages
        lines = (f"{name}: {' '.join(said)}" for name, said in wrong.items()) if isinstance(wrong, Mapping) else wrong
        raise ConfigError("\n".join(lines)) from None
    except ValueError as error:  # a *_FILE that cannot be read
        raise ConfigError(str(error)) from None
    values.update(given)
    values = {name: value for name, value in values.items() if value is not None}
    values["explicit"] = frozenset(values)
    settings = Settings(**values)
    if settings.sender is None and settings.mail_default_sender is not None:
        settings = Settings(**{**values, "sender": settings.mail_default_sender})
    check(settings)
    return settings


def defaults() -> dict[str, Any]:
    """Return the default of every setting by its field's name."""
    return {one.name: one.default for one in fields(Settings) if one.metadata.get("setting", True)}


def check(settings: Settings) -> None:
    """Refuse settings that contradict each other or would betray a secret. Raises ConfigError."""
    wrong = [line for rule in _RULES if (line := rule(settings)) is not None]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _value(env: FileAwareEnv, variable: str, default: object) -> Any:
    """Return a setting as its default's type; None if it is unset or empty, as compose files leave it."""
    alias = ALIASES.get(variable)
    text: str | None = env.str(variable, None) or (env.str(alias, None) if alias else None)
    if not text:
        return None
    if isinstance(default, bool):
        return env.bool(variable)
    if isinstance(default, float) or variable == "POSTROOM_RELAY_RATE":
        return env.float(variable)
    if isinstance(default, int) or variable == "MAIL_MAX_EMAILS":
        return env.int(variable)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _dispatch(settings: Settings) -> str | None:
    if settings.dispatch not in DISPATCH:
        return f"POSTROOM_DISPATCH is {settings.dispatch!r}; it may be {', '.join(DISPATCH)}."
    if not (settings.broker_url or "redis://").startswith(("redis://", "rediss://", "amqp://", "amqps://")):
        # Not the URL: its password has no place in a message.
        return "POSTROOM_BROKER_URL must begin with redis://, rediss://, amqp:// or amqps://."
    if settings.affinity not in ("one", "all"):
        return f"POSTROOM_AFFINITY is {settings.affinity!r}; it may be one, all."
    if settings.metrics not in ("key", "open"):
        return f"POSTROOM_METRICS is {settings.metrics!r}; it may be key, open."
    return None


def _public_url(settings: Settings) -> str | None:
    if not is_base(settings.public_url):
        return (
            f"POSTROOM_PUBLIC_URL is {settings.public_url!r}; it must be like https://mail.example.org or with a path."
        )
    return None


def _origins(settings: Settings) -> str | None:
    for origin in settings.cors_origins:
        if not is_origin(origin):
            return f"POSTROOM_CORS_ORIGINS holds {origin!r}; each must be like https://app.example.org, without a path."
    return None


def _numbers(settings: Settings) -> str | None:
    for name in _SECONDS:
        value: float = getattr(settings, name.removeprefix("POSTROOM_").lower())
        if not math.isfinite(value) or value <= 0:
            return f"{name} is {value}; it must be a number of seconds above 0."
    if settings.mail_deadline < settings.mail_timeout:
        return "MAIL_DEADLINE is shorter than MAIL_TIMEOUT: a whole transaction cannot be shorter than one reply."
    if settings.retry_max < settings.retry_first:
        return "POSTROOM_RETRY_MAX is shorter than POSTROOM_RETRY_FIRST."
    return None


def _ranges(settings: Settings) -> str | None:
    ranges = {
        "POSTROOM_DATABASE_CONNECTIONS": (settings.database_connections, 2, 1000),
        "POSTROOM_SENDERS": (settings.senders, 1, 256),
        "POSTROOM_RELAY_RATE": (settings.relay_rate, 0.001, 1_000_000),
        "POSTROOM_MAX_BODY": (settings.max_body, 1024, 2**31),
        "POSTROOM_MAX_ATTACHMENT_SIZE": (settings.max_attachment_size, 0, 2**31),
        "POSTROOM_MAX_ATTACHMENT_TOTAL": (settings.max_attachment_total, 0, 2**31),
        "POSTROOM_MAX_ATTACHMENT_COUNT": (settings.max_attachment_count, 0, LONGEST_LIST),
        # In days; 0 keeps everything.
        "POSTROOM_RETAIN_CONTENT_DAYS": (settings.retain_content_days, 0, 36_500),
        "POSTROOM_RETAIN_METADATA_DAYS": (settings.retain_metadata_days, 0, 36_500),
        # A server's threads are its connections: the rest of them are for everybody else.
        "POSTROOM_WAITERS": (settings.waiters, 0, 512),
        "MAIL_PORT": (settings.mail_port, 1, 65535),
    }
    for name, (value, least, most) in ranges.items():
        if value is not None and not least <= value <= most:
            return f"{name} is {value}; it must be from {least} to {most}."
    return None


def _receipts(settings: Settings) -> str | None:
    # Clients rely on a day; the upper end, ten years, keeps dates in the calendar.
    if not 24 <= settings.idempotency_hours <= 87_600:
        return f"POSTROOM_IDEMPOTENCY_HOURS is {settings.idempotency_hours}; it must be from 24 to 87600."
    return None


def _limits(settings: Settings) -> str | None:
    for name in ("POSTROOM_RATE_LIMIT", "POSTROOM_RECIPIENT_LIMIT", "POSTROOM_BROWSER_RATE_LIMIT"):
        try:
            rates.parse(getattr(settings, name.removeprefix("POSTROOM_").lower()))
        except ValueError as error:
            return f"{name}: {error}"
    if settings.limit_store not in ("memory", "database"):
        return f"POSTROOM_LIMIT_STORE is {settings.limit_store!r}; it may be memory, database."
    if settings.max_queue != "off" and not re.fullmatch("[1-9][0-9]{0,9}", settings.max_queue):
        return f"POSTROOM_MAX_QUEUE is {settings.max_queue!r}; it must be a number from 1, or off."
    return None


_SECONDS = (
    "POSTROOM_RETRY_FIRST",
    "POSTROOM_RETRY_MAX",
    "POSTROOM_GIVE_UP",
    "POSTROOM_RELAY_PROBE_FIRST",
    "POSTROOM_RELAY_PROBE_MAX",
    "POSTROOM_GRACE",
    "MAIL_IDLE",
    "MAIL_TIMEOUT",
    "MAIL_DEADLINE",
)
_RULES: tuple[Callable[[Settings], str | None], ...] = (
    *login.RULES,
    _dispatch,
    _public_url,
    _origins,
    _numbers,
    _receipts,
    _ranges,
    _limits,
)
