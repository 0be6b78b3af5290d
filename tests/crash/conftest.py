"""What the crash tests share: a relay, and a scene whose processes are gone when the test is over."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.scene import Scene
from tests.relay.process import Relay


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay of this test alone, which behaves until it is told otherwise."""
    with Relay(tmp_path, log_level="counts") as relay:
        yield relay


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, relay: Relay, database: str
) -> Iterator[Callable[..., Scene]]:
    """Set a scene with so many messages accepted."""
    url: str | None = request.getfixturevalue("database_url") if database == "postgresql" else None
    with ExitStack() as stack:

        def scene(messages: int, *, senders: int = 1) -> Scene:
            made = Scene(tmp_path, relay, senders=senders, database_url=url)
            stack.callback(made.close)
            made.accept(messages)
            return made

        yield scene
