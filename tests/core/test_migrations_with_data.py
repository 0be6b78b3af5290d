"""The schema's revisions on a database that holds something, up and down, on each kind of database."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import create_engine, inspect

from api.app import create_app
from api.config import Settings
from api.core import migrations, tables
from api.core.db import close, db
from api.core.migrations import SchemaError, Standing
from tests.commandline import run
from tests.postgresql import everything


@pytest.fixture
def url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> str:
    """The URL of a database in which there is nothing at all."""
    if database == "postgresql":
        made: str = request.getfixturevalue("postgresql").create("bare")
        return made
    return f"sqlite:///{tmp_path}/postroom.db"


@pytest.fixture
def app(url: str) -> Iterator[Flask]:
    """An app on it."""
    app = create_app(Settings(database_url=url))
    with app.app_context():
        yield app
    close(app)


def revisions() -> list[str]:
    """Return the revisions, the newest first."""
    script = ScriptDirectory(str(Path(__file__).parents[2] / "migrations"))
    return [one.revision for one in script.walk_revisions()]


def kept(before: dict[str, list[dict[str, object]]], after: dict[str, list[dict[str, object]]]) -> None:
    """See that every row is there, with what it held in the columns that every revision has."""
    assert {name: len(rows) for name, rows in after.items()} == {name: len(rows) for name, rows in before.items()}
    for name, rows in before.items():
        for row, again in zip(rows, after[name], strict=True):
            lost = {column for column, value in row.items() if again[column] != value}
            assert lost <= NEWER.get(name, set())


#: Columns that the first revision does not have, by their table: what was in them is gone after a way down and up.
NEWER: dict[str, set[str]] = {}


def test_what_older_revisions_have_a_place_for_survives_the_way_down_and_up(app):
    migrations.upgrade()
    everything.fill(db.engine)
    before = everything.held(db.engine)
    for revision in revisions()[1:]:
        migrations.downgrade(revision)
        assert migrations.state().standing is Standing.BEHIND
    migrations.upgrade()
    kept(before, everything.held(db.engine))
    migrations.check()


def test_an_upgrade_of_a_current_database_changes_no_row(app):
    migrations.upgrade()
    everything.fill(db.engine)
    before = everything.held(db.engine)
    migrations.upgrade()
    assert everything.held(db.engine) == before


def test_the_way_to_the_base_removes_all_tables_with_what_they_hold_and_the_way_back_makes_them_anew(app):
    migrations.upgrade()
    everything.fill(db.engine)
    migrations.downgrade("base")
    assert set(inspect(db.engine).get_table_names()) == {"alembic_version"}
    assert migrations.state().standing is Standing.EMPTY
    migrations.upgrade()
    migrations.check()
    everything.fill(db.engine)


def test_tables_that_differ_from_their_schema_are_told(app):
    migrations.upgrade()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE tags ADD COLUMN extra INTEGER")
    with pytest.raises(SchemaError, match="extra"):
        migrations.check()


def test_a_revision_that_there_is_not_is_told_and_nothing_is_changed(app):
    migrations.upgrade()
    with pytest.raises(SchemaError, match="taken back to 4711"):
        migrations.downgrade("4711")
    migrations.check()


def described(url: str) -> dict[str, set[tuple[object, ...]]]:
    """Return all that a database has been told of its tables, and the revision."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {question: set(map(tuple, connection.exec_driver_sql(question))) for question in _ASKED[engine.name]}
    engine.dispose()
    return found


_ASKED = {
    "sqlite": ["SELECT type, name, tbl_name, sql FROM sqlite_master", "SELECT version_num FROM alembic_version"],
    "postgresql": [
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0",
        "SELECT table_name, ordinal_position, column_name, data_type, udt_name, character_maximum_length, is_nullable,"
        " column_default FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT version_num FROM alembic_version",
    ],
}


def test_an_empty_database_gets_at_once_what_the_revisions_make_one_after_the_other(app, url):
    with migrations.transaction() as connection:
        config = app.extensions["migrate"].migrate.get_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    followed = described(url)
    with migrations.transaction() as connection:
        tables.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    migrations.upgrade()
    assert described(url) == followed


def test_nothing_else_has_to_be_imported_for_all_tables_to_be_known():
    program = "from api.core import migrations, tables; print(*tables.metadata.tables)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert set(printed.split()) == set(tables.metadata.tables)


def test_a_database_is_made_without_alembic(url):
    program = (
        "import sys; from api.app import create_app; from api.config import Settings; from api.core import migrations\n"
        "with create_app(Settings(database_url=sys.argv[1])).app_context(): migrations.upgrade()\n"
        "print('alembic' in sys.modules)"
    )
    arguments = [sys.executable, "-c", program, url]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == "False\n"


def test_processes_that_upgrade_at_once_all_find_it_done(url):
    program = (
        "import sys; from api.app import create_app; from api.config import Settings; from api.core import migrations\n"
        "with create_app(Settings(database_url=sys.argv[1])).app_context():\n"
        "    migrations.upgrade(); print(migrations.state().standing)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([sys.executable, "-c", program, url], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["current"] * 3


class TestTheCommands:
    def test_upgrade_makes_the_tables_and_check_is_content(self, url):
        assert run("db", "check", POSTROOM_DATABASE_URL=url).exit_code == 1
        assert "is at schema" in run("db", "upgrade", POSTROOM_DATABASE_URL=url).stdout
        assert "as it should be" in run("db", "check", POSTROOM_DATABASE_URL=url).stdout

    def test_downgrade_asks_before_it_removes_anything(self, url):
        run("db", "upgrade", POSTROOM_DATABASE_URL=url)
        assert run("db", "downgrade", "base", POSTROOM_DATABASE_URL=url).exit_code == 1
        assert run("db", "check", POSTROOM_DATABASE_URL=url).exit_code == 0
        assert run("db", "downgrade", "base", "--yes", POSTROOM_DATABASE_URL=url).exit_code == 0
        assert run("db", "check", POSTROOM_DATABASE_URL=url).exit_code == 1
