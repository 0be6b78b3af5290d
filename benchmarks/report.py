"""The report of a run: ratios first, then a table of each field; for the screen and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.processes import Measure


@dataclass(frozen=True, slots=True)
class Goal:
    """What one sender's rate must be: so many times another's in the same round, or so many mails a second."""

    sender: str
    least: float
    than: str | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """The measures of all senders at one sink, each sender's by round."""

    title: str
    measures: Mapping[str, Sequence[Measure]]
    goals: Sequence[Goal]

    def rates(self, sender: str) -> list[float]:
        return [one.rate for one in self.measures[sender]]

    def ratios(self, sender: str, than: str) -> list[float]:
        """Return how many times faster, round by round: what disturbs a round disturbs both."""
        return [one / other for one, other in zip(self.rates(sender), self.rates(than), strict=True)]


def goals(fields: Iterable[Field]) -> list[str]:
    """Return the rows of the table of goals."""
    rows = ["| at | what | median | spread | goal | |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for field in fields:
        for goal in field.goals:
            if goal.sender not in field.measures or (goal.than and goal.than not in field.measures):
                rows.append(f"| {field.title} | {_named(goal)} | not measured | | | |")
                continue
            found = field.ratios(goal.sender, goal.than) if goal.than else field.rates(goal.sender)
            unit = "x" if goal.than else "/s"
            met = "met" if median(found) >= goal.least else "**missed**"
            spread = f"{_short(min(found))} … {_short(max(found))}"
            rows.append(
                f"| {field.title} | {_named(goal)} | {_short(median(found))} {unit} | {spread} "
                f"| ≥ {goal.least:g} {unit} | {met} |"
            )
    return rows


def table(field: Field, firsts: Sequence[str]) -> list[str]:
    """Return the rows of one field: every sender, and how many times faster than it `firsts` are."""
    present = [first for first in firsts if first in field.measures]
    heads = [f"{first} is" for first in present]
    rows = [
        "| " + " | ".join(["sender", "mails", "mails/s", "spread", *heads, "CPU ms/mail", "peak RSS MB"]) + " |",
        "| --- |" + " ---: |" * (5 + len(heads)),
    ]
    for sender, measures in field.measures.items():
        rates = field.rates(sender)
        times = ["" if sender == first else f"{_short(median(field.ratios(first, sender)))} x" for first in present]
        memory = median(one.rss for one in measures)
        cells = [
            sender,
            f"{measures[0].mails:,}",
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f} … {max(rates):,.0f}",
            *times,
            f"{median(one.cpu / one.mails for one in measures) * 1000:.3f}",
            f"{memory:.0f}" if memory else "-",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def startup(fields: Iterable[Field], sender: str) -> str:
    """Return a sentence about the time that a sender's process takes until it begins."""
    times = [one.startup for field in fields for one in field.measures.get(sender, ())]
    return f"`postroom dispatch` begins {median(times):.2f} s ({min(times):.2f} … {max(times):.2f}) after its start."


def _named(goal: Goal) -> str:
    return f"{goal.sender} ÷ {goal.than}" if goal.than else goal.sender


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
