"""What a crowd of slow clients and waiters costs everybody else: `make bench-waiters`.

One `postroom serve` with one worker. In each round the same requests are sent twice, among the crowd and alone, in an
order that turns; only ratios within a round count.
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median

from api.core import clock, keys
from benchmarks import chart, machine, outbox
from benchmarks.processes import PATIENCE, ROOT, descendants, free_port, module, rss, started, wait_for_port
from schemas.vocabulary import Scope

RESULTS = ROOT / "benchmarks/results"
WORK = ROOT / "var/bench"
KINDS = ("POST", "GET")
ALONE, AMONG = "alone", "in the crowd"
#: Until when what the crowd waits for stays as it is.
_FAR_OFF = timedelta(days=30)
#: Seconds after which the places of a crowd that has gone are free.
_LEAVING = 3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many there are of each in the crowd."""

    slow: int
    waiting: int
    following: int

    def __str__(self) -> str:
        return f"{self.slow} slow clients, {self.waiting} waiters, {self.following} followers of events"


@dataclass(frozen=True, slots=True)
class Service:
    """A running server: where it is, a key for it, and its worker."""

    port: int
    key: str
    worker: int

    def connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(
        self, connection: http.client.HTTPConnection, path: str, body: object = None, *, method: str = "POST"
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        method, data = ("GET", None) if body is None else (method, json.dumps(body))
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@dataclass(slots=True)
class Taken:
    """The seconds that requests took, by kind, round by round; memory and threads of the worker meanwhile."""

    times: dict[str, list[list[float]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    rss: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of the chart: milliseconds of each round, by what they are of."""

    title: str
    measures: Mapping[str, Sequence[float]]

    def rates(self, sender: str) -> Sequence[float]:
        return self.measures[sender]


@contextmanager
def serving(directory: Path) -> Iterator[Service]:
    database, log, port = directory / "postroom.db", directory / "serve.log", free_port()
    with outbox.opened(database):
        secret = keys.create(name="bench", scopes=[Scope.ADMIN])[1]
    settings = {
        "POSTROOM_DATABASE_URL": f"sqlite:///{database}",
        "POSTROOM_SENDER": "Postroom <postroom@example.org>",
        "POSTROOM_DISPATCH": "none",
        "POSTROOM_RATE_LIMIT": "off",
        "POSTROOM_RECIPIENT_LIMIT": "off",
    }
    command = [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]
    with started(command, log=log, env=settings) as process:
        wait_for_port(port)
        yield Service(port, secret, descendants(process.pid)[-1])


@contextmanager
def crowded(service: Service, sizes: Sizes, directory: Path, answers: Counter[str]) -> Iterator[None]:
    """Have the crowd there; count afterwards what it was answered."""
    later = (clock.utcnow() + _FAR_OFF).isoformat()
    message = {"to": "ann@recipient.example", "subject": "Later", "text": "Later.", "send_at": later}
    status, told = service.ask(service.connected(), "/v1/notifications", message)
    assert status == 202, told
    waited_for = json.loads(told)["id"]
    arguments = (service.port, service.key, waited_for, sizes.slow, sizes.waiting, sizes.following)
    with started(
        module("crowd", *arguments), log=directory / "crowd.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"ready\n", (directory / "crowd.log").read_text()
        yield
        answers.update(json.loads(crowd.communicate(timeout=PATIENCE)[0]))
    # Nobody is there any more to be answered; a change gives back the places that are still held for them.
    path = f"/v1/notifications/{waited_for}"
    status, told = service.ask(service.connected(), path, {"send_at": None}, method="PATCH")
    assert status == 200, told
    time.sleep(_LEAVING)


def measured(service: Service, count: int, clients: int) -> dict[str, list[float]]:
    """Send and read `count` messages from several clients at once; return the seconds by kind."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    wrong: list[object] = []

    def work() -> None:
        connection = service.connected()
        try:
            for _ in range(count // clients):
                before = time.perf_counter()
                body = {"to": "bob@recipient.example", "subject": "Hello", "text": "Good day.\n" * 40}
                status, told = service.ask(connection, "/v1/notifications", body)
                between = time.perf_counter()
                assert status == 202, told
                status, told = service.ask(connection, f"/v1/notifications/{json.loads(told)['id']}")
                assert status == 200, told
                for kind, (start, end) in zip(KINDS, pairwise((before, between, time.perf_counter())), strict=True):
                    times[kind].append(end - start)
        except Exception as error:  # noqa: BLE001 -- a thread's would be lost
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    return times


def run(rounds: int, count: int, clients: int, sizes: Sizes) -> tuple[dict[str, Taken], Counter[str]]:
    """Run all rounds; return what was measured, and what the crowd was answered."""
    taken = {ALONE: Taken(), AMONG: Taken()}
    answers: Counter[str] = Counter()
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as name, serving(Path(name)) as service:
        measured(service, count // 4, clients)  # everything is loaded
        for number in range(rounds):
            for place in (ALONE, AMONG) if number % 2 else (AMONG, ALONE):
                crowd = crowded(service, sizes, Path(name), answers) if place == AMONG else nullcontext()
                with crowd:
                    times = measured(service, count, clients)
                    taken[place].rss.append(rss(service.worker))
                    taken[place].threads.append(len(list(Path(f"/proc/{service.worker}/task").iterdir())))
                for kind in KINDS:
                    taken[place].times[kind].append(times[kind])
                told = ", ".join(f"{kind} p99 {share(times[kind], 99):.1f} ms" for kind in KINDS)
                print(f"round {number + 1} | {place} | {told}", flush=True)
    return taken, answers


def share(seconds: Sequence[float], percent: int) -> float:
    """Return, in milliseconds, what so many per cent of the requests took at most."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000


def written(taken: Mapping[str, Taken], answers: Counter[str], sizes: Sizes, lines: Sequence[str]) -> str:
    """Return the report as Markdown."""
    rounds = len(taken[ALONE].rss)
    parts = ["# Waiters and slow clients, measured", "", f"{rounds} interleaved rounds. Made by `make bench-waiters`."]
    parts += ["", *(f"- {line}" for line in lines), f"- The crowd: {sizes}, on one worker of `postroom serve`", ""]
    parts += ["| request | where | requests | p50 ms | p99 ms | p99 by round | max ms |"]
    parts += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for kind in KINDS:
        for place, each in taken.items():
            every = [seconds for one in each.times[kind] for seconds in one]
            p99s = [share(one, 99) for one in each.times[kind]]
            cells = [kind, place, f"{len(every):,}", f"{share(every, 50):.1f}", f"{share(every, 99):.1f}"]
            cells += [f"{min(p99s):.1f} … {max(p99s):.1f}", f"{share(every, 100):.1f}"]
            parts.append("| " + " | ".join(cells) + " |")
    parts += ["", "| among the crowd ÷ alone, within a round | median | spread |", "| --- | ---: | ---: |"]
    for kind in KINDS:
        for percent in (50, 99):
            among, alone = ([share(one, percent) for one in taken[place].times[kind]] for place in (AMONG, ALONE))
            ratios = [one / other for one, other in zip(among, alone, strict=True)]
            spread = f"{min(ratios):.2f} … {max(ratios):.2f}"
            parts.append(f"| p{percent} of {kind} | {median(ratios):.2f} x | {spread} |")
    parts += ["", "![p99 by round](waiters.svg)", "", "Every one of these requests was answered 202 or 200."]
    told = "; ".join(f"{count:,} x {answer}" for answer, count in sorted(answers.items()))
    parts += [f"The crowd was answered: {told}.", "", *_costs(taken), ""]
    return "\n".join(parts)


def _costs(taken: Mapping[str, Taken]) -> list[str]:
    return [
        f"The worker {place}: {median(each.rss):.0f} MB, {median(each.threads):.0f} threads."
        for place, each in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what waiters and slow clients cost the others.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--count", type=int, default=400, help="messages sent, and read again, per measurement")
    parser.add_argument("--clients", type=int, default=4, help="clients that send them at once")
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=100)
    parser.add_argument("--following", type=int, default=20)
    parser.add_argument("--look", action="store_true", help="write nothing")
    given = parser.parse_args()
    lines = machine.described()[:3]
    print(*lines, sep="\n", flush=True)
    sizes = Sizes(given.slow, given.waiting, given.following)
    taken, answers = run(given.rounds, given.count, given.clients, sizes)
    lines.append(machine.load("at the end"))
    text = written(taken, answers, sizes, lines)
    print(f"\n{text}")
    if not given.look:
        panels = [
            Panel(kind, {place: [share(one, 99) for one in each.times[kind]] for place, each in taken.items()})
            for kind in KINDS
        ]
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "waiters.md").write_text(text)
        (RESULTS / "waiters.svg").write_text(chart.draw(panels, "Milliseconds, p99: median of the rounds and spread"))


if __name__ == "__main__":
    main()
