"""Loading what is right without the bookkeeping for what is wrong."""

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing
from marshmallow.decorators import POST_LOAD, PRE_LOAD, VALIDATES, VALIDATES_SCHEMA

#: By the name on the wire: the field, and the name that its value is loaded under.
_Fields = Mapping[str, tuple[fields.Field[Any], str]]


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

    def _loaded(self, data: dict[str, Any]) -> dict[str, Any]:
        known = self._known if self._known is not None else self._learn()
        loaded: dict[str, Any] = {}
        for name, value in data.items():
            if name not in known:
                raise ValidationError("unknown")
            field, key = known[name]
            loaded[key] = field.deserialize(value, name, data)
        for name, default in self._absent:
            if name not in data:
                if default is missing:
                    raise ValidationError("required")
                loaded[known[name][1]] = default() if callable(default) else default
        for rule in self._rules:
            rule(loaded, partial=None, many=False, unknown=self.unknown)
        return loaded

    def _learn(self) -> _Fields:
        """Work out, once, what `load` goes by."""
        hooks = self._hooks
        whole = [name for name, many, options in hooks[VALIDATES_SCHEMA] if many or options["pass_original"]]
        unheard = [*hooks[PRE_LOAD], *hooks[POST_LOAD], *hooks[VALIDATES], *whole]
        if unheard:
            raise TypeError(f"hooks that a brisk schema does not run: {unheard}")
        self._rules: list[Callable[..., Any]] = [getattr(self, name) for name, _, _ in hooks[VALIDATES_SCHEMA]]
        known = {field.data_key or name: (field, field.attribute or name) for name, field in self.load_fields.items()}
        #: What must be there, and what is put where it is not.
        self._absent = [
            (name, field.load_default)
            for name, (field, _) in known.items()
            if field.required or field.load_default is not missing
        ]
        self._known = known
        return known
