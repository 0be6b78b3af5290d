"""What comes before the work of every command: an app on a database that fits it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from flask import Flask
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import configure_mappers

from api import affinity, garbage
from api.app import create_app, start_dispatcher
from api.config import ConfigError, Settings
from api.core import migrations
from api.core.db import close, reopen


@contextmanager
def prepared(settings: Settings) -> Iterator[Flask]:
    """Give an app in its context, on an upgraded database; afterwards nothing of it is open, so that one may fork.

    Raises ConfigError, SchemaError.
    """
    with opened(settings) as app:
        migrations.upgrade()
        # The first query would do it, in each forked process anew.
        configure_mappers()
        yield app


@contextmanager
def opened(settings: Settings) -> Iterator[Flask]:
    """Give an app in its context, on the database as it is. Raises ConfigError."""
    app = _app(settings)
    try:
        with app.app_context():
            yield app
    finally:
        close(app)


def keep_apart(settings: Settings) -> None:
    """Keep a process that will not fork to one processor, unless the operator says otherwise; before it has threads."""
    if settings.affinity == "one":
        affinity.keep()


def load(settings: Settings, made: Flask | None = None) -> Flask:
    """Return the app of a server's process, with its dispatcher; `made` is one that `prepared` has given before."""
    app = _settled(settings, made)
    start_dispatcher(app, settings)
    return app


class Alone:
    """Makes the app of a process that serves nothing else and will not fork: it may choose its processor.

    A forked process goes on with the app that its parent has prepared, and shares the memory that it lies in; a
    spawned one, to which this is pickled, makes its own.
    """

    def __init__(self, settings: Settings, made: Flask | None = None) -> None:
        self._settings = settings
        self._made = made

    def __reduce__(self) -> tuple[type["Alone"], tuple[Settings]]:
        return Alone, (self._settings,)

    def __call__(self) -> Flask:
        """Return the app, with its dispatcher."""
        if self._settings.affinity == "all":
            return load(self._settings, self._made)
        keep_apart(self._settings)
        app = _settled(self._settings, self._made)
        affinity.behind(partial(start_dispatcher, app, self._settings))
        return app


def _settled(settings: Settings, made: Flask | None) -> Flask:
    if made is not None:
        reopen(made)
    app = made or create_app(settings)
    garbage.settle()
    return app


def reachable(settings: Settings, *, port: int) -> Settings:
    """Return the settings with the served URL as the public one, unless the operator has set another."""
    if "public_url" in settings.explicit or settings.public_url != Settings().public_url:
        return settings
    return replace(settings, public_url=f"http://127.0.0.1:{port}")


def _app(settings: Settings) -> Flask:
    try:
        url = make_url(settings.database_url)
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            raise ConfigError("POSTROOM_DATABASE_URL means memory, which no other process can see.")
        return create_app(settings)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        # Not the URL: its password has no place in a message.
        raise ConfigError(f"POSTROOM_DATABASE_URL cannot be used: {error}.") from None
