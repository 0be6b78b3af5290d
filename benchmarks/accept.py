"""How fast mail is accepted, beside other ways to take it on the same server: `make bench-accept`.

Every server is started anew in each round, in an order that turns; only ratios within a round count. Before the first
round some mails are accepted and delivered to the recording sink: each 202 must be in the table and there, once.
"""

import argparse
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks import chart, idle, load, machine, outbox, servers, spool
from benchmarks.delivery import RESULTS, folder
from benchmarks.load import Answers
from benchmarks.processes import PATIENCE, Measure
from benchmarks.report import Field
from benchmarks.servers import Served
from benchmarks.sinks import Kind, Sink

BARE, NAIVE = "bare Flask, constant JSON", "ORM + thread per mail"
BARE_ON_ONE = "bare Flask, kept to one processor"
CELERY, CHECKED = "Celery .delay()", "Celery .delay(), body validated"
CELERY_BY_GUNICORN = "Celery .delay(), by gunicorn, 2 workers"
ALONE, DRAINING = "Postroom, durable", "Postroom, durable, while draining"
#: Mails of the round that is compared one by one.
_VERIFIED = 400
#: Accepts per second beside which draining must go on.
_BESIDE = 200
_WARM = 1.0


@dataclass(slots=True)
class Taken:
    """What was measured: each server's answers and figures by round, and the drain's rates."""

    answers: dict[str, list[Answers]] = field(default_factory=dict)
    measures: dict[str, list[Measure]] = field(default_factory=dict)
    drained: list[float] = field(default_factory=list)
    drained_beside: list[float] = field(default_factory=list)
    beside: list[Answers] = field(default_factory=list)
    starts: list[idle.Start] = field(default_factory=list)

    def note(self, name: str, answers: Answers, used: float, rss: float) -> None:
        self.answers.setdefault(name, []).append(answers)
        measure = Measure(answers.accepted, answers.seconds, used, rss)
        self.measures.setdefault(name, []).append(measure)
        print(f"  {name}: {answers.rate:,.0f}/s, p99 {answers.p99:.1f} ms", flush=True)

    def ratios(self, name: str, than: str) -> list[float]:
        pairs = zip(self.answers[name], self.answers[than], strict=True)
        return [one.rate / other.rate for one, other in pairs]


class Round:
    """One round, in a folder of its own."""

    def __init__(self, directory: Path, number: int, seconds: float, filled: Path, taken: Taken) -> None:
        self._directory = directory
        self._number = number
        self._seconds = seconds
        self._filled = filled
        self._taken = taken

    def run(self) -> None:
        steps = [self.bare, self.bare_on_one, self.alone, self.celery, self.checked]
        steps += [self.celery_by_gunicorn, self.naive, self.draining]
        turn = self._number % len(steps)
        for step in steps[turn:] + steps[:turn]:
            step()
        self._taken.starts.append(idle.start(self._place("idle")))

    def bare(self) -> None:
        with servers.view("bare", self._place("bare")) as served:
            self._flood(BARE, served)

    def bare_on_one(self) -> None:
        with servers.view("bare", self._place("bare-on-one"), AFFINITY="one") as served:
            self._flood(BARE_ON_ONE, served)

    def naive(self) -> None:
        place = self._place("naive")
        with self._sink(place) as sink:
            settings = {"DATABASE": place / "naive.db", "MAIL_PORT": sink.port}
            with servers.view("naive", place, **settings) as served:
                self._flood(NAIVE, served)

    def celery(self) -> None:
        self._queue("celery", CELERY)

    def checked(self) -> None:
        self._queue("checked", CHECKED)

    def celery_by_gunicorn(self) -> None:
        self._queue("celery", CELERY_BY_GUNICORN, by=servers.under_gunicorn)

    def _queue(self, view: str, name: str, *, by: Callable[..., AbstractContextManager[Served]] = servers.view) -> None:
        place = self._place(name.replace(" ", "-"))
        settings = {"NOTES": place / "notes", "MAIL_PORT": 1}
        with servers.broker(place) as url, by(view, place, BROKER=url, **settings) as served:
            self._flood(name, served)

    def alone(self) -> None:
        database = self._place("alone") / "postroom.db"
        with servers.postroom(database, POSTROOM_DISPATCH="none") as served:
            answers = self._flood(ALONE, served)
        check_stored(database, answers)

    def draining(self) -> None:
        """Drain a backlog alone, beside a steady few, and beside as many as there can be."""
        place = self._place("draining")
        database = outbox.copy(self._filled, place / "postroom.db")
        before = sum(outbox.statuses(database).values())
        with self._sink(place) as sink, servers.postroom(database, MAIL_PORT=sink.port) as served:
            _until(lambda: sink.count() > 0, "nothing is sent")
            time.sleep(_WARM)
            halves = [self._drain_alone, self._drain_beside]
            for half in halves if self._number % 2 == 0 else reversed(halves):
                half(sink, served)
            answers = self._flood(DRAINING, served)
            assert sink.count() < before, "the backlog was drained before the end: give more --backlog"
        check_stored(database, answers, beside=before + self._taken.beside[-1].accepted)

    def _drain_alone(self, sink: Sink, _served: Served) -> None:
        count, began = sink.count(), time.monotonic()
        time.sleep(self._seconds)
        self._taken.drained.append((sink.count() - count) / (time.monotonic() - began))

    def _drain_beside(self, sink: Sink, served: Served) -> None:
        count, began = sink.count(), time.monotonic()
        answers = load.steady(served.url, served.key, self._seconds, rate=_BESIDE)
        self._taken.drained_beside.append((sink.count() - count) / (time.monotonic() - began))
        self._taken.beside.append(answers)

    def _flood(self, name: str, served: Served) -> Answers:
        load.some(served.url, served.key, 2 * load.CLIENTS)  # whatever is made at the first request
        used = served.used()
        answers = load.flood(served.url, served.key, self._seconds)
        assert set(answers.codes) == {"202"}, f"{name}: {answers.codes}\n{served.log.read_text()[-2000:]}"
        assert not answers.broken, f"{name}: {answers.broken} connections broke"
        self._taken.note(name, answers, served.used() - used, served.memory())
        return answers

    def _sink(self, place: Path) -> AbstractContextManager[Sink]:
        return Kind("accept", fast=True).running(place)

    def _place(self, name: str) -> Path:
        place = self._directory / f"{self._number}-{name}"
        place.mkdir()
        place.chmod(0o755)
        return place


