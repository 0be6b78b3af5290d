"""Cutting connections that send too slowly: real ones, as the kernel sees them."""

import fcntl
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.laggards import Laggards

#: Seconds for what should take less than one.
PATIENCE = 30


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def connect(listener):
    """Connect to the listener; return the client's end and the server's."""
    with ExitStack() as stack:

        def connect():
            client = stack.enter_context(socket.create_connection(listener.getsockname(), timeout=PATIENCE))
            server = stack.enter_context(listener.accept()[0])
            return client, server

        yield connect


def laggards(listener, **settings):
    return Laggards(listener.getsockname()[1], **{"patience": 0.2, "rate": 1000, **settings})


def cut_in_the_end(found):
    """Look again and again until something is cut; return how many looks that took."""
    deadline = time.monotonic() + PATIENCE
    looks = 0
    while not found.cut():
        looks += 1
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return looks


def is_cut(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_silent_client_is_cut_once_its_time_is_over(listener, connect):
    client, server = connect()
    found = laggards(listener)
    begun = time.monotonic()
    cut_in_the_end(found)

    assert time.monotonic() - begun >= 0.1
    assert server.recv(1) == b""
    assert is_cut(client)


def test_a_dripping_client_is_cut(listener, connect):
    client, server = connect()
    found = laggards(listener)
    stop = threading.Event()

    def drip():
        while not stop.wait(0.01):
            try:
                client.send(b"x")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        cut_in_the_end(found)
    finally:
        stop.set()
        dripping.join()
    assert len(server.recv(100_000)) > 1


def test_what_keeps_to_the_rate_is_let_be_however_long_it_takes(listener, connect):
    client, server = connect()
    found = laggards(listener, patience=0.1, rate=1)
    for _ in range(100):
        client.send(b"x" * 1000)
        server.recv(1000)
        time.sleep(0.005)
        assert found.cut() == 0


def test_who_was_answered_lately_has_all_the_time_again(listener, connect):
    _, server = connect()
    found = laggards(listener, patience=10)
    for _ in range(5):
        server.send(b": still there\n\n")
        assert found.cut() == 0


def test_only_connections_to_the_port_are_looked_at(listener, connect):
    client, server = connect()
    other = Laggards(client.getsockname()[1] + 1 if client.getsockname()[1] < 65535 else 1, patience=0.0, rate=10**9)
    with socket.create_server(("127.0.0.1", 0)):
        for _ in range(3):
            assert other.cut() == 0
    server.send(b"y")
    assert client.recv(1) == b"y"


def test_looking_leaves_no_file_open(listener, connect):

    connect()
    found = laggards(listener, patience=1000)
    found.cut()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        found.cut()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_look_takes_no_lock_from_the_process(listener, connect, tmp_path):
    connect()
    path = tmp_path / "database"
    try_to_lock = f"import fcntl; fcntl.lockf(open({str(path)!r}, 'wb'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with path.open("wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        laggards(listener).cut()
        other = subprocess.run([sys.executable, "-c", try_to_lock], capture_output=True, text=True, check=False)
    assert "BlockingIOError" in other.stderr
