"""What more processes bring on PostgreSQL, and what each way to drive them costs: `make bench-scale`.

Fleets of 1, 2 and 4 dispatchers drain the same outbox, in an order that turns from round to round, beside Celery with
a task per mail; then some of them drain while mail comes in over HTTP. Before the first round each fleet's mail is
compared, word for word, with what was to be sent. Only ratios within a round count.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from statistics import median

from benchmarks import chart, contestants, fleets, machine, postgres, report, spool
from benchmarks.contestants import Contestant, Place
from benchmarks.delivery import RESULTS, folder
from benchmarks.fleets import Drained, Fleet
from benchmarks.postgres import Postgres
from benchmarks.processes import Measure
from benchmarks.report import Field, Goal
from benchmarks.sinks import SMTP_SINK, Kind, arrived

SIZES = (1, 2, 4)
DRIVES = ("thread", "dispatch", "celery")
PEER = "Celery, a task per mail, 2"
_FILLED, _FEW = "filled", "few"
_VERIFIED = 300
#: Mails accepted per second while others drain.
_RATE = 100
_TITLES = ("draining a backlog", f"draining while {_RATE} a second are accepted")
_MIXED = (Fleet("thread", 1), Fleet("dispatch", 1), Fleet("dispatch", 2), Fleet("celery", 2))


class Run:
    """One run: its server, its outboxes, and what was measured by title and name."""

    def __init__(self, server: Postgres, count: int) -> None:
        self._server, self._count = server, count
        self._fleets = [Fleet(drive, size) for drive in DRIVES for size in SIZES]
        self.peer = contestants.celery(0.1)
        self.taken: dict[str, dict[str, list[Measure]]] = {title: {} for title in _TITLES}

    def verify(self) -> None:
        """Have every fleet send a few mails to a recording sink, and read what came."""
        for fleet in self._fleets:
            with folder() as directory:
                with Kind("verifying").running(directory) as sink:
                    fleets.drain(fleet, self._server, _FEW, sink, directory, _VERIFIED)
                assert sink.spool is not None
                spool.check_once(sink.spool, _VERIFIED)
                spool.check_intact(sink.spool)
            print(f"  {fleet.name}: all {_VERIFIED} came, once each and intact", flush=True)

    def round(self, number: int) -> None:
        """Measure everything once, beginning with another one each time."""
        steps = [partial(self._drain, one) for one in self._fleets]
        steps += [partial(self._mixed, one) for one in _MIXED]
        if self.peer is not None:
            steps.append(partial(self._peer, self.peer))
        turn = number * 4 % len(steps)
        for step in steps[turn:] + steps[:turn]:
            step()

    def _drain(self, fleet: Fleet) -> None:
        with folder() as directory, _sink().running(directory) as sink:
            measure = fleets.drain(fleet, self._server, _FILLED, sink, directory, self._count)
            if sink.spool is None:
                assert arrived(sink, self._count) == self._count, f"{fleet.name}: {sink.count()} came"
        self._keep(_TITLES[0], fleet.name, measure)

    def _mixed(self, fleet: Fleet) -> None:
        with folder() as directory, _sink().running(directory) as sink:
            measure = fleets.drain_and_accept(fleet, self._server, _FILLED, sink, directory, self._count, rate=_RATE)
            assert measure.answers is not None
            assert not measure.answers.broken
            everything = self._count + measure.answers.accepted
            if sink.spool is None:
                assert arrived(sink, everything) == everything, f"{fleet.name}: {sink.count()} came"
        self._keep(_TITLES[1], fleet.name, measure)

    def _peer(self, peer: Contestant) -> None:
        count = round(self._count * peer.share)
        with folder() as directory, _sink().running(directory) as sink:
            measure = peer.run(Place(directory, sink, None, count))
        self._keep(_TITLES[0], PEER, measure)

    def _keep(self, title: str, name: str, measure: Measure) -> None:
        self.taken[title].setdefault(name, []).append(measure)
        print(f"{title} | {name}: {measure.rate:,.0f}/s", flush=True)

    def fields(self) -> list[Field]:
        """Return what was measured, in the order of the lists above."""
        names = [*(one.name for one in self._fleets), PEER]
        taken = self.taken[_TITLES[0]]
        first = {name: taken[name] for name in names if name in taken}
        by_celery = [Fleet("celery", size).name for size in SIZES]
        dispatch = [Fleet("dispatch", size).name for size in SIZES]
        goals = [
            Goal(by_celery[1], 5, PEER),
            Goal(by_celery[1], 1.6, by_celery[0]),
            Goal(dispatch[1], 1.6, dispatch[0]),
        ]
        mixed = {one.name: self.taken[_TITLES[1]][one.name] for one in _MIXED}
        return [Field(_TITLES[0], first, goals), Field(_TITLES[1], mixed, ())]


def _sink() -> Kind:
    return Kind("smtp-sink" if SMTP_SINK else "the included sink", fast=True)


def bound(field: Field) -> list[str]:
    """Return a table of where the CPU time of a mail goes, and how many mails the cores could carry at most."""
    rows = [
        "| fleet | mails/s | ours | database | sink | together, ms of CPU a mail | cores busy |",
        "| --- |" + " ---: |" * 6,
    ]
    for name, measures in field.measures.items():
        drained = [one for one in measures if isinstance(one, Drained)]
        if drained:
            parts = [[each * 1000 / one.mails for each in (one.cpu, one.database, one.sink)] for one in drained]
            cells = [f"{median(each):.3f}" for each in zip(*parts, strict=True)]
            whole = median(sum(each) for each in parts)
            busy = median((one.cpu + one.database + one.sink) / one.seconds for one in drained)
            rows.append(
                f"| {name} | {median(one.rate for one in drained):,.0f} | {' | '.join(cells)} | {whole:.3f} "
                f"| {busy:.2f} of {os.cpu_count()} |"
            )
    return rows


def accepts(field: Field) -> list[str]:
    """Return a table of the accepts that came in meanwhile."""
    rows = ["| fleet | accepted/s | p50 ms | p99 ms |", "| --- | ---: | ---: | ---: |"]
    for name, measures in field.measures.items():
        found = [one.answers for one in measures if isinstance(one, Drained) and one.answers is not None]
        if found:
            cells = (median(getattr(one, what) for one in found) for what in ("rate", "p50", "p99"))
            rows.append(f"| {name} | {' | '.join(f'{each:,.1f}' for each in cells)} |")
    return rows


def written(fields: Sequence[Field], rounds: int, count: int, lines: Sequence[str]) -> str:
    """Return the report as Markdown."""
    firsts = [Fleet(drive, 1).name for drive in DRIVES]
    parts = [
        "# Scale, measured",
        "",
        f"{rounds} interleaved rounds of {count:,} mails. Made by `make bench-scale`.",
        "",
    ]
    parts += [f"- {line}" for line in lines]
    parts += ["", "## Ratios within a round", "", *report.goals(fields), "", "![Mails per second](scale.svg)", ""]
    for field in fields:
        parts += [f"## {field.title[0].upper()}{field.title[1:]}", ""]
        parts += [*report.table(field, firsts), "", *bound(field), ""]
    parts += [
        "Cores that are all busy, with these or with somebody else's work (see the load above), bound the rate: "
        "more processes then only share them. Each mail was sent once, by one attempt, and came. Of those that were "
        "accepted meanwhile:",
        "",
        *accepts(fields[1]),
        "",
    ]
    return "\n".join(parts)


def _fits(began: float, before: float, rounds: int, limit: float) -> bool:
    """Tell whether one more round, as long as those since `before`, ends within the limit of seconds."""
    now = time.monotonic()
    return now - began + (now - before) / rounds < limit


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure fleets of dispatchers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=8_000, help="mails in the backlog")
    parser.add_argument("--minutes", type=float, default=10, help="no round begins that would end later")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended, too
    began = time.monotonic()
    lines = machine.described()
    with postgres.running() as server:
        lines.append(f"PostgreSQL {server.version()}, commits on disk; mail goes to {_sink().title}")
        print(*lines, sep="\n", flush=True)
        server.fill(_FEW, _VERIFIED)
        server.fill(_FILLED, given.count)
        run = Run(server, given.count)
        run.verify()
        rounds, before = 0, time.monotonic()
        while rounds < given.rounds and (rounds == 0 or _fits(began, before, rounds, given.minutes * 60)):
            run.round(rounds)
            rounds += 1
    fields = run.fields()
    lines.append(machine.load("at the end"))
    text = written(fields, rounds, given.count, lines)
    print(f"\n{text}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scale.md").write_text(text)
    (RESULTS / "scale.svg").write_text(chart.draw(fields, "Mails per second, median and spread"))


if __name__ == "__main__":
    main()
