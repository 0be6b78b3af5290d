"""What a long backlog costs: `make bench-backlog`.

Beside a million finished mails, 10^3, 10^5 and 10^6 are due: how long a claim takes, and what else a dispatcher asks
of the table; and while 100,000 of full size are drained, how much memory that takes and how long accepts take.
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import claims, machine, outbox
from benchmarks.accepts import Accepts
from benchmarks.chart import draw
from benchmarks.drain import command, settings
from benchmarks.letters import Letter, letter
from benchmarks.processes import PATIENCE, ROOT, rss, started
from benchmarks.seeds import seed
from benchmarks.sinks import Kind

RESULTS = ROOT / "benchmarks/results"
WORK = ROOT / "var/bench"
#: Mails accepted per second while the backlog is drained, and before, for comparison.
_ACCEPTS = 50.0
_ACCEPTS_BEFORE = 500
_SAMPLE = 0.1
#: Claims are not about reading megabytes, and a million full-size mails are gigabytes to be written.
_SHORT = Letter(
    0, "user@recipient.example", "Your order", "Your order is on its way.\r\n", "<p>Your order is on its way.</p>"
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One size of the backlog: the seconds of claims by limit, and of the other jobs."""

    due: int
    claims: dict[int, list[claims.Took]]
    jobs: dict[str, float]

    def clocked(self, limit: int) -> list[float]:
        """Return the seconds of claims by the clock."""
        return [one.clock for one in self.claims[limit]]

    def worked(self, limit: int) -> list[float]:
        """Return the seconds of CPU of claims."""
        return [one.cpu for one in self.claims[limit]]


@dataclass(frozen=True, slots=True)
class Drained:
    """A drain: mails, seconds, the dispatcher's memory in MB by share of the mails, and the seconds of accepts."""

    mails: int
    seconds: float
    memory: list[tuple[float, float]]
    before: list[float]
    during: list[float]


def stages(database: Path, sizes: Sequence[int]) -> list[Stage]:
    """Measure at each size of the backlog: each in a file of its own, and all of them in each round."""
    files: dict[int, Path] = {}
    for size in sorted(sizes):
        seed(database, size - max(files, default=0), like=_SHORT, finished=False)
        files[size] = outbox.copy(database, database.with_name(f"due-{size}.db"))
        print(f"{size:,} due seeded", flush=True)
    found = [
        Stage(size, {limit: [] for limit in claims.LIMITS}, claims.job_times(file)) for size, file in files.items()
    ]
    for _ in range(claims.ROUNDS):
        for stage in found:
            for limit, times in claims.claim_times(files[stage.due]).items():
                stage.claims[limit].extend(times)
    return found


def drain(database: Path, directory: Path, count: int) -> Drained:
    """Drain `count` full-size mails by `postroom dispatch --once` while others are accepted."""
    seed(database, count, like=letter(1), finished=False)
    with Kind("loopback", fast=True).running(directory) as sink, outbox.opened(database) as app:
        calm = Accepts(app, rate=_ACCEPTS * 2, most=_ACCEPTS_BEFORE)
        calm.start()
        calm.join()
        before = calm.stop()
        base = _attempts(database)
        log = directory / "dispatch.log"
        with started(command(), log=log, env=settings(database, sink, None)) as process:
            memory: list[tuple[float, float]] = []
            accepts = Accepts(app, rate=_ACCEPTS, most=100_000)
            begun = 0.0
            while process.poll() is None:
                done = _attempts(database) - base
                if done and not begun:
                    begun = time.monotonic()
                    accepts.start()
                if done:
                    memory.append((done / count, rss(process.pid)))
                # The last ones are drained without new ones coming, or `--once` might never end.
                if done > count * 0.95:
                    during = accepts.stop()
                assert not begun or time.monotonic() < begun + PATIENCE * 2, log.read_text()[-2000:]
                time.sleep(_SAMPLE)
            assert process.returncode == 0, log.read_text()[-2000:]
            seconds = time.monotonic() - begun
    assert set(outbox.statuses(database)) == {"sent"}, outbox.statuses(database)
    return Drained(count, seconds, memory, before, during)


