"""What the tests of the Celery drive share: a broker, a relay, and one data directory with real processes on it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.celery.stage import Stage
from tests.relay.process import Relay


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test alone."""
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay of this test alone, which behaves until it is told otherwise."""
    with Relay(tmp_path, log_level="counts") as relay:
        yield relay


@pytest.fixture
def stage(tmp_path: Path, relay: Relay, broker: Broker) -> Iterator[Callable[..., Stage]]:
    """Set a stage: a database, and what shall run on it; it is gone when the test is over."""
    with ExitStack() as stack:

        def stage(**settings: object) -> Stage:
            return stack.enter_context(Stage(tmp_path / "data", relay, broker, **settings))

        yield stage
