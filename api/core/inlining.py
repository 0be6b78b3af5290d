"""Puts a mail's style sheet into style attributes, in the template's source and so once, not per mail.

The inliner never writes the source: it is shown the whole page and asked which style each tag gets, and that style
alone is written into the tag. What it has no tag for, at-rules and `:hover` among it, stays in the style element.
Where Jinja would not read the same template from the result, the source stays as it was.
"""

from collections.abc import Iterator, Mapping
from html.parser import HTMLParser

import css_inline
from jinja2 import Environment, TemplateSyntaxError, nodes

from api.core.composition import NUMBER, Sheet, Tag, compose
from api.core.variables import Closure, parent_of

#: Outlook and Gmail look at style attributes first; the rules that are left stay for those who read style elements.
_INLINER = css_inline.CSSInliner(
    keep_style_tags=True, remove_inlined_selectors=True, load_remote_stylesheets=False, minify_css=True
)
_Edit = tuple[int, int, str]


def inlined(environment: Environment, closure: Closure, files: Mapping[str, str]) -> dict[str, str]:
    """Return the files of an HTML part whose source is better replaced, with their new source."""
    sources = {file: files[file] for file in closure.trees}
    if not any("<style" in source.lower() for source in sources.values()):
        return {}
    composition = compose(sources, _chain(closure))
    try:
        styles, rest = _ask(composition.page)
    except (css_inline.InlineError, ValueError):
        return {}
    edits: dict[str, list[_Edit]] = {}
    for number, tag in composition.tags.items():
        edits.setdefault(tag.file, []).extend(_tag_edits(tag, styles.get(number), sources[tag.file]))
    if not composition.has_dynamic_selectors:
        for number, sheet in composition.sheets.items():
            edits.setdefault(sheet.file, []).append(_sheet_edit(sheet, rest.get(number), sources[sheet.file]))
    changed = {file: _edited(sources[file], some) for file, some in edits.items() if some}
    return changed if _is_same(environment, closure, changed) else {}


def _chain(closure: Closure) -> list[str]:
    chain = [next(iter(closure.trees))]
    while (parent := parent_of(closure.trees[chain[-1]])) is not None and parent in closure.trees:
        chain.append(parent)
    return chain


class _Answer(HTMLParser):
    """Reads the styles of numbered tags, and what is left in numbered style elements."""

    def __init__(self) -> None:
        super().__init__()
        self.styles: dict[int, str] = {}
        self.rest: dict[int, str] = {}
        self._sheet: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._sheet = None
        number = int(values.get(NUMBER) or -1)
        if number < 0:
            return
        if tag == "style":
            self._sheet = number
            self.rest.setdefault(number, "")
        elif values.get("style"):
            # A file that is included twice has its numbers twice; the first place decides.
            self.styles.setdefault(number, str(values["style"]))

    def handle_data(self, data: str) -> None:
        if self._sheet is not None:
            self.rest[self._sheet] += data

    def handle_endtag(self, tag: str) -> None:
        self._sheet = None


def _ask(page: str) -> tuple[dict[int, str], dict[int, str]]:
    answer = _Answer()
    answer.feed(_INLINER.inline(page))
    answer.close()
    return answer.styles, answer.rest


def _tag_edits(tag: Tag, style: str | None, source: str) -> Iterator[_Edit]:
    if not style:
        return
    value = style.replace("&", "&amp;").replace('"', "&quot;")
    if tag.style is None or tag.value is None:
        yield tag.place, tag.place, f' style="{value}"'
    elif tag.is_dynamic:
        # What the author wrote comes last, and so wins.
        own = source[slice(*tag.value)]
        quote = "'" if '"' in own else '"'
        value = value.replace("'", "&#39;") if quote == "'" else value
        yield (*tag.style, f"style={quote}{value.rstrip(';')};{own}{quote}")
    else:
        yield (*tag.style, f'style="{value}"')


def _sheet_edit(sheet: Sheet, rest: str | None, source: str) -> _Edit:
    """Return the edit that leaves the remaining rules, and the lines below where they were for error messages."""
    before = source[slice(*sheet.element)]
    if rest is None:
        return (*sheet.content, source[slice(*sheet.content)])
    lines = before.count("\n")
    if not rest.strip():
        return (*sheet.element, _lines(lines))
    kept = " ".join(rest.split())
    opening = source[sheet.element[0] : sheet.content[0]]
    return (*sheet.element, f"{opening}{{% raw %}}{kept}{{% endraw %}}</style>{_lines(lines - opening.count(chr(10)))}")


def _lines(number: int) -> str:
    return "{#" + "\n" * number + "#}" if number else ""


def _edited(source: str, edits: list[_Edit]) -> str:
    pieces = []
    at = 0
    for start, end, text in sorted(edits):
        pieces += [source[at:start], text]
        at = end
    return "".join([*pieces, source[at:]])


def _is_same(environment: Environment, closure: Closure, changed: Mapping[str, str]) -> bool:
    """Tell whether the changed sources are the same templates but for their literal text."""
    try:
        return all(
            _skeleton(environment.parse(source)) == _skeleton(closure.trees[file]) for file, source in changed.items()
        )
    except TemplateSyntaxError:
        return False


def _skeleton(tree: nodes.Node) -> list[object]:
    """Return the statements and expressions of a tree in order, without its literal text."""
    if isinstance(tree, nodes.TemplateData):
        return []
    inner = [skeleton for child in tree.iter_child_nodes() if (skeleton := _skeleton(child))]
    if isinstance(tree, nodes.Output) and not inner:
        return []
    values = [(name, value) for name, value in tree.iter_fields() if _is_plain(value)]
    return [type(tree).__name__, values, *inner]


def _is_plain(value: object) -> bool:
    if isinstance(value, list):  # an empty list of nodes says nothing: the literal text in it is left out as well
        return bool(value) and all(_is_plain(item) for item in value)
    return not isinstance(value, nodes.Node)