def _attempts(database: Path) -> int:
    """Return how many attempts there were, without counting a million of them."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0])


def written(found: list[Stage], drained: Drained, finished: int, lines: list[str]) -> str:
    """Return the report as Markdown."""
    first, last = found[0], found[-1]
    ratio = median(last.clocked(250)) / median(first.clocked(250))
    work = median(last.worked(250)) / median(first.worked(250))
    peak = max(memory for _, memory in drained.memory)
    parts = ["# Backlog, measured", "", f"Beside {finished:,} finished mails. Made by `make bench-backlog`.", ""]
    parts += [f"- {line}" for line in lines]
    parts += ["", "| what | is | goal |", "| --- | ---: | ---: |"]
    parts.append(f"| claim of 250 at {last.due:,} due ÷ at {first.due:,}, time | {ratio:.2f} x | ≤ 2 x |")
    parts.append(f"| the same, CPU | {work:.2f} x | ≤ 2 x |")
    parts.append(f"| peak RSS while {drained.mails:,} are drained | {peak:.0f} MB | < 120 MB |")
    parts.append(f"| last quarter's RSS less the second quarter's | {_growth(drained):+.1f} MB | flat |")
    parts += [
        "",
        "## Claims",
        "",
        *_claim_table(found),
        "",
        "## Other looks and jobs, at their best",
        "",
        *_job_table(found),
    ]
    parts += ["", "## While draining", "", *_drain_table(drained), ""]
    return "\n".join(parts)


def _growth(drained: Drained) -> float:
    second = [memory for share, memory in drained.memory if 0.25 <= share < 0.5]
    fourth = [memory for share, memory in drained.memory if share >= 0.75]
    return median(fourth) - median(second)


def _claim_table(found: list[Stage]) -> list[str]:
    rows = ["| due | " + " | ".join(f"limit {limit}: median, p95, CPU ms" for limit in claims.LIMITS) + " |"]
    rows.append("| ---: |" + " ---: |" * len(claims.LIMITS))
    for stage in found:
        cells = [
            ", ".join(
                [
                    _ms(median(stage.clocked(limit))),
                    _ms(_quantile(stage.clocked(limit), 0.95)),
                    _ms(median(stage.worked(limit))),
                ]
            )
            for limit in stage.claims
        ]
        rows.append(f"| {stage.due:,} | " + " | ".join(cells) + " |")
    return rows


def _job_table(found: list[Stage]) -> list[str]:
    rows = ["| due | " + " | ".join(f"{name} ms" for name in found[0].jobs) + " |"]
    rows.append("| ---: |" + " ---: |" * len(found[0].jobs))
    for stage in found:
        rows.append(f"| {stage.due:,} | " + " | ".join(_ms(seconds) for seconds in stage.jobs.values()) + " |")
    return rows


def _drain_table(drained: Drained) -> list[str]:
    rows = [
        f"{drained.mails:,} mails of full size in {drained.seconds:.1f} s, {drained.mails / drained.seconds:,.0f}/s.",
        "",
    ]
    shares = [0.05, 0.1, 0.25, 0.5, 0.75, 0.95]
    memory = [next((one for at, one in drained.memory if at >= share), 0.0) for share in shares]
    rows += [
        "| drained | " + " | ".join(f"{share:.0%}" for share in shares) + " |",
        "| --- |" + " ---: |" * len(shares),
    ]
    rows += ["| RSS MB | " + " | ".join(f"{one:.0f}" for one in memory) + " |", ""]
    rows += ["| accepts | count | p50 ms | p95 ms | p99 ms | max ms |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, times in (("before, at rest", drained.before), (f"meanwhile, {_ACCEPTS:.0f}/s", drained.during)):
        marks = [_ms(_quantile(times, share)) for share in (0.5, 0.95, 0.99, 1.0)]
        rows.append(f"| {name} | {len(times)} | " + " | ".join(marks) + " |")
    return rows


@dataclass(frozen=True, slots=True)
class Panel:
    """One field of the chart."""

    title: str
    measures: dict[str, Sequence[float]]

    def rates(self, sender: str) -> Sequence[float]:
        """Return the values of one bar."""
        return self.measures[sender]


def chart(found: list[Stage], drained: Drained) -> str:
    """Return the chart: CPU of claims by backlog, and memory by what is drained."""
    work = {f"Postroom, {stage.due:,} due": [one * 1e6 / 250 for one in stage.worked(250)] for stage in found}
    quarters = [(share / 4, (share + 1) / 4) for share in range(4)]
    memory = {
        f"Postroom, {start:.0%} to {end:.0%}": [one for at, one in drained.memory if start <= at < end] or [0.0]
        for start, end in quarters
    }
    fields = [
        Panel("A claim of 250: CPU, µs per mail", work),
        Panel(f"Memory while {drained.mails:,} are drained, MB", memory),
    ]
    return draw(fields, "What a backlog costs")


def _quantile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a backlog costs.")
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--due", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--drain", type=int, default=100_000)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    given = parser.parse_args()
    lines = machine.described()[:3]
    print(*lines, sep="\n", flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK, prefix="run-") as folder:
        Path(folder).chmod(0o755)
        database = Path(folder) / "backlog.db"
        began = time.monotonic()
        seed(database, given.finished, like=_SHORT, finished=True)
        print(f"{given.finished:,} finished mails seeded in {time.monotonic() - began:.0f} s", flush=True)
        drained = drain(outbox.copy(database, Path(folder) / "drained.db"), Path(folder), given.drain)
        found = stages(database, given.due)
    lines.append(machine.load("at the end"))
    text = written(found, drained, given.finished, lines)
    print(f"\n{text}")
    if not given.dry:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "backlog.md").write_text(text)
        (RESULTS / "backlog.svg").write_text(chart(found, drained))


if __name__ == "__main__":
    main()
