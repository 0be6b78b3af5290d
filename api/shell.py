"""What `flask --app api.wsgi shell` has at hand."""

from collections.abc import Mapping
from typing import Any

from api.core import keys, models, notifications
from api.core.addresses import parse
from api.core.db import Base, db
from api.delivery.message import Message
from api.delivery.smtp import mail


def names() -> dict[str, Any]:
    """Return the names a shell starts with: `mail`, `Message`, `db`, the models, and `send_email`."""
    tables = {mapper.class_.__name__: mapper.class_ for mapper in Base.registry.mappers}
    return {**tables, "mail": mail, "Message": Message, "db": db, "send_email": send_email}


def send_email(to: str, subject: str, template: str, **data: Any) -> models.Notification:
    """Queue one mail from a template, the road that every mail takes, and return its notification.

    `to` is an address or `Name <address>`; a `User` among the data is given to the template as plain data.
    Raises what `core.notifications.accept` raises.
    """
    plain = {name: _plain(value) for name, value in data.items()}
    name = template.removeprefix("mail/")  # the path that such calls usually give
    return notifications.accept(key=keys.operator(), to=[parse(to)], subject=subject, template=name, data=plain)


def _plain(value: object) -> object:
    if isinstance(value, models.User):
        return {"username": value.username, "name": value.name, "email": value.email}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return value
