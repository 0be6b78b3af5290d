"""Where the time of one accept goes: `python -m benchmarks.steps`, a table in microseconds of CPU.

The WSGI app is called as a server does, by one thread, with and without cProfile; the shares of the profile are scaled
to the CPU time without it, the least of several hundreds of accepts. One accept at a time shares its commit with
nobody. The wait for the disk is in no figure. By turns the usual way and the express, which plain messages take.
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
from api.rest.express import Express
from benchmarks import outbox
from benchmarks.letters import SENDER
from benchmarks.load import BODY
from schemas.vocabulary import Scope

_REQUESTS = 400
#: Hundreds of which the fastest counts, in turns of the two ways.
_HUNDREDS, _TURNS = 4, 5
_PARSE = "strict parse and rules"
#: By label: the functions that have the whole of a step, as file and name.
_STEPS = {
    "key": [("auth.py", "authenticate"), ("keys.py", "recall")],
    _PARSE: [("arguments.py", "body"), ("strict_json.py", "parse"), ("loading.py", "load_at_once")],
    "check, render, freeze": [("drafts.py", "make"), ("recipients.py", "find"), ("recipients.py", "resolve")],
    "rows and transaction": [("notifications.py", "rows_of"), ("notifications.py", "_add")],
    "dump": [("idempotency.py", "write"), ("idempotency.py", "_response"), ("express.py", "_written")],
}


def profiled(database: Path) -> list[list[tuple[str, float]]]:
    """Return the steps of the usual way, and of the express."""
    with outbox.opened(database):
        _, key = keys.create(name="steps", scopes=[Scope.NOTIFICATIONS_WRITE])
    url = f"sqlite:///{database}"
    app = create_app(Settings(database_url=url, sender=SENDER, rate_limit="off", recipient_limit="off"))
    body = BODY.replace("NUMBER", "1").encode()
    answers = set()
    express = app.wsgi_app
    assert isinstance(express, Express)
    ways: list[Any] = [express._usual, express]
    least = [float("inf")] * len(ways)

    def ask(way: Any) -> None:
        answer = way(_environ(key, body), lambda status, _headers: answers.add(status))
        b"".join(answer)
        getattr(answer, "close", lambda: None)()

    for _ in range(_TURNS):
        for index, way in enumerate(ways):
            for _ in range(_HUNDREDS):
                used = time.process_time()
                for _ in range(100):
                    ask(way)
                least[index] = min(least[index], (time.process_time() - used) * 1e4)
    profiles = [cProfile.Profile() for _ in ways]
    for profile, way in zip(profiles, ways, strict=True):
        profile.runcall(lambda way=way: [ask(way) for _ in range(_REQUESTS)])
    assert len(answers) == 1, answers
    return [_shares(profile, used) for profile, used in zip(profiles, least, strict=True)]


def _shares(profile: cProfile.Profile, used: float) -> list[tuple[str, float]]:
    stats: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent = {(Path(file).name, name): total for (file, _, name), (_, _, _, total, _) in stats.items()}
    wait = spent.get(("~", "<method 'commit' of 'sqlite3.Connection' objects>"), 0.0)
    whole = spent.get(("express.py", "__call__")) or spent["app.py", "wsgi_app"]
    whole -= wait
    usual = ("express.py", "__call__") not in spent
    # On the usual way `body` has the parsing in it.
    found = {
        label: sum(spent.get(one, 0.0) for one in (steps[:1] if usual and label == _PARSE else steps))
        for label, steps in _STEPS.items()
    }
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
        usual, express = profiled(Path(folder) / "postroom.db")
    print("| step | usual | express |", "| --- | ---: | ---: |", sep="\n")
    for (label, micros), (_, shorter) in zip(usual, express, strict=True):
        print(f"| {label} | {micros:,.0f} | {shorter:,.0f} |")


if __name__ == "__main__":
    main()