def check_stored(database: Path, answers: Answers, *, beside: int = 0) -> None:
    """Raise AssertionError unless all that was answered is stored, and no more than what was cut off at the end."""
    stored = sum(outbox.statuses(database).values()) - beside - 2 * load.CLIENTS
    assert answers.accepted <= stored <= answers.accepted + load.CLIENTS, f"{answers.accepted} answered, {stored} rows"


def verify(directory: Path) -> None:
    """Accept some mails, have them delivered, and compare."""
    database = directory / "verify" / "postroom.db"
    database.parent.mkdir()
    with Kind("verifying").running(database.parent) as sink:
        with servers.postroom(database, MAIL_PORT=sink.port) as served:
            answers = load.some(served.url, served.key, _VERIFIED)
            assert answers.codes == {"202": _VERIFIED}, answers.codes
            _until(lambda: outbox.statuses(database) == {"sent": _VERIFIED}, "not all is sent")
        assert sink.spool is not None
    spool.check_all_once(sink.spool, {f"user{number}@recipient.example" for number in range(1, _VERIFIED + 1)})
    with closing(sqlite3.connect(database)) as connection:
        [(rows, mailboxes)] = connection.execute("SELECT count(*), count(DISTINCT recipient) FROM deliveries")
    assert rows == mailboxes == _VERIFIED, f"{rows} rows for {_VERIFIED} answers"
    print(f"  all {_VERIFIED} that were answered 202 are in the table and in the sink, once each", flush=True)


