"""How fast accepted mail goes out, beside what else could send it: `make bench-delivery`.

Every sender sends once per round, in an order that turns from round to round; only ratios within a round count. Before
the first round each sends to the recording sink, and what came is compared with what was to be sent, word for word.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import chart, machine, outbox, report, spool
from benchmarks.contestants import Contestant, Place
from benchmarks.processes import ROOT, Measure
from benchmarks.races import ONE, TWO, Race, races
from benchmarks.sinks import Kind, arrived

RESULTS = ROOT / "benchmarks/results"
WORK = ROOT / "var/bench"
#: Mails of the round that is read word for word.
_VERIFIED = 300


def run_once(race: Race, one: Contestant, count: int, filled: Path | None, *, kind: Kind | None = None) -> Measure:
    """Have one contestant send `count` mails; raise AssertionError unless each came, and exactly once."""
    with folder() as directory:
        with (kind or race.kind).running(directory) as sink:
            measure = one.run(Place(directory, sink, filled, count))
            if sink.spool is None:
                assert arrived(sink, count) == count, f"{one.name}: {sink.count()} of {count} came"
        if sink.spool is not None:
            assert sink.count() == count, f"{one.name}: {sink.count()} of {count} came"
            if one.letters:
                spool.check_once(sink.spool, count)
            if one.letters and kind is not None:
                spool.check_intact(sink.spool)
                print(f"  {one.name}: {spool.mean_size(sink.spool):,.0f} octets on average", flush=True)
    return measure


def verify(race: Race) -> None:
    """Have everybody send to a recording sink, and read what came."""
    with folder() as directory:
        filled = directory / "filled.db"
        outbox.fill(filled, _VERIFIED)
        kind = Kind("verifying", delay=race.kind.delay, secure=race.kind.secure)
        for one in race.contestants:
            run_once(race, one, _VERIFIED, filled, kind=kind)
            print(f"  {one.name}: all {_VERIFIED} came{', once each and intact' if one.letters else ''}", flush=True)


def run(rounds: int, count: int, chosen: list[Race]) -> list[report.Field]:
    """Run all rounds; return what was measured."""
    for race in chosen:
        print(f"Verifying at {race.kind.title}", flush=True)
        verify(race)
    taken: dict[tuple[str, str], list[Measure]] = {}
    with folder() as directory:
        sizes = {race.kind.title: round(count * race.share) for race in chosen}
        filled = {title: directory / f"filled-{size}.db" for title, size in sizes.items()}
        for title, file in filled.items():
            outbox.fill(file, sizes[title])
        for number in range(rounds):
            for race in chosen:
                title = race.kind.title
                turn = number % len(race.contestants)
                for one in race.contestants[turn:] + race.contestants[:turn]:
                    size = max(20, round(sizes[title] * one.share))
                    measure = run_once(race, one, size, filled[title] if one.drains else None)
                    taken.setdefault((title, one.name), []).append(measure)
                    print(f"round {number + 1} | {title} | {one.name}: {measure.rate:,.0f}/s", flush=True)
    return [
        report.Field(
            race.kind.title, {one.name: taken[race.kind.title, one.name] for one in race.contestants}, race.goals
        )
        for race in chosen
    ]


def written(fields: list[report.Field], rounds: int, lines: list[str]) -> str:
    """Return the report as Markdown."""
    parts = ["# Delivery, measured", "", f"{rounds} interleaved rounds. Made by `make bench-delivery`.", ""]
    parts += [f"- {line}" for line in lines]
    parts += ["", "## Ratios within a round", "", *report.goals(fields), "", "![Mails per second](delivery.svg)"]
    for field in fields:
        parts += ["", f"## {field.title[0].upper()}{field.title[1:]}", "", *report.table(field, [ONE, TWO])]
    parts += ["", "Each mail arrived exactly once. " + report.startup(fields, ONE), ""]
    return "\n".join(parts)


@contextmanager
def folder() -> Iterator[Path]:
    WORK.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=WORK, prefix="run-"))
    try:
        # smtp-sink gives up its rights, and may have to pass.
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure delivery.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=16_000, help="mails that Postroom drains on loopback, per round")
    parser.add_argument("--only", default="", help="only races whose title holds this; then nothing is written")
    given = parser.parse_args()
    lines = machine.described()
    print(*lines, sep="\n", flush=True)
    chosen = [race for race in races() if given.only in race.kind.title]
    if not chosen:
        parser.error(f"no race is called {given.only!r}")
    fields = run(given.rounds, given.count, chosen)
    lines.append(machine.load("at the end"))
    text = written(fields, given.rounds, lines)
    print(f"\n{text}")
    if not given.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "delivery.md").write_text(text)
        (RESULTS / "delivery.svg").write_text(chart.draw(fields, "Mails per second, median and spread"))


if __name__ == "__main__":
    main()
