"""Where the time of one accept goes: `python -m benchmarks.steps`, a table in microseconds of CPU.

The WSGI app is called as a server does, by one thread, with and without cProfile; the shares of the profile are scaled
to the CPU time without it. One accept at a time shares its commit with nobody. The wait for the disk is in no figure.
"""

import cProfile
import io
import pstats
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from api.app import create_app
from api.config import Settings
from api.core import keys
from benchmarks import outbox
from benchmarks.letters import SENDER
from benchmarks.load import BODY
from schemas.vocabulary import Scope

_REQUESTS = 400
#: By label: the functions that have the whole of a step, as file and name.
_STEPS = {
    "key": [("auth.py", "authenticate")],
    "strict parse and rules": [("arguments.py", "body")],
    "check, render, freeze": [("drafts.py", "make"), ("recipients.py", "find"), ("recipients.py", "resolve")],
    "rows and transaction": [("notifications.py", "rows_of"), ("notifications.py", "_add")],
    "dump": [("idempotency.py", "write"), ("idempotency.py", "_response")],
}


def profiled(database: Path) -> list[tuple[str, float]]:
    with outbox.opened(database):
        _, key = keys.create(name="steps", scopes=[Scope.NOTIFICATIONS_WRITE])
    url = f"sqlite:///{database}"
    app = create_app(Settings(database_url=url, sender=SENDER, rate_limit="off", recipient_limit="off"))
    body = BODY.replace("NUMBER", "1").encode()
    answers = set()

    def ask() -> None:
        answer: Any = app(_environ(key, body), lambda status, _headers: answers.add(status))  # type: ignore[arg-type]
        b"".join(answer)

    for _ in range(_REQUESTS // 4):
        ask()
    used = time.process_time()
    for _ in range(_REQUESTS):
        ask()
    used = (time.process_time() - used) / _REQUESTS * 1e6
    profile = cProfile.Profile()
    profile.runcall(lambda: [ask() for _ in range(_REQUESTS)])
    assert len(answers) == 1, answers
    return _shares(profile, used)


def _shares(profile: cProfile.Profile, used: float) -> list[tuple[str, float]]:
    stats: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent = {(Path(file).name, name): total for (file, _, name), (_, _, _, total, _) in stats.items()}
    wait = spent.get(("~", "<method 'commit' of 'sqlite3.Connection' objects>"), 0.0)
    whole = spent["app.py", "wsgi_app"] - wait
    found = {label: sum(spent.get(one, 0.0) for one in steps) for label, steps in _STEPS.items()}
    found["rows and transaction"] -= wait
    found["Flask, hooks and headers"] = whole - sum(found.values())
    return [*((label, share / whole * used) for label, share in found.items()), ("together", used)]


def _environ(key: str, body: bytes) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v1/notifications",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": f"Bearer {key}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for label, micros in profiled(Path(folder) / "postroom.db"):
            print(f"| {label} | {micros:,.0f} |")


if __name__ == "__main__":
    main()
