"""What is searched for is found by an index, also by one that holds only what the column says anything about."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Select, select
from sqlalchemy.dialects import postgresql, sqlite

from api.core.db import db
from api.core.models import Notification

COLUMNS = {"batch_id": uuid4(), "template_name": "welcome", "user_id": uuid4()}


def plan(query: Select[Any]) -> str:
    """Return how the database goes about a query, as it is asked with bound parameters."""
    with db.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            text = str(query.compile(dialect=sqlite.dialect()))
            return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("",)).all())
        connection.exec_driver_sql("SET enable_seqscan = off")  # of few rows it would read all
        text = str(query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))
        return str(connection.exec_driver_sql(f"EXPLAIN {text}").all())


@pytest.mark.parametrize("column", COLUMNS)
def test_notifications_are_found_by_what_few_of_them_have(app, column):
    query = select(Notification.subject).where(getattr(Notification, column) == COLUMNS[column])
    assert f"ix_notifications_{column} " in plan(query)


@pytest.mark.sqlite
def test_a_leaving_users_notifications_are_found_by_their_index(app):
    with db.engine.connect() as connection:
        read = connection.exec_driver_sql("EXPLAIN DELETE FROM users WHERE id = ''").all()
        root = connection.exec_driver_sql(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_notifications_user_id'"
        ).scalar()
    assert root in [step.p2 for step in read if step.opcode == "OpenRead"]
