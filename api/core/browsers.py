"""Browser keys: what somebody may do who has nothing but a key that everybody can read.

They may register a user, and send one of the key's templates to who was registered. Their words go into mail that
others get, and must not make an advertisement of it: no links, no lines, not much.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from api.core import addresses, clock, keys, policy
from api.core.claim import Address
from api.core.db import db
from api.core.errors import FieldError, Invalid, NotAllowed, UnknownTemplate
from api.core.models import ApiKey, User
from api.core.recipients import Registered
from schemas.vocabulary import Mode

#: For how long the e-mail address of who was registered is a recipient.
RECENT = timedelta(hours=1)
#: Characters of one text, and texts, numbers and names in all of a request's data.
LONGEST_TEXT = 200
MOST_VALUES = 50
#: What a message may bring; the view keeps `status_token` for itself.
_MAY = frozenset({"to", "template", "data", "locale"})
_NAMES = {"sender": "from"}
#: What mail clients turn into links, or browsers take for one: a scheme with its slashes, `www.`, a domain with a path.
_LINK = re.compile(
    r"[a-z][a-z0-9+.-]*:\s*[/\\]|\b(?:https?|javascript|mailto):|[/\\]{2}|\bwww\d*\.|\.[^\W\d]{2,}[/\\?#]"
)
#: End a line, or turn the reading order around (UAX #9).
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def create(
    *, name: str, origins: Collection[str], templates: Collection[str], mode: Mode = Mode.LIVE
) -> tuple[ApiKey, str]:
    """Store a new browser key; return it with its text. Raises Invalid for templates that there are not."""
    wrong = []
    for index, template in enumerate(templates):
        try:
            policy.current().templates.describe(template)
        except UnknownTemplate:
            detail = "There is no template of this name."
            wrong.append(FieldError(f"/templates/{index}", detail, "unknown_template"))
    if wrong:
        raise Invalid("Some templates are unknown.", errors=wrong)
    return keys.create_for_browsers(name=name, origins=origins, templates=templates, mode=mode)


def check_user(user: Mapping[str, Any], *, key: ApiKey) -> None:
    """Raise Invalid for what a browser may not say of a user; any other key may say it."""
    if key.is_browser:
        _check_words({name: user[name] for name in ("username", "name", "metadata") if name in user})


def check_message(message: Mapping[str, Any], *, key: ApiKey) -> None:
    """Raise NotAllowed or Invalid for a message that a browser may not send; any other key may send it."""
    if not key.is_browser:
        return
    more = sorted(_NAMES.get(name, name) for name in message.keys() - _MAY)
    if more:
        raise _refused("A browser key sends templates, and nothing beside them.", *more)
    if message.get("template") not in (key.templates or ()):
        raise _refused("This key may not send this template.", "template")
    to = message.get("to", ())
    if len(to) != 1 or not _is_registered(to[0], key):
        # One answer for whoever is unknown, known from elsewhere, or registered too long ago.
        raise _refused("A browser key writes to one user, whom it has just registered or whose id it knows.", "to")
    name = to[0].name if isinstance(to[0], Address) else None
    _check_words({"data": message.get("data", {}), **({"to": {"name": name}} if name else {})})


def _is_registered(to: Address | Registered, key: ApiKey) -> bool:
    users = select(User.id).where(User.mode == key.mode)
    if isinstance(to, Registered):
        # Ids are not to be guessed: who knows one was told it.
        return db.session.scalar(users.where(User.id == to.user_id)) is not None
    try:
        mailbox = addresses.key(addresses.normalise(to.email))
    except ValueError:
        return False
    theirs = users.where(User.email_key == mailbox, User.registered_by == key.id)
    return db.session.scalar(theirs.where(User.created_at > clock.utcnow() - RECENT)) is not None


def _refused(detail: str, *fields: str) -> NotAllowed:
    return NotAllowed(detail, errors=[FieldError(f"/{field}", detail, "not_allowed") for field in fields])


def _check_words(fields: Mapping[str, Any]) -> None:
    values = list(_values(fields, ""))
    if len(values) > MOST_VALUES:
        detail = f"At most {MOST_VALUES} values from a browser; these are {len(values)}."
        place = "/data" if "data" in fields else "/metadata"
        raise Invalid(errors=[FieldError(place, detail, "too_long")])
    wrong = [FieldError(pointer, *said) for pointer, value in values if (said := _complaint(value)) is not None]
    if wrong:
        raise Invalid("A browser may not say that.", errors=wrong)


def _values(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Yield all texts, names and other values, each with its pointer."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            inside = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            yield inside, name
            yield from _values(inner, inside)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _values(inner, f"{pointer}/{index}")
    else:
        yield pointer, value


def _complaint(value: Any) -> tuple[str, str] | None:
    """Return why a value may not come from a browser, as a sentence and a code."""
    if not isinstance(value, str):
        return None
    if len(value) > LONGEST_TEXT:
        return f"At most {LONGEST_TEXT} characters from a browser.", "too_long"
    if _UNREADABLE.search(value):
        return "Must be one line.", "control_character"
    # Wide letters, and letters with something invisible between them, read like the others.
    seen = "".join(one for one in unicodedata.normalize("NFKC", value) if unicodedata.category(one) != "Cf")
    if _LINK.search(seen.casefold()):
        return "A browser may not send links.", "link"
    return None
