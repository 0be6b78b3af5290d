"""`postroom send-csv`: a mail for each row of a CSV file."""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import click
from marshmallow import ValidationError

from api.core import keys, mailings, policy
from api.core.errors import FieldError
from api.core.mailings import Outcome
from api.rest import mailboxes, pointers
from schemas.batches import BatchMessage

#: Wrong rows that are told of on the terminal; the report has them all.
TOLD = 10
_MESSAGE = BatchMessage()


class BadSheet(Exception):
    """A file that cannot be sent from, as one sentence."""


class Sheet:
    """A CSV file in UTF-8 whose first row names the columns. Raises BadSheet; rows count as a spreadsheet does."""

    def __init__(self, path: Path, *, column: str) -> None:
        self.path = path
        self.column = column
        self.columns: list[str] = []
        self.size = sum(1 for _ in self.rows())
        self._check()

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row that is not empty, with its number, from 2."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                self.columns = [name.strip() for name in next(reader, [])]
                for number, row in enumerate(reader, start=2):
                    if row:
                        yield number, row
        except UnicodeDecodeError as error:
            raise BadSheet(f"{self.path} is not UTF-8.") from error
        except csv.Error as error:
            raise BadSheet(f"{self.path} is not CSV: {error}.") from error

    def digest(self, template: str) -> str:
        """Return what names the rows of this content, sent with this template."""
        return hashlib.sha256(template.encode() + b"\0" + self.path.read_bytes()).hexdigest()

    def message(self, row: list[str], template: str) -> dict[str, Any]:
        """Return what a row asks to be sent. Raises ValidationError."""
        if len(row) != len(self.columns):
            raise ValidationError(f"Has {len(row)} cells, and there are {len(self.columns)} columns.")
        cells = dict(zip(self.columns, row, strict=True))
        body: dict[str, Any] = {"to": {"email": cells[self.column].strip()}, "data": _nested(cells)}
        if cells.get("name", "").strip():
            body["to"]["name"] = cells["name"].strip()
        if cells.get("locale", "").strip():
            body["locale"] = cells["locale"].strip()
        return {**mailboxes.loaded(_MESSAGE.load(body)), "template": template}

    def _check(self) -> None:
        if self.column not in self.columns:
            raise BadSheet(f"{self.path} has no column {self.column!r}; --column names the one with the addresses.")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice or "" in self.columns:
            raise BadSheet(
                f"{self.path}: each column needs a name of its own{': ' + ', '.join(twice) if twice else ''}."
            )
        try:
            _nested(dict.fromkeys(self.columns, ""))
        except TypeError:
            raise BadSheet(f"{self.path}: one column's name is the beginning of another's dotted name.") from None


class _Tally:
    """Outcomes added up."""

    def __init__(self) -> None:
        self.queued = self.known = 0
        self.refused: dict[int, tuple[FieldError, ...]] = {}

    def add(self, one: Outcome) -> Self:
        self.queued += one.queued
        self.known += one.known
        self.refused |= one.refused
        return self


def send(sheet: Sheet, *, template: str, size: int, dry_run: bool) -> Outcome:
    """Queue the rows of a sheet that were not queued before, `size` of them in a commit, with a progress bar.

    Raises UnknownTemplate, BadSheet, and what `mailings.accept` raises; then the rows before stay queued.
    """
    policy.current().templates.describe(template)
    source = sheet.digest(template)
    tally = _Tally()
    with click.progressbar(length=sheet.size, label="Checking" if dry_run else "Queueing") as bar:
        for chunk in _chunks(sheet.rows(), size):
            rows, wrong = _read(sheet, chunk, template)
            accepted = mailings.accept(key=keys.operator(), source=source, rows=rows, dry_run=dry_run)
            tally.add(accepted).refused.update(wrong)
            bar.update(len(chunk))
    return Outcome(tally.queued, tally.known, dict(sorted(tally.refused.items())))


def write_report(path: Path, refused: Mapping[int, tuple[FieldError, ...]]) -> None:
    """Write the rows that were left out as CSV: the row's number, and why."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "reason"])
        writer.writerows([number, _reason(errors)] for number, errors in refused.items())


def summary(outcome: Outcome, *, dry_run: bool) -> Iterator[str]:
    """Yield what to tell of a mailing: the first of the wrong rows, and the sums."""
    for number, errors in list(outcome.refused.items())[:TOLD]:
        yield f"row {number}: {_reason(errors)}"
    if len(outcome.refused) > TOLD:
        yield f"… and {len(outcome.refused) - TOLD} more."
    done = "would be queued" if dry_run else "queued"
    yield f"{outcome.queued} {done}, {outcome.known} queued before, {len(outcome.refused)} wrong."


def _read(
    sheet: Sheet, chunk: list[tuple[int, list[str]]], template: str
) -> tuple[dict[int, dict[str, Any]], dict[int, tuple[FieldError, ...]]]:
    rows: dict[int, dict[str, Any]] = {}
    wrong: dict[int, tuple[FieldError, ...]] = {}
    for number, cells in chunk:
        try:
            rows[number] = sheet.message(cells, template)
        except ValidationError as error:
            wrong[number] = tuple(pointers.errors(error.messages))
    return rows, wrong


def _reason(errors: tuple[FieldError, ...]) -> str:
    return " ".join(f"{one.pointer}: {one.detail}" if one.pointer else one.detail for one in errors)


def _chunks(rows: Iterator[tuple[int, list[str]]], size: int) -> Iterator[list[tuple[int, list[str]]]]:
    chunk: list[tuple[int, list[str]]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _nested(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the cells as data: `user.name` is `name` in `user`. Raises TypeError where `user` is a cell, too."""
    data: dict[str, Any] = {}
    for column, value in cells.items():
        *outer, name = column.split(".")
        inner = data
        for one in outer:
            inner = inner.setdefault(one, {})
            if not isinstance(inner, dict):
                raise TypeError(column)
        if name in inner:
            raise TypeError(column)
        inner[name] = value
    return data
