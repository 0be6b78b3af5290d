"""What the end-to-end tests share: a relay, and servers that are gone when the test is over."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.server import Server
from tests.relay.process import Relay


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay of this test alone, which behaves until it is told otherwise."""
    with Relay(tmp_path) as relay:
        yield relay


@pytest.fixture
def start(tmp_path: Path, relay: Relay) -> Iterator[Callable[..., Server]]:
    """Start `postroom serve`, or another command, on the test's one data directory, with the relay as its relay."""
    with ExitStack() as stack:

        def start(*command: str, ready: bool = True, **settings: object) -> Server:
            quick = {"POSTROOM_RELAY_PROBE_FIRST": 0.2, "POSTROOM_RELAY_PROBE_MAX": 0.5, "MAIL_PORT": relay.port}
            server = Server(tmp_path / "data", *command, **(quick | settings))
            stack.callback(server.kill)
            server.start(ready=ready)
            return server

        yield start
