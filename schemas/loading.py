"""Loading what is right without the bookkeeping for what is wrong."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing
from marshmallow.decorators import POST_LOAD, PRE_LOAD, VALIDATES, VALIDATES_SCHEMA

#: What reads a value, its name and the object that it stands in; and the rules for what was read.
Way = tuple[Callable[[Any, Any, Any], Any], Sequence[Callable[[Any], Any]]]
#: By the name on the wire: how a value is read, whether null is fine, and the name that it is loaded under.
_Fields = Mapping[str, tuple[Way, bool, str]]


class Brisk(Schema):
    """A schema whose fields are asked one after the other for what is there; marshmallow itself tells what is wrong.

    It has the same fields, rules and results. Only at the first doubt is everything gone through again by
    marshmallow, which remembers every error and its place, at several times the cost.
    """

    _known: _Fields | None = None

    def load(self, data: Any, *, many: Any = None, partial: Any = None, unknown: Any = None) -> Any:
        """Return the loaded value. Raises ValidationError."""
        if type(data) is dict and not (many or self.many or partial or self.partial or unknown):
            try:
                return self._loaded(data)
            except ValidationError:
                pass
        return super().load(data, many=many, partial=partial, unknown=unknown)

    def load_at_once(self, data: Any) -> dict[str, Any]:
        """Return the loaded value of what is plainly right. Raises a ValidationError without a word of what is not."""
        if type(data) is not dict:
            raise ValidationError("no object")
        return self._loaded(data)

    def _loaded(self, data: dict[str, Any]) -> dict[str, Any]:
        known = self._known if self._known is not None else self._learn()
        if not self._is_brisk:
            raise ValidationError("has rules of a kind that is left to marshmallow")
        loaded = _read(data, known)
        for name, key, default in self._absent:
            if name not in data:
                if default is missing:
                    raise ValidationError("required")
                loaded[key] = default() if callable(default) else default
        for rule in self._rules:
            rule(loaded, partial=None, many=False, unknown=self.unknown)
        return loaded

    def _learn(self) -> _Fields:
        """Work out, once, what `load` goes by."""
        hooks = self._hooks
        whole = [name for name, many, options in hooks[VALIDATES_SCHEMA] if many or options["pass_original"]]
        unheard = [*hooks[PRE_LOAD], *hooks[POST_LOAD], *hooks[VALIDATES], *whole]
        self._is_brisk = not unheard
        self._rules: list[Callable[..., Any]] = [getattr(self, name) for name, _, _ in hooks[VALIDATES_SCHEMA]]
        by_name = {field.data_key or name: field for name, field in self.load_fields.items()}
        known: _Fields = {
            name: (way(field), field.allow_none and _is_plain(field), field.attribute or str(field.name))
            for name, field in by_name.items()
        }
        #: What must be there, or what is put where it is not, and under which name.
        self._absent = [
            (name, known[name][-1], field.load_default)
            for name, field in by_name.items()
            if field.required or field.load_default is not missing
        ]
        self._known = known
        return known


def way(field: fields.Field[Any]) -> Way:
    """Return how a field is read: by a shorter way of its own, where it has one that comes to the same.

    Whatever is in doubt on the way raises a ValidationError, which need not say why.
    """
    if not _is_plain(field):
        return _left_to_marshmallow, ()
    shorter: Callable[[], Way | None] | None = getattr(field, "shorter", None)
    return (shorter and shorter()) or (field._deserialize, tuple(field.validators))


def each_at_once(its: Way, values: Sequence[Any]) -> list[Any]:
    """Return what a field makes of each value. Raises a ValidationError at the first doubt, without a word of it."""
    if None in values:
        raise ValidationError("null")
    read, rules = its
    found = [read(value, None, None) for value in values]
    for check in rules:
        for one in found:
            if check(one) is False:
                raise ValidationError("refused")
    return found


def _read(data: dict[str, Any], known: _Fields) -> dict[str, Any]:
    """Return what is there, by the names that it is loaded under. Raises ValidationError."""
    loaded = {}
    for name, value in data.items():
        if name not in known:
            raise ValidationError("unknown")
        (read, rules), may_be_null, key = known[name]
        if value is not None:
            loaded[key] = found = read(value, name, data)
            for check in rules:
                if check(found) is False:
                    raise ValidationError("refused")
        elif may_be_null:
            loaded[key] = None
        else:
            raise ValidationError("null")
    return loaded


def _left_to_marshmallow(_value: Any, _attr: Any, _data: Any) -> Any:
    raise ValidationError("left to marshmallow")


def _is_plain(field: fields.Field[Any]) -> bool:
    """Tell whether marshmallow would do nothing but ask for null, read the value, and ask its rules."""
    return type(field).deserialize is fields.Field.deserialize and not (field.pre_load or field.post_load)
