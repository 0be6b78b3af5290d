"""`postroom status`: what the operator asks of a running deployment."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from api import config
from api.core import dispatchers, overview
from api.core.overview import Overview, Rate
from api.startup import prepared


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--oldest", type=click.FloatRange(min=0), help="Seconds that due mail may wait before that is wrong.")
def status(as_json: bool, oldest: float | None) -> None:
    """Show who dispatches, what waits, how fast it goes out, and the relays.

    Ends with status 1 when nothing dispatches, or when due mail has waited for longer than --oldest.
    """
    with prepared(config.read()):
        found = overview.look()
        wrong = _wrong(found, oldest)
        click.echo(json.dumps(_values(found) | {"wrong": wrong}, indent=2) if as_json else "\n".join(_lines(found)))
    for line in wrong:
        click.echo(line, err=True)
    if wrong:
        raise click.exceptions.Exit(1)


def _wrong(found: Overview, oldest: float | None) -> list[str]:
    wrong = []
    if not found.alive:
        wrong.append("Nothing dispatches.")
    if oldest is not None and found.oldest_due is not None and found.oldest_due > oldest:
        wrong.append(f"The oldest due delivery has waited for {found.oldest_due:.0f} s.")
    return wrong


def _values(found: Overview) -> dict[str, Any]:
    return {
        "at": _moment(found.at),
        "dispatchers": [
            {
                "id": str(one.id),
                "host": one.host,
                "pid": one.pid,
                "drive": one.drive,
                "started_at": _moment(one.started_at),
                "seen_at": _moment(one.seen_at),
                "alive": dispatchers.is_alive(one, found.at),
            }
            for one in found.dispatchers
        ],
        "queue": found.queue,
        "oldest_due_seconds": found.oldest_due,
        "rates": [
            {"minutes": one.minutes, "accepted": one.accepted, "attempts": one.attempts, "sent_per_second": _speed(one)}
            for one in found.rates
        ],
        "relays": [
            {
                "name": one.name,
                "state": one.state.value,
                "since": _moment(one.since),
                "next_probe_at": _moment(one.next_probe_at) if one.next_probe_at else None,
                "last_error": one.error_reply,
            }
            for one in found.transports
        ],
    }


def _lines(found: Overview) -> Iterator[str]:
    yield from _table(
        ("dispatcher", "host", "pid", "drive", "started", "last sign of life"),
        [
            (
                str(one.id),
                one.host,
                str(one.pid),
                one.drive,
                _moment(one.started_at),
                f"{(found.at - one.seen_at).total_seconds():.0f} s ago"
                + ("" if dispatchers.is_alive(one, found.at) else ", counts as dead"),
            )
            for one in found.dispatchers
        ],
    )
    yield ""
    yield from _table(("queue", "deliveries"), [(name, str(number)) for name, number in sorted(found.queue.items())])
    yield f"oldest due: {'nothing is due' if found.oldest_due is None else f'for {found.oldest_due:.0f} s'}"
    yield ""
    yield from _table(
        ("last", "accepted", "sent", "deferred", "failed", "sent/s"),
        [
            (
                f"{one.minutes} min",
                str(one.accepted),
                *(str(one.attempts.get(name, 0)) for name in ("sent", "deferred", "failed")),
                f"{_speed(one):.1f}",
            )
            for one in found.rates
        ],
    )
    yield ""
    yield from _table(
        ("relay", "state", "since", "last error"),
        [(one.name, one.state.value, _moment(one.since), one.error_reply or "") for one in found.transports],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines whose columns stand below each other; a dash where there is nothing."""
    every = [head, *(rows or [["-"] * len(head)])]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    for row in every:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _speed(one: Rate) -> float:
    return round(one.attempts.get("sent", 0) / (one.minutes * 60), 2)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
