"""`postroom db copy`: from one kind of database to the other, whole or not at all."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, func, insert, select, text

from api.core import db as database
from api.core import dispatchers, transfer
from api.core.db import Base, transact
from api.core.models import Attempt
from tests.commandline import run
from tests.postgresql import everything
from tests.postgresql.lent import make_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def urls(database, database_url, lent, tmp_path):
    """The URL of a database of this kind, and of one of the other kind, both with the tables and empty."""
    if database == "sqlite":
        return database_url, lent.fresh("copied")
    other = f"sqlite:///{tmp_path}/copied.db"
    make_tables(other)
    return database_url, other


def engine(url: str) -> Engine:
    return create_engine(url, **(database.engine_options(url) if url.startswith("postgresql") else {}))


def held(url: str):
    opened = engine(url)
    try:
        return everything.held(opened)
    finally:
        opened.dispose()


def fill(url: str) -> None:
    opened = engine(url)
    everything.fill(opened)
    opened.dispose()


def copy(*urls: str, status: int = 0, options: tuple[str, ...] = ()) -> str:
    result = run("db", "copy", *urls, *options)
    assert result.exit_code == status, result.output
    return result.output


def test_a_copy_holds_the_same_in_every_table(urls):
    source, target = urls
    fill(source)
    before = held(source)
    assert all(len(rows) == everything.ROWS for rows in before.values())

    told = copy(source, target)

    assert held(target) == before == held(source)
    lines = [line.split()[:3] for line in told.splitlines()]
    assert ["attempts", str(everything.ROWS), "rows"] in lines


def test_a_copy_of_a_copy_adds_up_to_the_same(urls, lent):
    source, target = urls
    fill(source)
    sums = [line for line in copy(source, target).splitlines() if " rows " in line]
    back = lent.fresh("back")
    assert [line for line in copy(target, back).splitlines() if " rows " in line] == sums


def test_new_rows_find_free_numbers_behind_the_copied_ones(urls):
    source, target = urls
    fill(source)
    copy(source, target)
    opened = engine(target)
    with opened.begin() as connection:
        like = connection.execute(select(Attempt.__table__)).mappings().first()
        assert like is not None
        highest = connection.scalar(select(func.max(Attempt.id))) or 0
        connection.execute(insert(Attempt).values({name: value for name, value in like.items() if name != "id"}))
        assert (connection.scalar(select(func.max(Attempt.id))) or 0) > highest
    opened.dispose()


def test_a_target_that_holds_anything_is_left_as_it_is(urls):
    source, target = urls
    fill(source)
    fill(target)
    before = held(target)
    assert "not empty" in copy(source, target, status=1)
    assert held(target) == before


def test_a_source_of_another_schema_is_refused_and_not_touched(urls):
    source, target = urls
    opened = engine(source)
    with opened.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9000'"))
    assert "is at schema 9000" in copy(source, target, status=1)
    with opened.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    opened.dispose()
    assert "run `postroom db upgrade`" in copy(source, target, status=1)


def test_a_database_is_not_copied_into_itself(urls):
    source, _ = urls
    assert "same database" in copy(source, source, status=1)


def test_a_source_that_is_dispatched_from_is_copied_only_if_told(app, settings, urls):
    source, target = urls
    transact(dispatchers.register)
    assert "Dispatchers at work on the source: 1" in copy(source, target, status=1)
    assert all(rows == [] for rows in held(target).values())
    copy(source, target, options=("--dispatching",))
    assert len(held(target)["dispatchers"]) == 1


def test_what_is_written_meanwhile_is_not_copied_in_part(app, urls):
    opened = [engine(url) for url in urls]
    everything.fill(opened[0])
    before = everything.held(opened[0])

    def write(table: str, _rows: int) -> None:
        if table == Base.metadata.sorted_tables[0].name:
            transact(dispatchers.register)

    transfer.copy(opened[0], opened[1], write)

    assert everything.held(opened[1]) == before
    assert len(everything.held(opened[0])["dispatchers"]) == everything.ROWS + 1
    for each in opened:
        each.dispose()


def test_a_copy_that_is_not_the_same_is_taken_back(urls, monkeypatch):
    source, target = (engine(url) for url in urls)
    everything.fill(source)
    with target.begin() as connection:
        if target.dialect.name == "sqlite":
            connection.execute(text("CREATE TRIGGER t AFTER INSERT ON tags BEGIN DELETE FROM tags; END"))
        else:
            connection.execute(text("CREATE RULE t AS ON INSERT TO tags DO INSTEAD NOTHING"))
    with pytest.raises(transfer.TransferError, match="tags is not the same"):
        transfer.copy(source, target)
    assert all(rows == [] for rows in everything.held(target).values())
    for each in (source, target):
        each.dispose()


_KILLED = """
import os, signal, sys
from sqlalchemy import create_engine
from api.core import db, transfer

def engine(url):
    return create_engine(url, **(db.engine_options(url) if url.startswith("postgresql") else {}))

def tell(table, rows):
    if table == "deliveries":
        os.kill(os.getpid(), signal.SIGKILL)

transfer.copy(*map(engine, sys.argv[1:]), tell)
"""


def test_a_copy_that_was_killed_can_be_started_again(urls):
    source, target = urls
    fill(source)
    done = subprocess.run([sys.executable, "-c", _KILLED, *urls], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while any(held(target).values()):  # the server may not have noticed yet; rows that stay are found in the end
        assert time.monotonic() < deadline
    copy(source, target)
    assert held(target) == held(source)


def test_a_server_that_cannot_be_reached_is_told_in_one_line(urls, tmp_path):
    told = copy(urls[0], f"postgresql://postgres@/x?host={tmp_path}", status=1)
    assert told.startswith("Error: The database postgresql://postgres@/x")
    assert len(told.splitlines()) == 1
