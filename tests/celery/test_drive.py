"""Celery drives the dispatcher: the broker says when, and the outbox says what."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from celery import Celery  # type: ignore[import-untyped]

from tests.celery.stage import PATIENCE, Stage
from tests.e2e.server import environment
from tests.relay.actions import delay
from tests.relay.script import Rule

QUEUE = "postroom"


def call(stage: Stage, times: int) -> None:
    """Call for a pass so many times at once."""
    with Celery(broker=stage.broker.url) as client:
        for _ in range(times):
            client.send_task("postroom.dispatch", queue=QUEUE)


def test_mail_goes_out_by_a_worker_and_the_server_never_asks_the_broker(stage):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage = stage()
        stage.worker()
        stage.beat()
        server = stage.serve(POSTROOM_BROKER_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        answer = server.post("/v1/notifications", {"to": "m1@example.org", "subject": "Hello", "text": "Hi."})
        assert answer.status == 202
        stage.until(lambda: server.get(answer.headers["Location"]).body["status"] == "sent")
        # Beat has the periodic jobs done as well.
        stage.until(lambda: {"expire", "erase"} <= stage.store.jobs())

        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert [each.recipients for each in stage.relay.messages()] == [("m1@example.org",)]


def test_calls_that_come_many_times_at_once_send_each_mail_once(stage):
    stage = stage()
    stage.accept(60)
    workers = [stage.worker("--concurrency", "2"), stage.worker("--pool", "threads", "--concurrency", "4")]
    call(stage, 40)
    stage.until_sent()
    stage.until(lambda: stage.broker.waiting(QUEUE) == 0)
    assert stage.copies() == [1] * 60

    for worker in workers:
        worker.terminate()
    assert [worker.wait() for worker in workers] == [0, 0]
    assert stage.store.dispatching() == set()


def test_a_broker_that_is_gone_and_comes_back_empty_delays_mail_and_loses_none(stage):
    stage = stage()
    stage.worker()
    stage.beat()
    server = stage.serve()
    stage.accept(1)
    stage.until_sent()
    stage.broker.flush()
    stage.accept(1)
    stage.until_sent()

    stage.broker.stop()
    # Nobody is called, so nobody dispatches, and the server knows.
    stage.until(lambda: stage.store.dispatching() == set())
    stage.until(lambda: server.get("/readyz").status == 503)
    stage.accept(10)
    answer = server.post("/v1/notifications", {"to": "other@example.org", "subject": "Hello", "text": "Hi."})
    assert answer.status == 202
    assert stage.copies() == [1, 1] + [0] * 10

    stage.broker.start()
    stage.until_sent()
    stage.until(lambda: server.get(answer.headers["Location"]).body["status"] == "sent")
    assert stage.copies() == [1] * 12


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_that_is_told_to_end_ends_the_mail_under_way_and_gives_back_the_rest(stage, relay, pool):
    relay.script(Rule("dot", delay(1.5)))
    stage = stage(POSTROOM_SENDERS=1)
    stage.accept(12)
    worker = stage.worker("--pool", pool)
    stage.until(lambda: bool(worker.log()))
    call(stage, 1)
    stage.until(lambda: stage.store.held() > 0 and relay.concurrency() > 0)
    for pid in reversed(worker.processes()) if pool != "prefork" else [worker.pid]:
        os.kill(pid, signal.SIGTERM)
    assert worker.wait() == 0

    sent = sum(stage.copies())
    assert 0 < sent < 12
    assert stage.store.unfinished() == 12 - sent
    assert stage.store.held() == 0
    assert stage.store.dispatching() == set()
    assert list((stage.directory / "var").glob("*.journal*")) == []


def test_a_worker_whose_parent_is_killed_goes_on_with_nothing(stage):
    stage = stage()
    worker = stage.worker()
    stage.accept(1)
    call(stage, 1)
    stage.until_sent()
    [child] = [os.pidfd_open(pid) for pid in worker.workers()]
    worker.kill_parent()
    stage.accept(1)
    stage.until(lambda: not _runs(child))
    os.close(child)
    assert stage.copies() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param({}, "POSTROOM_BROKER_URL is missing", id="no broker"),
        pytest.param({"POSTROOM_BROKER_URL": "kafka://u:hush@there"}, "POSTROOM_BROKER_URL must begin", id="other"),
    ],
)
def test_what_keeps_a_worker_from_starting_is_told_in_one_sentence(tmp_path, settings, told):
    done = subprocess.run(
        [sys.executable, "-m", "celery", "--app", "api.celery_app", "worker"],
        cwd=tmp_path,
        env=environment(POSTROOM_SENDER="a@example.org", **settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert told in line
    assert "hush" not in line


def _runs(handle: int) -> bool:
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return False
    return True
