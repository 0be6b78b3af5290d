"""One data directory, a relay and a broker: workers, beat and servers are started on it as a test needs them."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from api.app import create_app
from api.config import Settings
from api.core import migrations, notifications
from api.core.claim import Address
from api.core.db import close
from api.core.models import ApiKey
from schemas.vocabulary import Mode
from tests.broker import Broker
from tests.crash.fleet import Managed
from tests.crash.load import recipient
from tests.crash.store import Store
from tests.relay.process import Relay

#: Seconds for what a machine with other things to do may take.
PATIENCE = 120.0
#: Every worker does all that a pass has to do, and then lets go, so that without calls nothing is sent.
RUNNER = (sys.executable, "-m", "tests.crash.runner", "--set", "api.delivery.shift:LINGER_SECONDS=0", "--")


class Stage:
    """The processes of one deployment; inside `with`."""

    def __init__(self, directory: Path, relay: Relay, broker: Broker, **settings: object) -> None:
        self.directory = directory
        self.directory.mkdir()
        self.relay, self.broker = relay, broker
        self.store = Store(f"sqlite:///{directory}/var/postroom.db")
        self._settings = {
            "POSTROOM_SENDER": "Postroom <postroom@example.org>",
            "POSTROOM_DISPATCH": "celery",
            "MAIL_SERVER": relay.host,
            "MAIL_PORT": relay.port,
        } | settings
        self._accepted = 0
        self._started: list[Managed] = []
        database = f"sqlite:///{directory}/var/postroom.db"
        self.app = create_app(Settings(database_url=database, sender="Postroom <postroom@example.org>"))
        with self.app.app_context():
            migrations.upgrade()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            error.add_note(self.logs())
        for process in self._started:
            process.kill()
        close(self.app)

    def accept(self, count: int) -> None:
        """Accept so many messages, as a request does."""
        with self.app.app_context():
            for _ in range(count):
                self._accepted += 1
                notifications.accept(
                    key=ApiKey(mode=Mode.LIVE), to=[Address(recipient(self._accepted))], subject="Hello", text="Hi.\n"
                )

    def beat(self) -> Managed:
        """Start beat."""
        return self._start("celery", "beat")

    def worker(self, *options: str) -> Managed:
        """Start a worker, of one process unless told otherwise."""
        name = f"worker-{len(self._started)}@localhost"
        return self._start("celery", "worker", "--concurrency", "1", "--hostname", name, *options)

    def serve(self, **settings: object) -> Managed:
        """Start a server, which answers when this returns."""
        server = Managed(self.directory, "serve", **(self._settings | settings))
        self._started.append(server)
        server.start(ready=False)
        return server

    def copies(self) -> list[int]:
        """Return how many copies of each accepted message the relay has."""
        arrived = [each for message in self.relay.messages() for each in message.recipients]
        return [arrived.count(recipient(number)) for number in range(1, self._accepted + 1)]

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; time only bounds the wait."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.02)

    def until_sent(self) -> None:
        """Wait until every accepted message is finished and at the relay."""
        self.until(lambda: self.store.unfinished() == 0 and 0 not in self.copies())

    def logs(self) -> str:
        """Return what the processes have said."""
        return "\n".join(process.log() for process in self._started)

    def _start(self, *command: str) -> Managed:
        process = Managed(self.directory, *command, POSTROOM_BROKER_URL=self.broker.url, **self._settings)
        process.program = RUNNER
        self._started.append(process)
        process.launch()
        return process
