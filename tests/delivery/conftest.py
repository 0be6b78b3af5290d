"""What the delivery tests share: a relay that misbehaves on demand, and transports that know it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from api.delivery.sender import Sender
from api.delivery.smtp import Mail
from api.delivery.thread import DispatcherThread
from tests.delivery.given import mail_to
from tests.delivery.shared import SharedRelay
from tests.relay.process import Relay


@pytest.fixture(scope="session")
def shared_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRelay]:
    """The process behind `relay`."""
    with SharedRelay(tmp_path_factory.mktemp("shared")) as relay:
        yield relay


@pytest.fixture
def relay(shared_relay: SharedRelay) -> Relay:
    """A relay that behaves until it is told otherwise, and knows nothing of earlier tests; it may not be stopped."""
    shared_relay.begin()
    return shared_relay


@pytest.fixture
def post(relay: Relay) -> Callable[..., Mail]:
    """Make a transport to the relay, with other `MAIL_*` settings by their names."""

    def make(**config: Any) -> Mail:
        return mail_to(relay, **config)

    return make


@pytest.fixture
def sender(post: Callable[..., Mail]) -> Iterator[Sender]:
    """A sender that waits 5 s for a reply."""
    sender = Sender(post())
    yield sender
    sender.close()


@pytest.fixture
def dispatching(app: Flask) -> Iterator[DispatcherThread]:
    """A dispatcher thread that runs during the test."""
    running = DispatcherThread(app)
    app.extensions["postroom.nudge"] = running.nudge
    running.start()
    yield running
    running.stop()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until something holds; time only bounds the wait."""

    def until(holds: Callable[[], bool], *, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it never came to hold"
            time.sleep(0.02)

    return until
