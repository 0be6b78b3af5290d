"""SIGTERM under every server: what is under way ends, nothing else begins, and nobody gets a second copy."""

import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from tests.e2e.server import Server, make_key
from tests.e2e.test_delivery import post_all, wait_for_command
from tests.relay.actions import delay, hang
from tests.relay.script import Rule

#: Seconds that an end may take where nothing has to be waited for.
AT_ONCE = 10


class Gunicorn(Server):
    """The WSGI entry under gunicorn, on a database that is there already."""

    program = (sys.executable, "-m", "gunicorn")

    def start(self, *, ready=True):
        self.key = self.key or make_key(self.directory)
        return super().start(ready=ready)


@pytest.fixture
def gunicorn(tmp_path, relay):
    def gunicorn(**settings):
        command = ("api.wsgi:app", "-k", "gthread", "-w", "2", "--threads", "4", "--bind", "127.0.0.1:0")
        server = Gunicorn(tmp_path / "data", *command, MAIL_PORT=relay.port, **settings)
        servers.append(server)
        return server.start(ready=False)

    servers: list[Server] = []
    yield gunicorn
    for server in servers:
        server.kill()


@pytest.fixture
def begin(start, gunicorn):
    """Start one kind of process that dispatches, and whatever is needed to post mail; return both."""

    def begin(kind, **settings):
        if kind == "gunicorn":
            server = gunicorn(**settings)
            server.wait_until_up()
            return server, server
        if kind == "serve":
            server = start("serve", "--workers", "2", **settings)
            return server, server
        server = start(ready=False, POSTROOM_DISPATCH="none", **settings)
        dispatch = start("dispatch", **settings)
        server.wait_until_up()
        return server, dispatch

    return begin


def rows(server, query):
    with closing(sqlite3.connect(server.directory / "var" / "postroom.db")) as connection:
        return connection.execute(query).fetchall()


def dispatchers(server):
    return rows(server, "SELECT pid FROM dispatchers")


def journals(server):
    return list((server.directory / "var").glob("*.journal*"))


def sent_once(server, relay, paths):
    """Wait until all are sent; check that the relay took each once, and that the table says no more than that."""
    statuses = [server.wait_for_status(path, "sent") for path in paths]
    assert Counter(mail.message_id for mail in relay.messages()) == Counter(each["message_id"] for each in statuses)
    deliveries = [delivery for each in statuses for delivery in each["deliveries"]]
    assert {(one["attempts"], one["possible_duplicate"]) for one in deliveries} == {(1, False)}


@pytest.mark.parametrize("kind", ["serve", "gunicorn", "dispatch"])
def test_mail_at_its_final_dot_is_stored_as_sent_and_the_backlog_stays_as_it_was(begin, relay, kind):
    relay.script(Rule("dot", delay(1.5)))
    server, ended = begin(kind, POSTROOM_SENDERS=1)
    paths = post_all(server, 12)
    wait_for_command(relay, "DATA")
    for pid in reversed(ended.processes()):
        os.kill(pid, signal.SIGTERM)
    assert ended.wait() == 0
    under_way = len(relay.messages())
    assert 0 < under_way < len(paths)
    found = Counter(rows(server, "SELECT status, attempts, holder IS NULL FROM deliveries"))
    assert found == {("sent", 1, 1): under_way, ("queued", 0, 1): len(paths) - under_way}, ended.log()
    assert dispatchers(server) == []
    assert journals(server) == []
    relay.script()
    ended.start(ready=False)
    sent_once(server, relay, paths)
    begun = time.monotonic()
    assert ended.stop() == 0
    assert time.monotonic() - begun < AT_ONCE
    assert dispatchers(server) == []
    assert "Traceback" not in ended.log()


@pytest.mark.parametrize("kind", ["serve", "dispatch"])
def test_a_relay_that_hangs_at_the_dot_is_cut_off_and_the_mail_is_a_possible_duplicate(begin, relay, kind):
    relay.script(Rule("dot", hang()))
    server, ended = begin(kind, POSTROOM_GRACE=2)
    [path] = post_all(server, 1)
    wait_for_command(relay, "DATA")
    begun = time.monotonic()
    assert ended.stop() == 0
    assert 1.5 < time.monotonic() - begun < 2 + AT_ONCE
    assert dispatchers(server) == []
    assert journals(server) == []
    ended.start(ready=False)
    [delivery] = server.get(path).body["deliveries"]
    assert (delivery["status"], delivery["attempts"], delivery["possible_duplicate"]) == ("deferred", 1, True)
    assert [attempt["outcome"] for attempt in delivery["history"]] == ["unknown"]
    assert relay.messages() == []
