"""Reading and writing when all connections of a process are in use."""

import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, select

from api.core import dispatchers
from api.core.db import db, transact
from api.core.models import Dispatcher

#: Connections that a process may have: what is kept, and on SQLite what is opened beyond it.
ALL = {"sqlite": 30, "postgresql": 20}


def test_those_who_read_by_all_the_connections_can_write_all_the_same(app, database, count):
    everybody = threading.Barrier(ALL[database], timeout=30)

    def read_and_write(_):
        with app.app_context():
            db.session.scalar(select(func.count()).select_from(Dispatcher))
            everybody.wait()
            return transact(dispatchers.register)

    with ThreadPoolExecutor(ALL[database]) as threads:
        list(threads.map(read_and_write, range(ALL[database])))
    assert count(Dispatcher) == ALL[database]


def test_what_was_read_before_a_write_is_still_to_be_read_from_after_it(app, accept):
    notification = accept()
    again = db.session.merge(notification)
    transact(dispatchers.register)
    assert (again.subject, [one.recipient for one in again.deliveries]) == ("[Postroom] Hello", ["ann@example.org"])
