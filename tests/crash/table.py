"""A report as a row of a Markdown table."""

from collections.abc import Sequence

from tests.crash.harness import Report

_HEAD = (
    "dispatchers", "messages", "202", "no answer", "of these stored", "kills", "lost", "copies at most", "extra",
    "extra unmarked", "marked, one copy", "bound", "parked", "load s", "finish s", "messages/s",
)  # fmt: skip


def table(reports: Sequence[Report]) -> str:
    """Return the whole table."""
    rows = [_HEAD, ["---:"] * len(_HEAD), *map(_row, reports)]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def _row(report: Report) -> list[object]:
    plan, audit = report.plan, report.audit
    kind = "1, the server's thread" if plan.dispatchers == 1 else f"{plan.dispatchers} processes"
    if plan.celery:
        kind = f"{plan.dispatchers} Celery workers"
    return [
        kind,
        audit.messages,
        audit.answered,
        audit.unanswered,
        audit.stored_unheard,
        report.kills.total(),
        len(audit.lost),
        audit.most_copies,
        audit.extra,
        len(audit.unmarked),
        audit.marked_once,
        report.bound,
        len(audit.parked),
        f"{report.load_seconds:.0f}",
        f"{report.finish_seconds:.1f}",
        f"{audit.messages / report.load_seconds:.0f}",
    ]
