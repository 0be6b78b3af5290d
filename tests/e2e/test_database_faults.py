"""A database in trouble under a server that sends: 503 and no untrue word; once mended, everything goes on."""

import resource
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import pytest

from tests.e2e.server import PATIENCE, Server
from tests.e2e.test_delivery import message, path_of, post_all, wait_for_command
from tests.relay.actions import delay
from tests.relay.script import Rule

TABLES = ("notifications", "deliveries", "dispatchers", "api_keys", "transports")


def database(server):
    return server.directory / "var" / "postroom.db"


@contextmanager
def connected(server):
    with closing(sqlite3.connect(database(server), isolation_level=None, timeout=PATIENCE)) as connection:
        yield connection


@contextmanager
def locked(server):
    """Another program holds the write lock."""
    with connected(server) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def full(server):
    """The system lets no file grow beyond a few octets, for each of the server's processes."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in server.processes()}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@contextmanager
def damaged(server):
    """All pages but the first are nonsense, and the server is made to read them again."""
    with connected(server) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("BEGIN IMMEDIATE")
        path = database(server)
        whole = path.read_bytes()
        # In its place: another file would be another lock. What SQLite keeps in memory is old after a write.
        connection.execute("PRAGMA user_version=1")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (len(whole) - 4096))
        connection.execute("COMMIT")
        try:
            yield
        finally:
            connection.execute("BEGIN IMMEDIATE")
            with path.open("r+b") as file:
                file.write(whole)
            connection.execute("PRAGMA user_version=0")
            connection.execute("COMMIT")


@contextmanager
def without_tables(server):
    with connected(server) as connection:
        rename(connection, {name: f"lost_{name}" for name in TABLES})
        try:
            yield
        finally:
            rename(connection, {f"lost_{name}": name for name in TABLES})


def rename(connection, names):
    connection.execute("PRAGMA legacy_alter_table=ON")
    connection.execute("BEGIN IMMEDIATE")
    for old, new in names.items():
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    connection.execute("COMMIT")


def is_come_back_later(answer, path):
    assert answer.status == 503, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.body["status"] == 503
    assert answer.body["instance"] == path
    for inside in ("sqlite", "traceback", "select ", "insert ", "/var/"):
        assert inside not in str(answer.body).lower()
    return True


# While it cannot be written it can still be read; without its tables and its pages it cannot.
@pytest.mark.parametrize(
    ("fault", "readable"), [(locked, True), (full, True), (damaged, False), (without_tables, False)]
)
def test_a_database_in_trouble_is_told_and_the_mail_under_way_is_stored_once_it_is_mended(
    start, relay, fault, readable
):
    server = start(POSTROOM_SENDERS=1)
    relay.script(Rule("dot", delay(1.0)))
    paths = post_all(server, 2)
    wait_for_command(relay, "DATA")
    with fault(server):
        relay.wait_for(1, timeout=PATIENCE)
        # Who must write waits for the lock as long as the other does: both at once.
        with ThreadPoolExecutor() as pool:
            posted = pool.submit(server.post, "/v1/notifications", message(7))
            ready = pool.submit(server.get, "/readyz").result()
        assert is_come_back_later(posted.result(), "/v1/notifications")
        looked = server.get(paths[0])
        assert looked.status == 200 if readable else is_come_back_later(looked, paths[0])
        assert is_come_back_later(ready, "/readyz")
        assert ready.body["checks"]["database"]["ok"] is False
        assert server.get("/healthz").status == 200
    relay.script()
    server.wait_until_up()
    answer = server.post("/v1/notifications", message(8))
    assert answer.status == 202
    paths.append(path_of(answer.headers["Location"]))
    statuses = [server.wait_for_status(path, "sent") for path in paths]
    # Nothing of what was answered 503 was stored or sent, and nothing was sent twice.
    assert Counter(mail.message_id for mail in relay.messages()) == Counter(each["message_id"] for each in statuses)
    assert len(server.get("/v1/notifications").body["data"]) == len(paths)
    for status in statuses:
        [delivery] = status["deliveries"]
        assert (delivery["attempts"], len(delivery["history"])) == (1, 1)
        assert delivery["possible_duplicate"] is False
    assert server.get("/readyz").status == 200


def test_a_dispatcher_of_its_own_lives_through_a_database_in_trouble(start, relay):
    server = start(ready=False, POSTROOM_DISPATCH="none")
    dispatch = start("dispatch")
    server.wait_until_up()
    with without_tables(server):
        # It asks every half second, and says once that it cannot.
        dispatch.wait_for_line("ERROR api")
    [path] = post_all(server, 1)
    server.wait_for_status(path, "sent")
    assert len(relay.messages()) == 1
    assert "Traceback" not in dispatch.log()
    assert dispatch.stop() == 0


COMMANDS = [("serve",), ("dev", "--smtp-port", "0"), ("dispatch",)]


def newer(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
        connection.commit()


def no_database(path):
    path.write_text("Dear diary, " * 1000)


@pytest.mark.parametrize(("spoil", "told"), [(newer, "newer version"), (no_database, "file is not a database")])
def test_a_database_that_cannot_be_used_ends_every_command_with_one_sentence(tmp_path, spoil, told):
    servers = [Server(tmp_path / command[0], *command) for command in COMMANDS]
    for server in servers:
        database(server).parent.mkdir()
        spoil(database(server))
        server.launch()
    for server in servers:
        assert server.wait() == 1
        [line] = server.log().splitlines()
        assert line.startswith("Error: ")
        assert told in line
        assert str(database(server).parent) in line


def test_a_restart_sends_what_could_not_be_stored_as_sent_no_second_time(start, relay):
    server = start(POSTROOM_SENDERS=1, POSTROOM_GRACE=1)
    relay.script(Rule("dot", delay(1.0)))
    [path] = post_all(server, 1)
    wait_for_command(relay, "DATA")
    with full(server):
        relay.wait_for(1, timeout=PATIENCE)
        assert server.stop() == 0
    server.start()
    [delivery] = server.wait_for_status(path, "sent")["deliveries"]
    assert (delivery["attempts"], delivery["possible_duplicate"]) == (1, False)
    assert len(relay.messages()) == 1
