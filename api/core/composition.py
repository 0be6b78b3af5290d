"""The whole page of a template: layout, blocks and includes put together, Jinja blanked out, each tag numbered.

It is what an inliner of style sheets needs to see, and no more than that: every branch of an `if` is in it, and every
loop's body once. Each number leads back to the place in the source that it was given to.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from api.core.sandbox import file_name

#: The attribute that holds a tag's number.
NUMBER = "data-postroom"
_DEPTH = 20

_STRING = r""""(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+'"""
_JINJA = re.compile(rf"{{#.*?#}}|{{{{(?>{_STRING}|(?!}}}}).)*+}}}}|{{%(?>{_STRING}|(?!%}}).)*+%}}", re.DOTALL)
_STATEMENT = re.compile(
    r"""\{%[-+]?\s*(?:(?P<open>block)\s+(?P<name>\w+)|(?P<close>endblock)
    |(?P<include>include|import|from)\s+["'](?P<file>[^"']+)["'])|(?P<super>\{\{.*\bsuper\(\))""",
    re.VERBOSE | re.DOTALL,
)
_ATTRIBUTES = r"""(?:"[^"]*"|'[^']*'|[^"'>])*+"""
_MARKUP = re.compile(
    rf"""<!--.*?-->
    |<(?P<raw>script|style|textarea|title)\b(?P<settings>{_ATTRIBUTES})>(?P<content>.*?)</(?P=raw)\s*>
    |<(?P<tag>[a-z][^\s/>]*)(?P<attributes>{_ATTRIBUTES})>""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""(?P<name>[^\s=/>"']+)(?:\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^\s"'>]+))?""")
_OPEN, _CLOSE, _SUPER, _INCLUDE, _IMPORT = "open", "close", "super", "include", "import"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tag:
    """A start tag in a source: where attributes may be added, and its style attribute with the value in it."""

    file: str
    place: int
    style: Span | None
    value: Span | None
    #: The value of its style attribute holds Jinja.
    is_dynamic: bool


@dataclass(frozen=True, slots=True)
class Sheet:
    """A style element in a source that may be inlined: all of it, and what is between its tags."""

    file: str
    element: Span
    content: Span


@dataclass(slots=True)
class Composition:
    """A page and what its numbers stand for."""

    page: str = ""
    tags: dict[int, Tag] = field(default_factory=dict)
    sheets: dict[int, Sheet] = field(default_factory=dict)
    #: A class or an id is known only while rendering, so every rule may still be of use.
    has_dynamic_selectors: bool = False


@dataclass(slots=True)
class _Block:
    name: str
    pieces: list["_Piece"]


@dataclass(frozen=True, slots=True)
class _Mark:
    kind: str
    name: str = ""


_Piece = str | _Mark | _Block


def compose(sources: Mapping[str, str], chain: Sequence[str]) -> Composition:
    """Return the page of a template; `chain` is the template's file, then the one it extends, up to the outermost."""
    composition = Composition()
    pieces = {file: _nested(_annotated(file, source, composition)) for file, source in sources.items()}
    blocks: dict[str, list[list[_Piece]]] = {}
    for file in chain:
        for block in _blocks(pieces[file]):
            blocks.setdefault(block.name, []).append(block.pieces)
    # Macros stand outside the blocks of an extending file: they come last, where no rule depends on what is around.
    rest = [piece for file in chain[:-1] for piece in pieces[file] if not isinstance(piece, _Block)]
    imported = [
        _Mark(_INCLUDE, mark.name)
        for file in pieces
        for mark in _marks(pieces[file])
        if mark.kind == _IMPORT and mark.name not in chain
    ]
    composition.page = "".join(_text([*pieces[chain[-1]], *rest, *imported], pieces, blocks, _DEPTH))
    return composition


def _annotated(file: str, source: str, composition: Composition) -> list[str | _Mark]:
    """Return the source with its Jinja blanked out, its tags numbered, and a mark for each statement that counts."""
    jinja = [found.span() for found in _JINJA.finditer(source)]
    blank = _blanked(source, jinja)
    edits: list[tuple[int, int, str | _Mark]] = []
    for start, end in jinja:
        mark = _mark(source[start:end])
        if mark is not None:
            edits.append((start, end, mark))
    for found in _MARKUP.finditer(blank):
        edits.extend(_numbered(found, file, source, composition))
        if found["tag"] is not None and _selects_dynamically(found, jinja):
            composition.has_dynamic_selectors = True
    pieces: list[str | _Mark] = []
    at = 0
    for start, end, piece in sorted(edits, key=lambda edit: edit[:2]):
        if start < at:  # within a style attribute that is left out
            continue
        pieces += [blank[at:start], piece]
        at = end
    return [*pieces, blank[at:]]


