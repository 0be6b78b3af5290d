"""One app for all tests of a file: what is refused leaves nothing behind, and the tables are long."""

from collections.abc import Iterator

import pytest
from flask import Flask

from api.app import create_app
from api.config import Settings
from api.core.db import Base, close, db


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An app with its tables, inside its context."""
    folder = tmp_path_factory.mktemp("bad_input")
    app = create_app(Settings(database_url=f"sqlite:///{folder}/postroom.db", sender="Postroom <postroom@example.org>"))
    with app.app_context():
        Base.metadata.create_all(db.engine)
        yield app
    close(app)