def _until(is_so: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def goals(taken: Taken) -> list[str]:
    """Return the rows of the table of goals."""
    alone, draining = taken.answers[ALONE], taken.answers[DRAINING]
    kept = [one / other for one, other in zip(taken.drained_beside, taken.drained, strict=True)]
    longest = [one.longest for one in [*alone, *draining, *taken.beside]]
    rows = ["| what | median | spread | goal | |", "| --- | ---: | ---: | ---: | --- |"]
    rows += [
        _goal(f"{ALONE} ÷ {BARE}", taken.ratios(ALONE, BARE), "x", least=0.25),
        _goal(f"{ALONE} ÷ {BARE_ON_ONE}", taken.ratios(ALONE, BARE_ON_ONE), "x"),
        _goal(f"{ALONE} ÷ {CELERY}", taken.ratios(ALONE, CELERY), "x", least=3.0),
        _goal(f"{ALONE} ÷ {CELERY_BY_GUNICORN}", taken.ratios(ALONE, CELERY_BY_GUNICORN), "x", least=3.0),
        _goal(f"{ALONE} ÷ {CHECKED}", taken.ratios(ALONE, CHECKED), "x"),
        _goal(f"{ALONE} ÷ {NAIVE}", taken.ratios(ALONE, NAIVE), "x"),
        _goal(f"p99, {load.CLIENTS} clients", [one.p99 for one in alone], "ms", most=50.0),
        _goal(f"p99, {load.CLIENTS} clients, while draining", [one.p99 for one in draining], "ms", most=100.0),
        _goal(f"p99, {_BESIDE} a second, while draining", [one.p99 for one in taken.beside], "ms"),
        _goal("the longest of all requests", [max(longest)], "ms", most=1000.0),
        _goal(f"draining beside {_BESIDE} accepts a second ÷ alone", kept, "x", least=0.7),
        _goal("idle: memory, shared pages once", [one.memory for one in taken.starts], "MB", most=100.0),
        _goal("idle: CPU of a core", [one.idle * 100 for one in taken.starts], "%", most=1.0),
        _goal("cold start to ready", [one.ready for one in taken.starts], "s", most=2.0),
        _goal("import of the app", [one.imported for one in taken.starts], "s"),
    ]
    return rows


def _goal(what: str, found: list[float], unit: str, *, least: float | None = None, most: float | None = None) -> str:
    middle = median(found)
    wanted = f"≥ {least:g} {unit}" if least is not None else f"≤ {most:g} {unit}" if most is not None else ""
    is_met = (least is None or middle >= least) and (most is None or middle <= most)
    said = ("met" if is_met else "**missed**") if wanted else ""
    return f"| {what} | {middle:,.2f} {unit} | {min(found):,.2f} … {max(found):,.2f} | {wanted} | {said} |"


def table(taken: Taken) -> list[str]:
    """Return the rows of the servers."""
    heads = [
        "server",
        "202/s",
        "spread",
        f"{ALONE} is",
        "p50 ms",
        "p99 ms",
        "longest ms",
        "CPU µs/answer",
        "peak RSS MB",
    ]
    rows = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for name, answers in taken.answers.items():
        measures, rates = taken.measures[name], [one.rate for one in answers]
        cells = [
            name,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f} … {max(rates):,.0f}",
            "" if name == ALONE else f"{median(taken.ratios(ALONE, name)):.2f} x",
            f"{median(one.p50 for one in answers):.1f}",
            f"{median(one.p99 for one in answers):.1f}",
            f"{max(one.longest for one in answers):.0f}",
            f"{median(one.cpu / one.mails for one in measures) * 1e6:,.0f}",
            f"{median(one.rss for one in measures):.0f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def written(taken: Taken, rounds: int, lines: list[str]) -> str:
    """Return the report as Markdown."""
    drained, beside = median(taken.drained), median(taken.drained_beside)
    parts = ["# Accepting, measured", "", f"{rounds} interleaved rounds. Made by `make bench-accept`.", ""]
    parts += [f"- {line}" for line in lines]
    parts += ["", "## Ratios within a round", "", *goals(taken), "", "![Answers per second](accept.svg)", ""]
    parts += [f"## {load.CLIENTS} clients", "", *table(taken), ""]
    parts += [f"The dispatcher sent {drained:,.0f} mails a second alone and {beside:,.0f} beside {_BESIDE} accepts."]
    parts += ["Each 202 stood in the table; of those compared one by one each came to the sink exactly once.", ""]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure accepting.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--backlog", type=int, default=100_000, help="mails that wait when draining begins")
    parser.add_argument("--look", action="store_true", help="write nothing")
    given = parser.parse_args()
    lines = [*machine.described(peers=Path(sys.executable)), f"Clients: {'wrk' if load.WRK else 'benchmarks/load.py'}"]
    print(*lines, sep="\n", flush=True)
    taken = Taken()
    with folder() as directory:
        verify(directory)
        filled = directory / "filled.db"
        outbox.fill(filled, given.backlog)
        for number in range(given.rounds):
            print(f"round {number + 1}", flush=True)
            Round(directory, number, given.seconds, filled, taken).run()
    lines.append(machine.load("at the end"))
    text = written(taken, given.rounds, lines)
    print(f"\n{text}")
    if not given.look:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "accept.md").write_text(text)
        fields = [Field(f"{load.CLIENTS} clients", taken.measures, [])]
        (RESULTS / "accept.svg").write_text(chart.draw(fields, "Answers 202 per second, median and spread"))


if __name__ == "__main__":
    main()
