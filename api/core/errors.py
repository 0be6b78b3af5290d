"""Failures of use-cases, named after what they mean; `api.rest.problems` maps each to its HTTP status.

PostroomError
├── BadCursor             the list position was altered or belongs to another list
├── NotFound              unknown, or the other mode's
│   └── UnknownTemplate   no such template
├── NotAllowed            the caller may not do this
├── Conflict              the state, or somebody else's claim to a name, forbids it
│   └── TwinRunning       the same request is being carried out already
├── StaleVersion          the resource changed since the caller read it
├── Gone                  it was here, and is purged
├── Invalid               fields that are wrong, each with a pointer
│   ├── MissingVariables  the data lacks what the template uses
│   └── BadTemplate       the template itself cannot be rendered
├── TooMany               more than the rate allows; try again later
└── Unavailable           cannot be stored or answered now; try again later
    └── QueueFull         so much waits that nothing more is accepted
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: an RFC 6901 pointer into the request body, a sentence, and a stable code."""

    pointer: str
    detail: str
    code: str


class PostroomError(Exception):
    """Base of all; the class docstring is the default sentence told to the caller."""

    def __init__(self, detail: str | None = None, *, errors: Iterable[FieldError] = ()) -> None:
        self.detail = detail or str(self.__doc__)
        self.errors = tuple(errors)
        super().__init__(self.detail)


class BadCursor(PostroomError):
    """This cursor is not one that the list has given out."""


class NotFound(PostroomError):
    """There is no such resource."""


class UnknownTemplate(NotFound):
    """There is no such template."""


class NotAllowed(PostroomError):
    """This key may not do that."""


class Conflict(PostroomError):
    """The state of the resource does not allow that."""


class TwinRunning(Conflict):
    """A request with the same Idempotency-Key is still being carried out. Ask again in a moment."""

    retry_after = 1


class StaleVersion(PostroomError):
    """The resource has changed since it was read."""


class Gone(PostroomError):
    """The content has been purged."""


class Invalid(PostroomError):
    """The request holds fields that are wrong."""


def _inside_data(name: str) -> str:
    # RFC 6901, section 3: a name may hold the slash that parts them.
    return "/data/" + name.replace("~", "~0").replace("/", "~1").replace(".", "/")


class MissingVariables(Invalid):
    """The template uses variables that the data does not hold."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            "The template needs variables that the data does not hold: " + ", ".join(self.names) + ".",
            errors=(
                FieldError(_inside_data(name), f"The template needs '{name}'.", "missing_variable")
                for name in self.names
            ),
        )


class BadTemplate(Invalid):
    """The template cannot be rendered with this data."""


class Unavailable(PostroomError):
    """The request cannot be stored just now."""

    def __init__(self, detail: str | None = None, *, retry_after: int = 5) -> None:
        self.retry_after = retry_after
        super().__init__(detail)


class TooMany(PostroomError):
    """That is more than the rate allows."""

    def __init__(self, detail: str | None = None, *, errors: Iterable[FieldError] = (), retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(detail, errors=errors)


class QueueFull(Unavailable):
    """Too much mail waits to be sent: nothing more is accepted for now."""
