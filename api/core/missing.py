"""What a template touches and the data does not hold: written down by its path, while the rendering goes on.

So one answer can name all the missing variables, not only the first. `is defined` and `|default` touch nothing.
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from jinja2 import TemplateRuntimeError, Undefined, UndefinedError
from jinja2.utils import missing as no_object

#: Enough to mend a template by; more would be an answer nobody reads.
MAX_NAMES = 100


class TooManyNames(TemplateRuntimeError):
    """So much is missing that looking for more is of no use."""


class Ledger:
    """The missing names of one rendering, dotted (`user.email`, `items.0.name`), in the order they were touched.

    `references` are the dotted names in the template's source: they tell which path is meant when several places of
    the data hold the same scalar.
    """

    __slots__ = ("_data", "_known", "_paths", "_references", "_tails", "names")

    def __init__(self, data: Mapping[str, object], references: frozenset[str]) -> None:
        self.names: list[str] = []
        self._data = data
        self._references = references
        self._known: dict[tuple[int, object], str | None] = {}
        self._paths: dict[int, list[str]] | None = None
        self._tails: frozenset[str] = frozenset()

    def note(self, name: str) -> None:
        """Write a name down once. Raises TooManyNames at the hundredth."""
        if name in self.names:
            return
        self.names.append(name)
        if len(self.names) >= MAX_NAMES:
            raise TooManyNames("too many variables are missing")

    def path(self, holder: object, name: object) -> str | None:
        """Return the path of `name` inside a value of the data, or None if the data holds no such value."""
        key = (id(holder), name)
        if key not in self._known:
            self._known[key] = self._find(holder, name)
        return self._known[key]

    def _find(self, holder: object, name: object) -> str | None:
        if self._paths is None:
            self._paths = {}
            self._tails = frozenset(".".join(one.split(".")[-2:]) for one in self._references)
            self._walk(self._data, "")
        candidates = self._paths.get(id(holder), [])
        for path in candidates:
            if f"{path}.{name}" in self._references:
                return f"{path}.{name}"
        for path in candidates:
            if f"{path.rpartition('.')[2]}.{name}" in self._tails:
                return f"{path}.{name}"
        return f"{candidates[0]}.{name}" if candidates else None

    def _walk(self, value: object, path: str) -> None:
        assert self._paths is not None  # noqa: S101 -- set by the only caller
        if path:
            self._paths.setdefault(id(value), []).append(path)
        children: Iterator[tuple[object, object]]
        if isinstance(value, Mapping):
            children = iter(value.items())
        elif isinstance(value, list | tuple):
            children = iter(enumerate(value))
        else:
            return
        for key, child in children:
            self._walk(child, f"{path}.{key}" if path else str(key))


#: The ledger of the rendering that this thread is in.
ledger: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


class Missing(Undefined):
    """An undefined value that notes its path when it is used and then acts as if it were empty.

    What is undefined by the template's own fault (a macro's argument, a method that there is not) raises instead.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        return self._touched()

    def child(self, name: object) -> "Missing":
        """Return what `name` would be inside this value; asking for it touches nothing."""
        if self._undefined_hint is not None:
            self._touched()
        return Missing(obj=self, name=name)  # type: ignore[arg-type] # an index is a name, too

    def path(self, notes: Ledger) -> str | None:
        """Return the dotted path, or None where the data has no part in it."""
        holder, name = self._undefined_obj, self._undefined_name
        if self._undefined_hint is not None:
            return None
        if holder is no_object:
            return name
        if isinstance(holder, Missing):
            above = holder.path(notes)
            return None if above is None else f"{above}.{name}"
        return notes.path(holder, name)

    def _touched(self, *_args: object, **_kwargs: object) -> "Missing":
        notes = ledger.get()
        if notes is None:
            self._raise()
        path = self.path(notes)
        if path is not None:
            notes.note(path)
        elif self._undefined_exception is not UndefinedError or not notes.names:
            # After a first missing name, the oddities that follow from it are no news.
            self._raise()
        return self

    def _raise(self) -> NoReturn:
        raise self._undefined_exception(self._undefined_message)

    # The base declares that these never return.
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _touched  # type: ignore[assignment]
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _touched  # type: ignore[assignment]
    __mod__ = __rmod__ = __pow__ = __rpow__ = __pos__ = __neg__ = _touched  # type: ignore[assignment]
    __call__ = __getitem__ = _touched  # type: ignore[assignment]
    __abs__ = __round__ = _touched

    def __str__(self) -> str:
        self._touched()
        return ""

    def __repr__(self) -> str:
        # A list that is printed shows its items this way.
        return "Missing" if ledger.get() is None else str(self)

    def __format__(self, spec: str) -> str:
        return str(self)

    def __bool__(self) -> bool:
        self._touched()
        return False

    def __len__(self) -> int:
        self._touched()
        return 0

    def __iter__(self) -> Iterator[Any]:
        self._touched()
        return iter(())

    def __contains__(self, _item: object) -> bool:
        return bool(self)

    def __int__(self) -> int:  # type: ignore[override]
        return len(self)

    __index__ = __int__

    def __float__(self) -> float:  # type: ignore[override]
        return float(len(self))

    def __lt__(self, _other: object) -> bool:  # type: ignore[override]
        return bool(self)

    __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]

    def __eq__(self, _other: object) -> bool:
        return bool(self)

    def __ne__(self, _other: object) -> bool:
        return bool(self)

    def __hash__(self) -> int:
        self._touched()
        return id(self)
