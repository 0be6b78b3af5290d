"""Real processes on a PostgreSQL that goes away and comes back."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.e2e.server import PATIENCE, environment
from tests.postgresql.server import Server as Postgresql
from tests.relay.actions import hang
from tests.relay.script import Rule


@pytest.fixture
def own():
    """A server that this test may stop."""
    with Postgresql() as server:
        yield server


def message(number: int) -> dict[str, str]:
    return {"to": f"m{number}@example.org", "subject": f"Message {number}", "text": "Good day.\n"}


def unready(server) -> dict[str, dict[str, object]]:
    """Return the checks of `/readyz` once it says 503."""
    deadline = time.monotonic() + PATIENCE
    while (answer := server.get("/readyz")).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status == 503
    return dict(answer.body["checks"])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_mail_is_sent_once_when_the_database_was_away_in_the_middle(start, relay, own, how):
    url = own.create("postroom")
    relay.script(Rule("after_dot", hang(), times=2))
    server = start("serve", POSTROOM_DATABASE_URL=url, POSTROOM_RETRY_FIRST=0.5, POSTROOM_RETRY_MAX=1)
    accepted = [server.post("/v1/notifications", message(number)).headers["Location"] for number in range(12)]
    deadline = time.monotonic() + PATIENCE
    while len(relay.messages()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    own.stop(how)
    refused = server.post("/v1/notifications", message(100))
    assert (refused.status, refused.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(refused.headers["Retry-After"]) > 0
    assert server.get("/v1/notifications").status == 503
    assert server.get("/healthz").status == 200
    assert not unready(server)["database"]["ok"]
    relay.disconnect()

    own.start()
    server.wait_until_up("/readyz")
    accepted.append(server.post("/v1/notifications", message(12)).headers["Location"])
    found = [server.wait_for_status(path, "sent") for path in accepted]
    copies = Counter(each for one in relay.messages() for each in one.recipients)
    assert set(copies) == {f"m{number}@example.org" for number in range(13)}
    for one in found:
        [delivery] = one["deliveries"]
        # The two whose connection was lost after the final dot may have been sent twice, and say so.
        assert copies[delivery["recipient"]] == 1 or delivery["possible_duplicate"]
    assert sum(copies.values()) <= 15


def test_what_was_sent_stays_sent_when_the_database_crashes_the_next_moment(start, relay, own):
    server = start("serve", POSTROOM_DATABASE_URL=own.create("postroom"))
    paths = []
    for number in range(3):
        paths.append(server.post("/v1/notifications", message(number)).headers["Location"])
        server.wait_for_status(paths[-1], "sent")
        own.stop(signal.SIGQUIT)
        own.start()
        server.wait_until_up("/readyz")
    assert [server.wait_for_status(path, "sent")["deliveries"][0]["attempts"] for path in paths] == [1, 1, 1]
    assert len(relay.messages()) == 3


def test_a_dispatcher_whose_connections_are_cut_again_and_again_sends_everything_once(start, relay, own):
    url = own.create("postroom")
    server = start("serve", POSTROOM_DATABASE_URL=url)
    paths = []
    for number in range(30):
        answer = server.post("/v1/notifications", message(number))
        assert answer.status in (202, 503)
        if answer.status == 202:
            paths.append(answer.headers["Location"])
        if number % 5 == 4:
            own.hang_up("postroom")
    for path in paths:
        server.wait_for_status(path, "sent")
    copies = Counter(each for one in relay.messages() for each in one.recipients)
    assert set(copies.values()) == {1}
    assert len(copies) >= len(paths) > 20


@pytest.mark.parametrize("command", ["serve", "dispatch"])
def test_a_server_that_is_not_there_is_told_in_one_line_at_the_start(tmp_path, command):
    settings = {
        "POSTROOM_DATABASE_URL": f"postgresql://postgres:secret@/postroom?host={tmp_path}",
        "POSTROOM_SENDER": "a@example.org",
    }
    arguments = [command, *(["--port", "0"] if command == "serve" else [])]
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: The database postgresql://postgres:***@/postroom")
    assert "secret" not in line


def test_servers_that_start_at_once_make_the_tables_once(tmp_path, postgresql):
    url = postgresql.create("at_once")
    running = []
    for number in range(3):
        directory = tmp_path / str(number)
        directory.mkdir()
        settings = {"POSTROOM_DATABASE_URL": url, "POSTROOM_SENDER": "a@example.org", "POSTROOM_DISPATCH": "none"}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve", "--port", "0"],
                cwd=directory,
                env=environment(**settings),
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    try:
        for process in running:
            assert process.stdout is not None
            assert "serves http://" in process.stdout.readline()
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()
    with postgresql.connect("at_once") as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchall() == [(1,)]
