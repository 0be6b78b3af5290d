import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from flask import Flask
from sqlalchemy import event, inspect

from api import paths
from api.core import db as database
from api.core import migrations
from api.core.db import db
from api.core.migrations import SchemaError, Standing
from api.core.models import ApiKey


def app_on(path: Path) -> Flask:
    app = Flask("test")
    url = f"sqlite:///{path}"
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=database.engine_options(url))
    database.configure(app)
    migrations.configure(app, paths.share("migrations"))
    return app


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "postroom.db"


@pytest.fixture
def app(path):
    app = app_on(path)
    with app.app_context():
        yield app
    database.close(app)


def tables() -> set[str]:
    return set(inspect(db.engine).get_table_names())


def set_revision(path: Path, revision: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


def refusal(path: Path) -> str:
    app = app_on(path)
    with app.app_context(), pytest.raises(SchemaError) as caught:
        migrations.upgrade()
    database.close(app)
    return str(caught.value)


def test_the_first_upgrade_makes_the_folder_the_file_and_the_tables(app, path):
    assert not path.parent.exists()
    migrations.upgrade()
    assert {"users", "notifications", "deliveries", "api_keys"} < tables()
    assert migrations.state().standing is Standing.CURRENT


def follow_the_revisions(app: Flask) -> None:
    """Do what an upgrade does, but never at once."""
    with migrations.transaction() as connection:
        config = app.extensions["migrate"].migrate.get_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def test_the_revisions_make_exactly_the_tables_of_the_models(app, path):
    path.parent.mkdir()
    follow_the_revisions(app)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": _compare_lengths})
        assert compare_metadata(context, ApiKey.metadata) == []


def _compare_lengths(_context, _found_column, _column, found, wanted):
    length = getattr(wanted, "length", None)
    return length is not None and getattr(found, "length", None) != length


def test_an_upgrade_of_a_current_database_changes_nothing(app, path):
    migrations.upgrade()
    db.engine.dispose()
    before = path.read_bytes()
    migrations.upgrade()
    db.engine.dispose()
    assert path.read_bytes() == before


def test_the_revisions_can_be_taken_back_one_by_one(app):
    migrations.upgrade()
    with migrations.transaction() as connection:
        config = app.extensions["migrate"].migrate.get_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert tables() == {"alembic_version"}
    migrations.upgrade()
    assert "deliveries" in tables()


def test_an_upgrade_keeps_the_logging_as_it_was(app):
    root = logging.getLogger()
    before = (root.level, root.handlers[:], root.manager.disable)
    ours = logging.getLogger("postroom.test")
    migrations.upgrade()
    assert (root.level, root.handlers, root.manager.disable) == before
    assert not ours.disabled


def test_an_upgrade_that_fails_halfway_leaves_nothing_behind(app, tmp_path):
    migrations.upgrade()
    before, revision = tables(), migrations.state().head
    folder = tmp_path / "revisions"
    shutil.copytree(paths.share("migrations"), folder)
    body = (
        "from alembic import op\nimport sqlalchemy as sa\n"
        "def upgrade():\n"
        "    op.create_table('halves', sa.Column('id', sa.Integer()))\n"
        "    op.execute('INSERT INTO nowhere VALUES (1)')\n"
    )
    (folder / "versions" / "9999_never.py").write_text(f"revision, down_revision = '9999', '{revision}'\n" + body)
    migrations.configure(app, folder)
    with pytest.raises(SchemaError, match="cannot be used: no such table: nowhere"):
        migrations.upgrade()
    assert tables() == before
    assert migrations.state().current == revision


def test_a_first_upgrade_that_fails_halfway_leaves_nothing_behind(app):
    @event.listens_for(db.metadata, "after_create")
    def fail(_metadata, connection, **_options):
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(SchemaError, match="cannot be used: no such table: nowhere"):
        migrations.upgrade()
    event.remove(db.metadata, "after_create", fail)
    assert tables() == set()


def test_foreign_keys_are_off_while_tables_are_made_anew_and_on_afterwards(app):
    migrations.upgrade()
    with migrations.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
    with db.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_threads_that_upgrade_at_once_all_find_it_done(app):
    def upgrade(_number: int) -> Standing:
        with app.app_context():
            migrations.upgrade()
            return migrations.state().standing

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(upgrade, range(8))) == [Standing.CURRENT] * 8


def test_processes_that_upgrade_at_once_all_find_it_done(path):
    program = (
        "import sys; from pathlib import Path; from tests.core.test_migrations import app_on, migrations\n"
        "with app_on(Path(sys.argv[1])).app_context(): migrations.upgrade(); print(migrations.state().standing)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["current"] * 3


def test_a_database_of_a_newer_version_is_refused_by_name(app, path):
    migrations.upgrade()
    set_revision(path, "9000")
    assert migrations.state().standing is Standing.AHEAD
    assert refusal(path) == (
        f"The database {path} was written by a newer version of Postroom (its schema is 9000, this version knows 0002)."
    )


def test_a_database_of_an_unknown_version_is_refused_by_name(app, path):
    migrations.upgrade()
    set_revision(path, "a1b2c3")
    assert refusal(path) == f"The database {path} is not one that Postroom made: it holds schema a1b2c3."


def test_somebody_elses_database_is_refused_and_keeps_every_byte(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = path.read_bytes()
    assert str(path) in refusal(path)
    assert path.read_bytes() == before  # to the last byte of its header


def test_a_database_of_ours_that_was_copied_without_its_log_is_written_ahead_again(app, path):
    migrations.upgrade()
    db.engine.dispose()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    connection.close()
    with db.engine.connect() as ours:
        assert ours.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.parent.mkdir()
    path.write_text("Dear diary, " * 200)
    assert refusal(path) == f"The database {path} cannot be used: file is not a database."
    assert path.read_text() == "Dear diary, " * 200


def test_a_damaged_database_is_refused_by_name(app, path):
    migrations.upgrade()
    db.engine.dispose()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    assert refusal(path) == f"The database {path} cannot be used: database disk image is malformed."


def test_a_directory_in_the_databases_place_is_refused_by_name(path):
    path.mkdir(parents=True)
    assert refusal(path) == f"The database {path} cannot be used: unable to open database file."


def test_a_directory_that_cannot_be_made_is_refused_by_name(tmp_path):
    (tmp_path / "var").write_text("in the way")
    path = tmp_path / "var" / "deeper" / "postroom.db"
    assert refusal(path) == f"The directory {path.parent} cannot be written: Not a directory."


def test_a_directory_that_cannot_be_written_is_refused_by_name():
    assert refusal(Path("/proc/postroom.db")) == "The directory /proc cannot be written: No such file or directory."


def test_a_database_that_somebody_else_is_changing_is_waited_for(app, path):
    path.parent.mkdir()
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("PRAGMA journal_mode=WAL")
    holder.execute("BEGIN IMMEDIATE")
    begun = threading.Event()

    def upgrade() -> None:
        with app.app_context():
            begun.set()
            migrations.upgrade()

    thread = threading.Thread(target=upgrade)
    thread.start()
    begun.wait(10)
    thread.join(0.3)
    assert thread.is_alive()
    holder.execute("ROLLBACK")
    holder.close()
    thread.join(30)
    assert not thread.is_alive()
    assert migrations.state().standing is Standing.CURRENT
