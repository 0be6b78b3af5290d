"""One data directory, a relay and messages in the outbox: where processes are made to end at exact points."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from api.app import create_app
from api.config import Settings
from api.core import migrations, notifications, search
from api.core.claim import Address
from api.core.db import close
from api.core.models import ApiKey
from api.delivery.dispatch import Dispatcher, DispatchSettings
from schemas.vocabulary import DeliveryStatus, Mode
from tests.crash.fleet import Managed
from tests.crash.load import recipient
from tests.crash.store import Store
from tests.e2e.server import PATIENCE, environment
from tests.relay.process import Relay

_RUNNER = (sys.executable, "-m", "tests.crash.runner")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message."""

    status: DeliveryStatus
    copies: int
    possible_duplicate: bool
    attempts: int


class Scene:
    """An outbox and those that work on it. `senders` is how many connections each of them may open."""

    def __init__(self, directory: Path, relay: Relay, *, senders: int = 1, database_url: str | None = None) -> None:
        self.relay = relay
        self.directory = directory / "data"
        self.directory.mkdir()
        self.mark = directory / "struck"
        url = database_url or f"sqlite:///{self.directory}/var/postroom.db"
        self.store = Store(url)
        self._settings = {
            "POSTROOM_DATABASE_URL": url,
            "POSTROOM_SENDER": "Postroom <postroom@example.org>",
            "POSTROOM_SENDERS": senders,
            "POSTROOM_RETRY_FIRST": 0.2,
            "POSTROOM_RETRY_MAX": 1,
            "POSTROOM_RELAY_PROBE_FIRST": 0.2,
            "POSTROOM_RELAY_PROBE_MAX": 0.5,
            "MAIL_SERVER": relay.host,
            "MAIL_PORT": relay.port,
        }
        self.app = create_app(
            Settings(
                database_url=url,
                sender="Postroom <postroom@example.org>",
                senders=senders,
                mail_server=relay.host,
                mail_port=relay.port,
            )
        )
        # Of the processes' own, which run in that directory.
        dispatch: DispatchSettings = self.app.extensions["postroom.dispatch"]
        self.app.extensions["postroom.dispatch"] = replace(dispatch, journals=self.directory / "var")
        with self.app.app_context():
            migrations.upgrade()
        self._started: list[Managed] = []

    def close(self) -> None:
        """End what was started."""
        for process in self._started:
            process.kill()
        close(self.app)

    def accept(self, count: int) -> None:
        """Accept so many messages, numbered from 1, as a request does."""
        with self.app.app_context():
            for number in range(1, count + 1):
                notifications.accept(
                    key=_reader(), to=[Address(recipient(number))], subject=f"Message {number}", text="Good day.\n"
                )

    def dispatch(self, *options: str) -> int:
        """Run `postroom dispatch --once` with the runner's options to its end; return the exit status."""
        command = [*_RUNNER, "--mark", str(self.mark), *options, "--", "dispatch", "--once"]
        return subprocess.run(
            command, cwd=self.directory, env=environment(**self._settings), timeout=PATIENCE, check=False
        ).returncode

    def killed(self, *points: str) -> bool:
        """Run the dispatcher until it kills itself at a point; tell whether it did."""
        self.mark.unlink(missing_ok=True)
        return self.dispatch(*(option for point in points for option in ("--kill", point))) == -signal.SIGKILL

    def recover(self) -> None:
        """Dispatch until nothing is due, in this process, which no option has touched."""
        Dispatcher(self.app).run_until_idle()

    def start(self, *command: str, options: Sequence[str] = (), **settings: object) -> Managed:
        """Start a command with the runner's options; it is gone when the test is over."""
        process = Managed(self.directory, *command, **(self._settings | settings))
        process.program = (*_RUNNER, "--mark", str(self.mark), *options, "--")
        self._started.append(process)
        process.start(ready=False)
        return process

    def outcomes(self) -> dict[int, Outcome]:
        """Return what became of each message, by its number."""
        copies = Counter(each for message in self.relay.messages() for each in message.recipients)
        found = {}
        with self.app.app_context():
            for notification in search.find(key=_reader(), limit=100).data:
                for one in notification.deliveries:
                    number = int(one.recipient.removeprefix("m").partition("@")[0])
                    found[number] = Outcome(one.status, copies[one.recipient], one.possible_duplicate, one.attempts)
        return found

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something holds; time only bounds the wait."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "\n".join(process.log() for process in self._started)
            time.sleep(0.02)


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _reader() -> ApiKey:
    return ApiKey(mode=Mode.LIVE)
