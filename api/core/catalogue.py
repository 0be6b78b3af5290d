"""Every template of one state of the folders, checked and compiled: nothing is parsed or compiled per mail."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateSyntaxError

from api.core import sources
from api.core.inlining import inlined
from api.core.sandbox import Sandbox, Sources, file_of, within
from api.core.sources import File, Variant
from api.core.variables import Closure, Unusable, closure, complaint, dotted, variables

_VERSION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Compiled:
    """One variant's parts, ready to render; `references` are the dotted names in their source."""

    locale: str | None
    text: Template
    html: Template
    subject: Template | None
    references: frozenset[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A complete template; `locales` is keyed in lower case."""

    name: str
    version: str
    variables: tuple[str, ...]
    base: Compiled
    locales: Mapping[str, Compiled]
    example: Mapping[str, object] | None

    def variant(self, locale: str | None) -> Compiled:
        """Return the variant for a locale: `de-AT`, else `de`, else the template itself."""
        wanted = sources.normal(locale) if locale else ""
        while wanted:
            if wanted in self.locales:
                return self.locales[wanted]
            wanted = wanted.rpartition("-")[0]
        return self.base


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a template can't be used: a stable code, and a sentence that names the file."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The templates by name, the refused ones, and what is wrong with parts of usable ones (by `name.locale`)."""

    entries: Mapping[str, Entry]
    refused: Mapping[str, Refusal]
    faults: Mapping[str, str]
    globals: Mapping[str, Any]


def compile_all(folders: Sequence[Path]) -> Catalogue:
    """Return the catalogue of the folders; a template that is not right is refused in it, and stops no other."""
    files = sources.read(folders)
    compiler = _Compiler(files)
    entries: dict[str, Entry] = {}
    refused: dict[str, Refusal] = {}
    for name, by_locale in sources.variants(files).items():
        try:
            entries[name] = compiler.entry(name, by_locale)
        except _Incomplete as error:
            refused[name] = Refusal("incomplete_template", str(error))
        except Unusable as error:
            refused[name] = Refusal("broken_template", str(error))
        except Exception:  # noqa: BLE001 -- too deep for the parser or for Python; it must not stop the others
            refused[name] = Refusal("broken_template", f"The template '{name}' is too intricate to be compiled.")
    return Catalogue(entries, refused, compiler.faults, dict(compiler.environment.globals))


class _Incomplete(Unusable):
    """A file is missing."""


class _Compiler:
    """Compiles the templates of one set of files in one environment."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self.files = files
        self.texts = {name: file.text for name, file in files.items()}
        self.loader = Sources(self.texts)
        self.environment = Sandbox(self.loader)
        self.faults: dict[str, str] = {}

    def entry(self, name: str, by_locale: Mapping[str | None, Variant]) -> Entry:
        """Return a template with its locales. Raises Unusable; a locale that is not right is left out as a fault."""
        base = by_locale[None]
        found: list[Closure] = []
        compiled = self._variant(name, base, found)
        locales = {}
        for locale, variant in by_locale.items():
            if locale is None:
                continue
            try:
                complete = replace(variant, subject=variant.subject or base.subject)
                locales[locale] = self._variant(f"{name}.{variant.locale}", complete, found)
            except Unusable as error:
                self.faults[f"{name}.{variant.locale}"] = str(error)
            except Exception:  # noqa: BLE001 -- as above
                self.faults[f"{name}.{variant.locale}"] = f"{name}.{variant.locale} is too intricate to be compiled."
        return Entry(name, self._version(found), variables(found), compiled, locales, self._example(name))

    def _variant(self, name: str, variant: Variant, found: list[Closure]) -> Compiled:
        if variant.missing:
            lacking = " and ".join(name + ending for ending in variant.missing)
            raise _Incomplete(f"The template '{name}' is incomplete: {lacking} {_is(variant.missing)} missing.")
        parts = {file: self._closure(file) for file in (variant.text, variant.html, variant.subject) if file}
        compiled = {file: self._compiled(file, one) for file, one in parts.items()}
        found.extend(parts.values())
        references = frozenset(path for one in parts.values() for tree in one.trees.values() for path in dotted(tree))
        subject = compiled[variant.subject] if variant.subject else None
        return Compiled(variant.locale, compiled[str(variant.text)], compiled[str(variant.html)], subject, references)

    def _closure(self, file: str) -> Closure:
        found = closure(self.environment, self.texts, file)
        for taking_part in found.trees:
            fault = self.files[taking_part].complaint
            if fault is not None:
                raise Unusable(fault)
        return found

    def _compiled(self, part: str, found: Closure) -> Template:
        """Return the template of a part, with all that takes part in it compiled and cached beside it."""
        if part.endswith(".html"):
            self.loader.overlays[part] = inlined(self.environment, found, self.texts)
        try:
            for file in found.trees:
                self.environment.get_template(within(part, file))
            return self.environment.get_template(within(part, part))
        except TemplateSyntaxError as error:  # an unknown filter or test is found only by the compiler
            raise Unusable(complaint(file_of(str(error.name)), error)) from error

    def _version(self, found: Iterable[Closure]) -> str:
        """Return a hash over all files that take part, or over every file where that is known only while rendering."""
        closures = list(found)
        names = {file for one in closures for file in one.trees}
        if any(one.is_open for one in closures):
            names = set(self.texts)
        digest = hashlib.sha256()
        for name in sorted(names):
            digest.update(f"{name}\0{len(self.texts[name])}\0{self.texts[name]}".encode())
        return digest.hexdigest()[:_VERSION_LENGTH]

    def _example(self, name: str) -> Mapping[str, object] | None:
        try:
            return sources.example(self.files, name)
        except ValueError:
            self.faults[f"{name}.example"] = f"{name}.example.json is not a JSON object."
            return None


def _is(things: Sequence[str]) -> str:
    return "is" if len(things) == 1 else "are"
