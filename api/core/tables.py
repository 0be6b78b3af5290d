"""All tables of this version, and the mark of the revision that they are at, which is Alembic's.

An empty database gets them without Alembic, whose import takes longer than all the rest of a first start.
"""

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from api.core import batches, jobs, tokens  # noqa: F401 -- between them they import whatever has a table
from api.core.db import Base

metadata = Base.metadata
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def is_at(connection: Connection, revision: str) -> bool:
    """Tell whether the database says that it is at this revision."""
    if not connection.dialect.has_table(connection, _VERSION.name):
        return False
    return list(connection.scalars(select(_VERSION.c.version_num))) == [revision]


def is_taken(connection: Connection) -> bool:
    """Tell whether there are tables of ours, or of anybody where the database is one program's own."""
    tables = set(inspect(connection).get_table_names()) - {_VERSION.name}
    # A server's database may be shared; a file is one program's own.
    return bool(tables if connection.dialect.name == "sqlite" else tables & set(metadata.tables))


def is_empty(connection: Connection) -> bool:
    """Tell whether no revision has ever been applied, and nothing is in its way."""
    return not connection.dialect.has_table(connection, _VERSION.name) and not is_taken(connection)


def make(connection: Connection, revision: str) -> None:
    """Make all tables in an empty database, as the revisions up to this one would one after the other."""
    metadata.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=False)
    connection.execute(insert(_VERSION), {"version_num": revision})
