"""From marshmallow's messages to the errors of a problem, each with a JSON pointer (RFC 6901)."""

from collections.abc import Iterator, Mapping
from typing import Any

from api.core.errors import FieldError, PostroomError

#: Characters of a pointer in an answer; the names in it may be the caller's own.
_LONGEST = 300
#: Where one value may stand for a list of one, or a bare address for an object.
_ADDRESSED = frozenset({"to", "cc", "bcc", "reply_to", "from", "attachments"})


def errors(messages: Any, pointer: str = "") -> Iterator[FieldError]:
    """Yield an error for each message in marshmallow's tree of them."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from errors(inner, pointer if name == "_schema" else f"{pointer}/{_token(name)}")
    elif isinstance(messages, list):
        for message in messages:
            yield from errors(message, pointer)
    else:
        yield FieldError(pointer[:_LONGEST], str(messages), getattr(messages, "code", "invalid"))


def _token(name: object) -> str:
    # Half a surrogate pair has no place in an answer in UTF-8.
    text = str(name).encode("utf-8", "replace").decode()
    return text.replace("~", "~0").replace("/", "~1")


def aimed(error: PostroomError, body: Any) -> PostroomError:
    """Return the error, its pointers at places that the body has."""
    error.errors = tuple([within(body, one) for one in error.errors])
    return error


def within(body: Any, error: FieldError) -> FieldError:
    """Return the error with a pointer to a place that the body has, where an address was given in a shorter form."""
    names = error.pointer.split("/")[1:]
    if not names or names[0] not in _ADDRESSED:
        return error
    kept: list[str] = []
    for name in names:
        if isinstance(body, str):
            break
        if isinstance(body, Mapping) and name.isdecimal():
            continue
        kept.append(name)
        body = _inside(body, name)
    return FieldError("".join(f"/{name}" for name in kept), error.detail, error.code)


def _inside(body: Any, name: str) -> Any:
    if isinstance(body, Mapping):
        return body.get(name)
    return body[int(name)] if isinstance(body, list) and name.isdecimal() and int(name) < len(body) else None