def _blanked(source: str, jinja: Sequence[Span]) -> str:
    """Return the source, as long as it was, with spaces for Jinja: what a table or a tag may hold anywhere."""
    pieces = []
    at = 0
    for start, end in jinja:
        pieces += [source[at:start], re.sub(r"[^\n]", " ", source[start:end])]
        at = end
    return "".join([*pieces, source[at:]])


def _mark(statement: str) -> _Mark | None:
    found = _STATEMENT.match(statement)
    if found is None:
        return None
    if found["open"]:
        return _Mark(_OPEN, found["name"])
    if found["include"]:
        return _Mark(_INCLUDE if found["include"] == "include" else _IMPORT, file_name(found["file"]))
    return _Mark(_CLOSE if found["close"] else _SUPER)


def _numbered(
    found: re.Match[str], file: str, source: str, composition: Composition
) -> Iterator[tuple[int, int, str | _Mark]]:
    """Remember what is found, if it matters, and yield the edits that give it its number."""
    number = len(composition.tags) + len(composition.sheets)
    numbered = f' {NUMBER}="{number}"'
    if found["tag"] is not None:
        place = found.end("tag")
        style, value = _style(found)
        is_dynamic = value is not None and source[slice(*value)] != found.string[slice(*value)]
        composition.tags[number] = Tag(file, place, style, value, is_dynamic)
        yield place, place, numbered
        if is_dynamic and style is not None:
            yield (*style, "")
    elif (found["raw"] or "").lower() == "style":
        # The inliner would put a sheet for other media into the page as well, and can't read one that holds Jinja.
        is_static = source[found.start() : found.end()] == found[0] and "media" not in found["settings"].lower()
        composition.sheets[number] = Sheet(file, found.span(), found.span("content"))
        if not is_static:
            del composition.sheets[number]
            numbered = ' data-css-inline="ignore"'
        yield found.end("raw"), found.end("raw"), numbered


def _style(found: re.Match[str]) -> tuple[Span | None, Span | None]:
    for attribute in _ATTRIBUTE.finditer(found.string, *found.span("attributes")):
        if attribute["name"].lower() == "style" and attribute["value"]:
            start, end = attribute.span("value")
            quotes = attribute["value"][0] in "\"'"
            return attribute.span(), (start + quotes, end - quotes)
    return None, None


def _selects_dynamically(found: re.Match[str], jinja: Sequence[Span]) -> bool:
    """Tell whether Jinja in this tag may change its classes or its id."""
    start, end = found.span("attributes")
    harmless = [
        attribute.span("value")
        for attribute in _ATTRIBUTE.finditer(found.string, start, end)
        if attribute["value"] and attribute["name"].lower() not in {"class", "id"}
    ]
    inside = [span for span in jinja if start <= span[0] < end]
    return any(not any(left <= span[0] < right for left, right in harmless) for span in inside)


def _nested(pieces: Sequence[str | _Mark]) -> list[_Piece]:
    stack: list[list[_Piece]] = [[]]
    for piece in pieces:
        if isinstance(piece, _Mark) and piece.kind == _OPEN:
            block = _Block(piece.name, [])
            stack[-1].append(block)
            stack.append(block.pieces)
        elif isinstance(piece, _Mark) and piece.kind == _CLOSE:
            del stack[max(1, len(stack) - 1) :]
        else:
            stack[-1].append(piece)
    return stack[0]


def _blocks(pieces: Sequence[_Piece]) -> Iterator[_Block]:
    for piece in pieces:
        if isinstance(piece, _Block):
            yield piece
            yield from _blocks(piece.pieces)


def _marks(pieces: Sequence[_Piece]) -> Iterator[_Mark]:
    for piece in pieces:
        if isinstance(piece, _Mark):
            yield piece
        elif isinstance(piece, _Block):
            yield from _marks(piece.pieces)


def _text(
    pieces: Sequence[_Piece],
    files: Mapping[str, list[_Piece]],
    blocks: Mapping[str, list[list[_Piece]]],
    depth: int,
    above: Sequence[list[_Piece]] = (),
) -> Iterator[str]:
    """Yield the text of the pieces; `above` are the overridden versions of the block that they stand in."""
    if depth == 0:
        return
    for piece in pieces:
        if isinstance(piece, str):
            yield piece
        elif isinstance(piece, _Block):
            own, *overridden = blocks.get(piece.name, [piece.pieces])
            yield from _text(own, files, blocks, depth - 1, overridden)
        elif piece.kind == _SUPER and above:
            yield from _text(above[0], files, blocks, depth - 1, above[1:])
        elif piece.kind == _INCLUDE:
            yield from _text(files.get(piece.name, []), files, blocks, depth - 1)
