"""The template files on disk: which there are, how they are named, and which folder's file wins.

A template is `<name>.txt` and `<name>.html`, with `<name>.subject.txt` and `<name>.example.json` if wanted; a variant
for a locale is `<name>.<locale>.txt` and `.html`. Every other `.txt` and `.html` may be extended or included, no more.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(
    rf"(?P<name>{NAME.pattern})(?:\.(?P<locale>[A-Za-z]{{2,3}}(?:[-_][A-Za-z0-9]{{2,8}})*))?(?P<kind>\.subject\.txt|\.txt|\.html)"
)
_ENDINGS = (".txt", ".html", ".example.json")

#: Changes when a file was written, added or removed: path, time of change, size.
Signature = frozenset[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class File:
    """A file's text, or why it can't be read, and how far back its folder stands; a lower folder number wins."""

    folder: int
    text: str
    complaint: str | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """The files of one locale of a template, or of the template itself (locale None); None where a file is missing."""

    locale: str | None
    text: str | None
    html: str | None
    subject: str | None

    @property
    def missing(self) -> tuple[str, ...]:
        """The endings that the variant lacks to be complete."""
        return tuple(ending for ending, file in ((".txt", self.text), (".html", self.html)) if file is None)


def signature(folders: Sequence[Path]) -> Signature:
    """Return what tells one state of the folders from another."""
    found = set()
    for path in _paths(folders):
        try:
            stat = path.stat()
        except OSError:  # removed just now
            continue
        found.add((str(path), stat.st_mtime_ns, stat.st_size))
    return frozenset(found)


def read(folders: Sequence[Path]) -> dict[str, File]:
    """Return the files of all the folders by name; of two with one name that of the earlier folder."""
    files: dict[str, File] = {}
    for number, folder in enumerate(folders):
        for path in _paths([folder]):
            if path.name not in files:
                files[path.name] = _read(path, number)
    return files


def _paths(folders: Sequence[Path]) -> list[Path]:
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.name.endswith(_ENDINGS) and path.is_file()
    ]


def _read(path: Path, folder: int) -> File:
    try:
        # One kind of line end, so that places in the text are the same for everyone who counts them.
        return File(folder, path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not in UTF-8" if isinstance(error, UnicodeDecodeError) else "cannot be read"
        return File(folder, "", f"{path.name} {reason}.")


def variants(files: Mapping[str, File]) -> dict[str, dict[str | None, Variant]]:
    """Return, by template name, its variants by locale in lower case; None is the template itself.

    Text and HTML of a variant come from one folder, or a file of ours would be sent beside one of the operator's that
    says something else. A folder with the template itself hides the locales of the folders behind it.
    """
    parts: dict[str, dict[str | None, dict[str, str]]] = {}
    for file in sorted(files):
        found = _FILE.fullmatch(file)
        if found is not None:
            locale = found["locale"] and normal(found["locale"])
            parts.setdefault(found["name"], {}).setdefault(locale, {})[found["kind"]] = file
    return {name: _visible(files, by_locale) for name, by_locale in parts.items()}


def _visible(files: Mapping[str, File], by_locale: Mapping[str | None, Mapping[str, str]]) -> dict[str | None, Variant]:
    bases = [files[file].folder for kind, file in by_locale.get(None, {}).items() if kind != ".subject.txt"]
    last = min(bases, default=None)
    visible: dict[str | None, Variant] = {None: Variant(None, None, None, by_locale.get(None, {}).get(".subject.txt"))}
    for locale, kinds in by_locale.items():
        pair = {kind: file for kind, file in kinds.items() if kind != ".subject.txt"}
        folder = min((files[file].folder for file in pair.values()), default=None)
        own = {kind: file for kind, file in pair.items() if files[file].folder == folder}
        subject = kinds.get(".subject.txt")
        is_hidden = last is not None and min(files[file].folder for file in kinds.values()) > last
        if locale is None or not is_hidden:
            visible[locale] = Variant(_spelling(locale, kinds), own.get(".txt"), own.get(".html"), subject)
    return visible


def _spelling(locale: str | None, kinds: Mapping[str, str]) -> str | None:
    """Return the locale as its file spells it."""
    if locale is None:
        return None
    found = _FILE.fullmatch(min(kinds.values()))
    return found["locale"].replace("_", "-") if found is not None else locale


def normal(locale: str) -> str:
    """Return a locale as it is compared: lower case, with hyphens, without an encoding."""
    return locale.partition(".")[0].replace("_", "-").lower()


def example(files: Mapping[str, File], name: str) -> Mapping[str, Any] | None:
    """Return a template's example data, or None if there is none. Raises ValueError if it is no JSON object."""
    file = files.get(f"{name}.example.json")
    if file is None:
        return None
    data = json.loads(file.text)
    if not isinstance(data, dict):
        raise ValueError("not an object")
    return data
