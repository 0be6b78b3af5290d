"""What the mail settings must not say: how to log in and how to encrypt, one rule each, and the sentence that refuses.

`settings` is `api.config.Settings`, which stands above this module.
"""

from collections.abc import Callable
from typing import Any

from api.hostnames import is_loopback


def _both_tls(settings: Any) -> str | None:
    if settings.mail_use_tls and settings.mail_use_ssl:
        return "MAIL_USE_TLS and MAIL_USE_SSL exclude each other: the first is STARTTLS (587), the second TLS (465)."
    return None


def _half_credentials(settings: Any) -> str | None:
    if bool(settings.mail_username) == bool(settings.mail_password):
        return None
    missing, there = (
        ("MAIL_PASSWORD", "MAIL_USERNAME") if settings.mail_username else ("MAIL_USERNAME", "MAIL_PASSWORD")
    )
    return f"{missing} is missing, though {there} is set: the mail would go out without logging in."


def _open_password(settings: Any) -> str | None:
    encrypted = settings.mail_use_tls or settings.mail_use_ssl
    if settings.mail_username and not encrypted and not is_loopback(settings.mail_server):
        return "MAIL_USERNAME needs MAIL_USE_TLS or MAIL_USE_SSL: the password would cross the network unencrypted."
    return None


def _suppressed(settings: Any) -> str | None:
    if settings.mail_suppress_send:
        return "MAIL_SUPPRESS_SEND would call unsent mail sent; use POSTROOM_DISPATCH=none to hold mail back."
    return None


RULES: tuple[Callable[[Any], str | None], ...] = (_both_tls, _half_credentials, _open_password, _suppressed)
