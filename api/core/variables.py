"""What can be read off a template's source: the files that take part in it, and the variables it uses."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jinja2 import Environment, TemplateSyntaxError, meta, nodes

from api.core.sandbox import file_name

#: Names that Jinja gives by itself.
_GIVEN = frozenset({"caller", "kwargs", "loop", "self", "super", "varargs"})


class Unusable(Exception):
    """A template's source can't be used; the text is a sentence for its author, without paths."""


@dataclass(frozen=True, slots=True)
class Closure:
    """A file with all that it extends, includes and imports, parsed; the file itself comes first.

    `is_open` says that a name of a file is known only while rendering.
    """

    trees: Mapping[str, nodes.Template]
    is_open: bool


def closure(environment: Environment, files: Mapping[str, str], start: str) -> Closure:
    """Return the closure of a file. Raises Unusable on a syntax error, a missing file, or a circle of extends."""
    trees: dict[str, nodes.Template] = {}
    waiting = [start]
    is_open = False
    while waiting:
        file = waiting.pop()
        if file in trees:
            continue
        trees[file] = parse(environment, file, files[file])
        for names, optional in _references(trees[file]):
            known = [name for name in names if name is not None and name in files]
            is_open = is_open or None in names
            if not known and not optional and None not in names:
                raise Unusable(f"{file} needs {names[0]}, which is not there.")
            waiting.extend(known)
    _check_ancestry(trees, start)
    return Closure(trees, is_open)


def parse(environment: Environment, file: str, source: str) -> nodes.Template:
    """Return the syntax tree of a file. Raises Unusable with the line of a syntax error."""
    try:
        return environment.parse(source, file)
    except TemplateSyntaxError as error:
        raise Unusable(complaint(file, error)) from error


def complaint(file: str, error: TemplateSyntaxError) -> str:
    """Return a syntax error as a sentence."""
    return f"{file} has a syntax error in line {error.lineno}: {str(error.message).rstrip('.')}."


def _references(tree: nodes.Template) -> Iterator[tuple[list[str | None], bool]]:
    """Yield, per reference, the files it may mean (None: known only while rendering) and whether it may find none."""
    for node in tree.find_all((nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include)):
        optional = isinstance(node, nodes.Include) and node.ignore_missing
        reference: nodes.Expr = node.template  # type: ignore[attr-defined] # all four have it
        values: Iterable[object]
        if isinstance(reference, nodes.Const):
            values = reference.value if isinstance(reference.value, list | tuple) else [reference.value]
        elif isinstance(reference, nodes.List | nodes.Tuple):
            values = [item.value if isinstance(item, nodes.Const) else None for item in reference.items]
        else:
            values = [None]
        yield [file_name(value) if isinstance(value, str) else None for value in values], optional


def parent_of(tree: nodes.Template) -> str | None:
    """Return the file that this one extends, if its name stands in the source."""
    extends = tree.find(nodes.Extends)
    if extends is None or not isinstance(extends.template, nodes.Const):
        return None
    return file_name(str(extends.template.value))


def _check_ancestry(trees: Mapping[str, nodes.Template], start: str) -> None:
    for file in trees:
        seen = [file]
        while (parent := parent_of(trees[seen[-1]])) is not None and parent in trees:
            if parent in seen:
                raise Unusable(f"{start} extends itself by way of {parent}.")
            seen.append(parent)


def variables(found: Iterable[Closure]) -> tuple[str, ...]:
    """Return the variables that the sources take from the data, sorted: `user`, and `user.email` where it is plain."""
    names: set[str] = set()
    for one in found:
        start, *others = one.trees
        here = _assigned(one.trees[start].body)
        inherited = _ancestors(one.trees, start)
        shared = here | {name for file in inherited for name in _assigned(one.trees[file].body)}
        # An included file sees the loop variables of whoever includes it.
        scoped = {name.name for tree in one.trees.values() for name in tree.find_all(nodes.Name) if name.ctx != "load"}
        for file in (start, *others):
            hidden = shared if file == start or file in inherited else shared | scoped
            undeclared = meta.find_undeclared_variables(one.trees[file]) - hidden - _GIVEN
            names |= undeclared
            names |= {path for path in dotted(one.trees[file]) if path.partition(".")[0] in undeclared}
    return tuple(sorted(names))


def _ancestors(trees: Mapping[str, nodes.Template], start: str) -> list[str]:
    found: list[str] = []
    parent = parent_of(trees[start])
    while parent is not None and parent in trees:
        found.append(parent)
        parent = parent_of(trees[parent])
    return found


def _assigned(body: Iterable[nodes.Node]) -> set[str]:
    """Return the names that top-level statements give a value: blocks and parents see those, too."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, nodes.Assign | nodes.AssignBlock):
            names |= {name.name for name in node.find_all(nodes.Name) if name.ctx == "store"}
        elif isinstance(node, nodes.Macro):
            names.add(node.name)
        elif isinstance(node, nodes.Import):
            names.add(node.target)
        elif isinstance(node, nodes.FromImport):
            names |= {name if isinstance(name, str) else name[1] for name in node.names}
    return names


def dotted(tree: nodes.Template) -> frozenset[str]:
    """Return the dotted names in a source, such as `user.email`; what is called is left out, it is a method."""
    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    paths = (_path(node) for node in tree.find_all((nodes.Getattr, nodes.Getitem)) if id(node) not in called)
    return frozenset(path for path in paths if path is not None)


def _path(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        above, name = _path(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        above, name = _path(node.node), str(node.arg.value)
    else:
        return None
    return None if above is None else f"{above}.{name}"
