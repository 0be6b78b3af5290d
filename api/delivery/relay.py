"""The relay that takes the mail: its settings, read strictly from Flask's config, and how it must prove itself."""

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Where mail is handed over, and on what terms. Seconds for all times; the password is in no `repr`."""

    server: str = "localhost"
    port: int = 25
    #: STARTTLS; no mail without it once it is asked for.
    use_tls: bool = False
    #: TLS from the first byte.
    use_ssl: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    #: Bounds connecting, a TLS handshake, each chunk written, and each whole reply.
    timeout: float = 60.0
    #: Bounds one mail's whole transaction, connecting included.
    deadline: float = 900.0
    #: PEM file of trusted authorities; None means the system's.
    ca_file: str | None = None
    #: The name given in EHLO.
    local_hostname: str = "localhost"
    #: Messages on one connection; None means no limit.
    max_emails: int | None = None
    #: A connection unused for longer is not used again.
    idle: float = 20.0
    #: Nothing may be sent (MAIL_SUPPRESS_SEND set by the operator, not only implied by TESTING).
    suppress: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "RelaySettings":
        """Read the MAIL_* keys. Raises ValueError that names the setting, and never shows the password."""
        read = ConfigReader(config)
        settings = cls(
            server=read.text("MAIL_SERVER") or "localhost",
            port=int(read.number("MAIL_PORT", 25)),
            use_tls=read.flag("MAIL_USE_TLS"),
            use_ssl=read.flag("MAIL_USE_SSL"),
            username=read.text("MAIL_USERNAME"),
            password=read.text("MAIL_PASSWORD"),
            timeout=read.number("MAIL_TIMEOUT", 60),
            deadline=read.number("MAIL_DEADLINE", 900),
            ca_file=read.text("MAIL_CA_FILE"),
            local_hostname=_ehlo_name(read.text("MAIL_LOCAL_HOSTNAME") or "localhost"),
            idle=read.number("MAIL_IDLE", 20),
            max_emails=int(read.number("MAIL_MAX_EMAILS", 0)) or None,
            suppress=read.flag("MAIL_SUPPRESS_SEND"),
        )
        settings._refuse_contradictions()
        return settings

    @property
    def encrypted(self) -> bool:
        """Tell whether nothing may be said in plaintext beyond EHLO and STARTTLS."""
        return self.use_tls or self.use_ssl

    def tls_context(self) -> ssl.SSLContext:
        """Return a context that checks the relay's certificate and name, for TLS 1.2 and later.

        A CA file that was replaced is read anew. Raises OSError (ssl.SSLError is one) when it cannot be used.
        """
        changed = Path(self.ca_file).stat().st_mtime_ns if self.ca_file else 0
        return _context(self.ca_file, changed)

    def _refuse_contradictions(self) -> None:
        if self.use_tls and self.use_ssl:
            raise ValueError("MAIL_USE_TLS and MAIL_USE_SSL exclude each other.")
        if (self.username is None) != (self.password is None):
            # Flask-Mail would quietly send without logging in.
            raise ValueError("MAIL_USERNAME and MAIL_PASSWORD need each other.")
        if not 1 <= self.port <= 65535:
            raise ValueError("MAIL_PORT must be from 1 to 65535.")
        if self.timeout <= 0 or self.deadline <= 0:
            raise ValueError("MAIL_TIMEOUT and MAIL_DEADLINE must be more than 0 seconds.")


@lru_cache(maxsize=4)
def _context(ca_file: str | None, _changed: int) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class ConfigReader:
    """Reads one config strictly: the environment gives strings, `from_prefixed_env` numbers where a text was meant.

    Each method raises ValueError that names the setting and does not show its value.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def text(self, name: str) -> str | None:
        """Return a text, or None for a missing or empty one; an integer is taken back to its digits."""
        value = self._config.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a text.")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a number that is not negative."""
        value = self._config.get(name)
        if value is None or value == "":
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number.") from None
        if isinstance(value, bool) or not 0 <= number < 1e9:
            raise ValueError(f"{name} is not a number that makes sense.")
        return number

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean: to Flask-Mail the strings "false" and "0" are true."""
        value = self._config.get(name)
        if value is None or value == "":
            return default
        word = str(value).lower()
        if word not in _WORDS:
            raise ValueError(f"{name} must be true or false.")
        return _WORDS[word]


def _ehlo_name(host: str) -> str:
    """Return the name as EHLO takes it: an address stands in brackets (RFC 5321 section 4.1.3)."""
    if not (host.isascii() and host.isprintable()) or " " in host:
        raise ValueError("MAIL_LOCAL_HOSTNAME must be a host name or an address.")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"
