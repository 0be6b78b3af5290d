"""The Jinja environment of mail templates: sandboxed, bounded, strict about what is missing.

Templates see plain data only. A key of a dictionary always wins over its methods, so `order.items` is the data's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import BaseLoader, Environment, Template, TemplateNotFound, nodes, pass_environment
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from api.core import limits
from api.core.filters import FILTERS, INNER_FILTERS
from api.core.missing import Missing

#: Stands between the file a part starts from and the file that takes part in it, in a compiled template's name.
_WITHIN = ":"
_ABSENT: Any = object()

_TEXT_METHODS = frozenset(dir(str)) - {
    *(name for name in dir(str) if name.startswith("_")),
    # These make bytes, reach into what they are given, or grow without a bound that could be told beforehand.
    *("encode", "expandtabs", "format_map", "maketrans", "translate"),
}
#: What may be called on data, by type; everything else is refused, or is missing.
_METHODS: Mapping[type, frozenset[str]] = {
    str: _TEXT_METHODS,
    Markup: _TEXT_METHODS | {"unescape"},
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    float: frozenset({"is_integer"}),
    int: frozenset(),
    bool: frozenset(),
    type(None): frozenset(),
}


class _BoundedFields:
    """Checks each field of a `str.format`, and the sum of them."""

    _size = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        limits.check_format_spec(format_spec)
        field = super().format_field(value, format_spec)  # type: ignore[misc] # a mixin
        self._size += len(field)
        limits.check_size(self._size)
        return field


class _TextFormatter(_BoundedFields, SandboxedFormatter):
    pass


class _MarkupFormatter(_BoundedFields, SandboxedEscapeFormatter):
    pass


class _Guard(NodeTransformer):
    """Puts loops under the budget, `~` under the limits like the other operators, and gives methods to calls alone.

    What is not called is never a method, so `order.items` is missing where the data has no such key.
    """

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 -- the visitor's naming
        self.generic_visit(node)
        if isinstance(node.node, nodes.Getattr):
            name = nodes.Const(node.node.attr, lineno=node.lineno)
            node.node = nodes.Filter(node.node.node, "_method", [name], [], None, None, lineno=node.lineno)
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_ticking", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        values = nodes.Tuple(node.nodes, "load", lineno=node.lineno)
        return nodes.Filter(values, "_concat", [], [], None, None, lineno=node.lineno)


class Sources(BaseLoader):
    """Compiles templates from memory; `overlays` holds, by part, the files that differ within it."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.overlays: dict[str, Mapping[str, str]] = {}

    def load(
        self,
        environment: Environment,
        name: str,
        globals: Any = None,
    ) -> Template:
        """Return the compiled template. Raises TemplateNotFound, TemplateSyntaxError."""
        part, _, file = name.partition(_WITHIN)
        source = self.overlays.get(part, self.files).get(file, self.files.get(file))
        if source is None:
            raise TemplateNotFound(file)
        tree = _Guard().visit(environment.parse(source, name, name))
        code = environment.compile(tree, name, name)
        return environment.template_class.from_code(environment, code, dict(globals or {}))


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment that compiles and renders the files of one loader.

    A compiled template is named `<part>:<file>`: whatever takes part in an HTML part is escaped, whatever its name.
    """

    intercepted_binops = frozenset(limits.OPERATORS)
    concat = staticmethod(limits.join)  # also bounds macros and captured blocks

    def __init__(self, loader: BaseLoader | None = None) -> None:
        super().__init__(
            loader=loader,
            autoescape=lambda name: (name or "").partition(_WITHIN)[0].endswith(".html"),
            undefined=Missing,
            finalize=_finalize,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.binop_table |= limits.OPERATORS
        self.filters |= FILTERS | INNER_FILTERS | {"_method": _method}
        # Random text makes a preview that differs from the mail.
        del self.filters["random"], self.globals["lipsum"]
        self.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": _json_default}

    def join_path(self, template: str, parent: str) -> str:
        """Return the compiled name of a file within the part that refers to it."""
        return within(parent.partition(_WITHIN)[0], file_name(template))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute`: a dictionary's key; other plain data has no attributes."""
        kind = obj.__class__
        if kind is dict:
            value = obj.get(attribute, _ABSENT)
            if value is not _ABSENT:
                return value
        elif kind is Missing:
            return self.unsafe_undefined(obj, attribute) if attribute[:1] == "_" else obj.child(attribute)
        elif kind not in _METHODS:
            return super().getattr(obj, attribute)
        if attribute[:1] == "_":
            return self.unsafe_undefined(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def method(self, obj: Any, name: str) -> Any:
        """Return what `obj.name(…)` calls: one of the few methods of plain data, unless the data has such a key."""
        if name not in _METHODS.get(obj.__class__, ()) or (isinstance(obj, dict) and name in obj):
            return self.getattr(obj, name)
        method: Callable[..., Any] = getattr(obj, name)
        if not isinstance(obj, str):
            return method
        if name == "format":
            formatter = _MarkupFormatter(self, escape=obj.escape) if isinstance(obj, Markup) else _TextFormatter(self)
            return lambda *args, **kwargs: type(obj)(formatter.vformat(obj, args, kwargs))
        return _bounded(obj, name, method)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return `obj[argument]`: a key or an index, never a method."""
        kind = obj.__class__
        if kind is Missing:
            return obj.child(argument)
        if kind not in _METHODS:
            return super().getitem(obj, argument)
        try:
            return obj[argument]
        except (TypeError, LookupError):
            if isinstance(argument, str) and argument[:1] == "_":
                return self.unsafe_undefined(obj, argument)
            return self.undefined(obj=obj, name=argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call what a template calls, counted as a step. Raises SecurityError."""
        limits.tick()
        return super().call(__context, __obj, *args, **kwargs)

    def call_filter(self, *args: Any, **kwargs: Any) -> Any:
        """Apply a filter by name, as `map` does for each value, counted as a step."""
        limits.tick()
        return super().call_filter(*args, **kwargs)

    def call_test(self, *args: Any, **kwargs: Any) -> Any:
        """Apply a test by name, as `select` does for each value, counted as a step."""
        limits.tick()
        return super().call_test(*args, **kwargs)


@pass_environment
def _method(environment: Sandbox, obj: Any, name: str) -> Any:
    return environment.method(obj, name)


def within(part: str, file: str) -> str:
    """Return the compiled name of a file as it takes part in a part."""
    return f"{part}{_WITHIN}{file}"


def file_of(compiled_name: str) -> str:
    """Return the name of the file that a compiled template was made from."""
    return compiled_name.partition(_WITHIN)[2] or compiled_name


def file_name(reference: str) -> str:
    """Return the file that a template's `extends` or `include` means; the folder's own name may stand before it."""
    return reference.removeprefix("mail/")


def _finalize(value: Any) -> Any:
    # Null is told as nothing: "Hello None" is no greeting.
    return "" if value is None else value


def _json_default(value: object) -> object:
    if isinstance(value, Undefined):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _bounded(text: str, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a string that checks what it would grow to."""

    def padded(width: int, *fill: str) -> Any:
        limits.check_number(width)
        return method(width, *fill)

    def replaced(old: str, new: str, *count: int) -> Any:
        limits.check_replace(text, str(old), str(new))
        return method(old, new, *count)

    def joined(values: Any) -> Any:
        pieces = list(limits.ticking(values))
        limits.check_size(sum(len(one) for one in pieces) + len(pieces) * len(text))
        return method(pieces)

    wrappers: dict[str, Callable[..., Any]] = {"replace": replaced, "join": joined}
    return padded if name in {"center", "ljust", "rjust", "zfill"} else wrappers.get(name, method)
