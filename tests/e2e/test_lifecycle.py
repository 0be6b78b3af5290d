import contextlib
import os
import signal
import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.server import PATIENCE, Server
from tests.e2e.test_delivery import path_of, post_all, wait_for_command
from tests.relay.actions import delay
from tests.relay.script import Rule


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while alive := [pid for pid in pids if _lives(pid)]:
        assert time.monotonic() < deadline, f"{alive} still run"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        # A zombie has ended; whoever is to collect it may be slow.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def refuses_connections(server: Server) -> bool:
    try:
        socket.create_connection((server.host, server.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("command", [("serve", "--workers", "2"), ("dev", "--smtp-port", "0")])
def test_an_idle_server_ends_at_once_on_sigterm_and_leaves_no_process(start, command):
    server = start(*command)
    processes = server.processes()
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 10
    wait_until_gone(processes)
    assert "Traceback" not in server.log()


def test_closing_the_terminal_ends_everything(start):
    server = start("dev", "--smtp-port", "0")
    processes = server.processes()
    os.kill(server.pid, signal.SIGHUP)
    assert server.wait() == 0
    wait_until_gone(processes)


@pytest.mark.parametrize("command", [("serve",), ("dev", "--smtp-port", "0")])
def test_ctrl_c_ends_everything_without_a_complaint(start, command):
    server = start(*command)
    processes, said = server.processes(), server.log()
    server.interrupt()
    assert server.wait() == 0
    wait_until_gone(processes)
    # Two threads of granian wait for a worker; the one that has not reaped it may take it for alive, and says so.
    later = [line for line in server.log().removeprefix(said).splitlines() if "refused to gracefully stop" not in line]
    assert later == []


@pytest.mark.parametrize("process", ["serve", "dispatch"])
def test_sigterm_lets_the_mail_under_way_end_and_takes_up_no_other(start, relay, process):
    relay.script(Rule("dot", delay(1.0)))
    server = start(ready=False, POSTROOM_SENDERS=2, POSTROOM_DISPATCH="thread" if process == "serve" else "none")
    ended = server if process == "serve" else start("dispatch", POSTROOM_SENDERS=2)
    paths = post_all(server, 8)
    wait_for_command(relay, "DATA")
    assert ended.stop() == 0
    said, under_way = ended.log(), relay.messages()
    assert 0 < len(under_way) < len(paths)
    relay.script()
    ended.start(ready=False)
    statuses = [server.wait_for_status(path, "sent") for path in paths]
    assert Counter(mail.message_id for mail in relay.messages()) == Counter(each["message_id"] for each in statuses)
    for status in statuses:
        [delivery] = status["deliveries"]
        assert (delivery["attempts"], delivery["possible_duplicate"]) == (1, False), f"{delivery}\n{said}"


def test_a_second_sigterm_changes_nothing(start, relay):
    relay.script(Rule("dot", delay(1.0)))
    server = start()
    [path] = post_all(server, 1)
    wait_for_command(relay, "DATA")
    for _ in range(3):
        for pid in server.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)
    assert server.wait() == 0
    assert len(relay.messages()) == 1
    relay.script()
    server.start()
    assert server.wait_for_status(path, "sent")["deliveries"][0]["attempts"] == 1
    assert len(relay.messages()) == 1


def test_a_relay_that_hangs_does_not_hold_up_the_end_beyond_the_grace_time(start, relay):
    relay.script(Rule("data", delay(PATIENCE * 2)))
    server = start(POSTROOM_GRACE=1)
    post_all(server, 1)
    wait_for_command(relay, "DATA")
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 20


def test_workers_end_by_themselves_when_their_parent_is_killed(start, relay):
    server = start("serve", "--workers", "2")
    workers = server.workers()
    assert len(workers) == 2
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    wait_until_gone(workers)
    assert refuses_connections(server)


def test_a_worker_that_is_killed_is_replaced_and_mail_goes_on(start, relay):
    server = start()
    [worker] = server.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until_gone([worker])
    server.wait_until_up()
    assert server.workers() != [worker]
    answer = server.post("/v1/notifications", {"to": "ann@example.org", "subject": "Still here", "text": "yes"})
    server.wait_for_status(path_of(answer.headers["Location"]), "sent")


def test_a_port_that_a_server_serves_from_is_refused_to_the_next(start, tmp_path):
    first = start()
    second = Server(tmp_path / "other", "serve", "--port", str(first.port))
    try:
        second.launch()
        assert second.wait() == 1
    finally:
        second.kill()
    told = f"Error: Port {first.port} on 127.0.0.1 cannot be used for HTTP: Address already in use.\n"
    assert second.log() == told
    assert first.get("/healthz").status == 200
