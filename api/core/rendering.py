"""From a template and data to the subject, text and HTML of one mail.

Everything a template can do wrong comes out as one of three errors, with no word about the machine that it ran on.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError, TemplateNotFound

from api.core import catalogue, plain, sources
from api.core.catalogue import Catalogue, Compiled, Entry
from api.core.errors import BadTemplate, FieldError, MissingVariables, UnknownTemplate
from api.core.limits import MAX_CHARACTERS, Budget, LimitExceeded, budget
from api.core.missing import Ledger, ledger
from api.core.sandbox import file_of

#: Seconds between two looks at the folders, where they are looked at.
_LOOK_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Rendered:
    """One mail's content; the subject is one line, or None if the template has none.

    `locale` is the variant that was used, None for the template itself.
    """

    subject: str | None
    text: str
    html: str
    version: str
    locale: str | None


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """What can be told of a template without rendering it.

    `variables` are the names that its sources take from the data, sorted, with dotted ones such as `user.email`.
    """

    name: str
    version: str
    variables: tuple[str, ...]
    locales: tuple[str, ...]
    has_subject: bool
    example: Mapping[str, object] | None


class Library:
    """The templates of some folders, the earlier ones winning; safe to share between threads.

    With `reload`, changed files are picked up within half a second; else the folders are read once.
    """

    def __init__(self, folders: Sequence[Path], *, reload: bool = False) -> None:
        self._folders = tuple(folders)
        self._reload = reload
        self._looking = threading.Lock()
        self._looked_at = time.monotonic()
        self._signature = sources.signature(self._folders) if reload else frozenset()
        self._catalogue = catalogue.compile_all(self._folders)

    def names(self) -> list[str]:
        """Return the names of the templates that can be rendered, sorted."""
        return sorted(self._current().entries)

    def broken(self) -> dict[str, str]:
        """Return a sentence for each template, and each `name.locale`, that can't be used as it stands."""
        current = self._current()
        return {name: refusal.sentence for name, refusal in current.refused.items()} | dict(current.faults)

    def describe(self, name: str) -> TemplateInfo:
        """Return what is known of a template. Raises UnknownTemplate."""
        entry = self._current().entries.get(name)
        if entry is None:
            raise _unknown()
        locales = tuple(sorted(str(one.locale) for one in entry.locales.values()))
        has_subject = entry.base.subject is not None
        return TemplateInfo(name, entry.version, entry.variables, locales, has_subject, entry.example)

    def render(self, name: str, data: Mapping[str, object], *, locale: str | None = None) -> Rendered:
        """Return the content of a mail.

        Raises UnknownTemplate, MissingVariables with all that is missing, BadTemplate for whatever else is wrong.
        """
        current = self._current()
        entry = _entry(current, name)
        compiled = entry.variant(locale)
        plain.check_data(data)
        subject, text, html = _parts(compiled, data, current.globals)
        return Rendered(subject, text, html, entry.version, compiled.locale)

    def _current(self) -> Catalogue:
        if self._reload and time.monotonic() - self._looked_at >= _LOOK_EVERY and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        return self._catalogue

    def _look(self) -> None:
        signature = sources.signature(self._folders)
        if signature != self._signature:
            self._catalogue = catalogue.compile_all(self._folders)
            self._signature = signature
        self._looked_at = time.monotonic()


def _unknown() -> UnknownTemplate:
    # The name is not told: what was asked for may be a path.
    detail = "There is no such template."
    return UnknownTemplate(detail, errors=[FieldError("/template", detail, "unknown_template")])


def _bad(sentence: str, *, pointer: str = "/template", code: str = "broken_template") -> BadTemplate:
    return BadTemplate(sentence, errors=[FieldError(pointer, sentence, code)])


def _entry(current: Catalogue, name: str) -> Entry:
    entry = current.entries.get(name)
    if entry is not None:
        return entry
    refusal = current.refused.get(name)
    if refusal is not None:
        raise _bad(refusal.sentence, code=refusal.code)
    raise _unknown()


def _parts(compiled: Compiled, data: Mapping[str, object], given: Mapping[str, Any]) -> tuple[str | None, str, str]:
    """Return subject, text and HTML. Raises MissingVariables before any error that may only follow from it."""
    variables = {**given, **data}
    notes = Ledger(data, compiled.references)
    ledger_token, budget_token = ledger.set(notes), budget.set(Budget())
    try:
        outcomes = [
            _outcome(template, variables) for template in (compiled.text, compiled.html, compiled.subject) if template
        ]
    finally:
        budget.reset(budget_token)
        ledger.reset(ledger_token)
    if notes.names:
        raise MissingVariables(notes.names)
    for outcome in outcomes:
        if isinstance(outcome, BadTemplate):
            raise outcome
    text, html, *subjects = map(str, outcomes)
    return (plain.subject_line(subjects[0]) if subjects else None), plain.storable(text), plain.storable(html)


def _outcome(template: Template, variables: dict[str, Any]) -> str | BadTemplate:
    """Return one part, or what is wrong with it, so that the other parts may still tell what they miss."""
    try:
        return _rendered(template, variables)
    except Exception as error:  # noqa: BLE001 -- whatever an expression raises, the template is at fault
        return _bad(_complaint(template, error), code=_code(error))


def _rendered(template: Template, variables: dict[str, Any]) -> str:
    pieces: list[str] = []
    room = MAX_CHARACTERS
    for piece in template.root_render_func(template.new_context(variables, shared=True)):
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            raise LimitExceeded("it becomes too large")
    return "".join(pieces)


def _code(error: Exception) -> str:
    return "template_limit" if isinstance(error, LimitExceeded | MemoryError | RecursionError) else "broken_template"


def _complaint(template: Template, error: Exception) -> str:
    """Return a sentence with the file and line, and a reason that holds neither data nor paths."""
    if isinstance(error, TemplateNotFound):
        reason = f"it needs {error.name}, which is not there"
    elif isinstance(error, TemplateError) and error.message:
        reason = error.message.rstrip(".")
    elif isinstance(error, ZeroDivisionError):
        reason = "it divides by zero"
    elif isinstance(error, RecursionError):
        reason = "it goes round in circles"
    elif isinstance(error, TypeError | ValueError | OverflowError | ArithmeticError):
        reason = "an expression does not fit the data"
    else:
        reason = "an expression failed"
    file, line = _place(template, error)
    return f"The template cannot be rendered: in {file}, line {line}, {reason}."


def _place(template: Template, error: Exception) -> tuple[str, int]:
    """Return the innermost file of a template, and the line in it, that an error came from."""
    place = file_of(str(template.name)), 1
    traceback = error.__traceback__
    while traceback is not None:
        inner = traceback.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(inner, Template):
            place = file_of(str(inner.name)), inner.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return place
