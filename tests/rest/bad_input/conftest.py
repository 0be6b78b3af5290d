"""One app for all tests of a file: what is refused leaves nothing behind, and the tables are long."""

import shutil
from collections.abc import Iterator

import pytest
from flask import Flask

from api.app import create_app
from api.config import Settings
from api.core.db import close
from tests.postgresql.lent import Lent


@pytest.fixture(scope="module")
def app(request: pytest.FixtureRequest, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An app with its tables, inside its context."""
    if database == "postgresql":
        lent: Lent = request.getfixturevalue("lent")
        url = lent.empty()
    else:
        path = tmp_path_factory.mktemp("bad_input") / "postroom.db"
        shutil.copy(request.getfixturevalue("tables"), path)
        url = f"sqlite:///{path}"
    app = create_app(Settings(database_url=url, sender="Postroom <postroom@example.org>"))
    with app.app_context():
        yield app
    close(app)
