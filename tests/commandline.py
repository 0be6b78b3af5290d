"""What the tests of the command line share: to run a command here, and to look at what it left."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from click.testing import CliRunner, Result
from flask import Flask

from api import config
from api.app import create_app
from api.cli import cli
from api.core import migrations
from api.core.db import close


def run(*arguments: str, **settings: str) -> Result:
    """Run `postroom` with these arguments and settings in this process and the current directory."""
    # A command that kept its process to one processor would keep all tests after it there.
    return CliRunner().invoke(cli, arguments, env={"POSTROOM_AFFINITY": "all"} | settings, catch_exceptions=False)


def refusal(*arguments: str, status: int = 1, **settings: str) -> str:
    """Return the one line that a command that must fail leaves on stderr."""
    result = run(*arguments, **settings)
    assert result.exit_code == status
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    return line


@contextmanager
def stored() -> Iterator[Flask]:
    """Give the app on the database that commands leave in the current directory, in its context."""
    app = create_app(config.read())
    with app.app_context():
        migrations.upgrade()
        yield app
    close(app)


def busy_port() -> socket.socket:
    """Return a socket that listens on loopback."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken
