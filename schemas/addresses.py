"""Mail addresses on the wire: a bare string or an object, one or a list of them."""

import re
import unicodedata
from typing import Any, ClassVar

from marshmallow import ValidationError

from schemas.base import Id, Line, Nested, Request, String
from schemas.complaints import Length, Sayings, wrong

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# Which letters a domain may hold, IDNA 2008 decides, not this pattern.
_LABEL = r"(?:[A-Za-z0-9-]|[^\x00-\x7f\s])+"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})+)")
#: Scripts with letters that look like Latin ones (UTS #39): in one label with them they can only deceive.
_LOOK_ALIKES = {"ARMENIAN", "CHEROKEE", "CYRILLIC", "GREEK"}
#: Letters of those scripts that nobody can tell from small Latin ones: a whole name of them can be read as Latin.
_DOUBLES = frozenset("асԁеһіјӏопԛгрѕуԝхҽѵѡαγηικνορτυχωϲϳաօոսհցզքյ")


class Email(String):
    """An addr-spec: an ASCII dot-atom, `@`, and a domain with a dot in it, as letters or in its IDNA form.

    Narrower than RFC 5321: no quotes, no address literals, no display name, no list.
    """

    SAYS: ClassVar[Sayings] = {
        "invalid_address": ("invalid_address", "Must be one mail address, like ann@example.org, without a name."),
        "deceptive": ("invalid_address", "The domain mixes scripts or holds look-alike characters."),
    }

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"format": "email", "example": "ann@example.org"} | kwargs.pop("metadata", {})
        super().__init__(validate=Length(3, 254), metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        found = _ADDRESS.fullmatch(text) if len(text) <= 254 else None
        if found is None or len(found["local"]) > 64:  # RFC 5321 §4.5.3.1.1
            raise self.make_error("invalid_address")
        if _is_deceptive(found["domain"]):
            raise self.make_error("deceptive")
        return text


def _is_deceptive(domain: str) -> bool:
    if domain.isascii() and "xn--" not in domain.lower():
        return False
    if unicodedata.normalize("NFKC", domain) != unicodedata.normalize("NFC", domain):
        return True  # a compatibility form, such as a full-width letter
    *labels, top = [_spelt_out(label) for label in domain.split(".")]
    # Under a top-level domain of the script itself, nobody expects Latin letters.
    return any(map(_mixes_scripts, (*labels, top))) or (top.isascii() and any(map(_poses_as_latin, labels)))


def _spelt_out(label: str) -> str:
    """Return a label in its letters, if it is in its ASCII form."""
    if label[:4].lower() != "xn--":
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label  # refused where domains are looked at as a whole


def _poses_as_latin(label: str) -> bool:
    return not label.isascii() and _DOUBLES.issuperset(letter for letter in label.lower() if not letter.isascii())


def _mixes_scripts(label: str) -> bool:
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in label if letter.isalpha()}
    return len(scripts & {"LATIN", *_LOOK_ALIKES}) > 1


class Mailbox(Request):
    """An address and the name shown beside it."""

    email = Email(required=True)
    name = Line(longest=200, metadata={"description": "The display name.", "example": "Ann Example"})


class Sender(Nested):
    """A mailbox, or its address as a bare string; loads as `{"email", "name"?}`."""

    SAYS: ClassVar[Sayings] = {"type": ("invalid_type", "Must be an address or an object with `email`.")}
    _email = Email()

    def __init__(self, **kwargs: Any) -> None:
        self._mailbox = Mailbox()
        super().__init__(self._mailbox, **kwargs)

    def _at_once(self, value: Any) -> dict[str, Any]:
        """Return what is plainly a mailbox as an object. Raises ValidationError for all else, without saying why."""
        return self._mailbox.load_at_once(value)

    def _deserialize(self, value: Any, attr: Any, data: Any, partial: Any = None, **kwargs: Any) -> Any:
        if isinstance(value, str):
            return {"email": self._email.deserialize(value)}
        if not isinstance(value, dict):
            raise self.make_error("type")
        return super()._deserialize(value, attr, data, **kwargs)


class Registered(Request):
    """A user as a recipient: mail goes to their address, under their name."""

    user_id = Id(required=True, metadata={"description": "A registered user.", "format": "uuid"})


class Mailboxes(Sender):
    """One mailbox or a list of them, each an address or an object; loads as a list of `{"email", "name"?}`.

    `longest` only bounds the work: how many different recipients there may be is counted elsewhere.
    """

    SAYS: ClassVar[Sayings] = {
        "type": ("invalid_type", "Must be an address, an object with `email`, or a list of such.")
    }

    def __init__(self, *, longest: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longest = longest

    def _deserialize(self, value: Any, attr: Any, data: Any, partial: Any = None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            return [super()._deserialize(value, attr, data, **kwargs)]
        if len(value) > self.longest:
            raise wrong(f"At most {self.longest} entries; these are {len(value)}.", "too_long")
        try:
            return [self._at_once(one) for one in value]
        except ValidationError:
            return self._one_by_one(value, attr, data, **kwargs)

    def _one_by_one(self, value: list[Any], attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        loaded: list[Any] = []
        errors: dict[Any, Any] = {}
        for index, one in enumerate(value):
            try:
                loaded.append(super()._deserialize(one, attr, data, **kwargs))
            except ValidationError as error:
                errors[index] = error.messages
        if errors:
            raise ValidationError(errors)
        return loaded


class Recipients(Mailboxes):
    """Mailboxes, or users by their `user_id`; these load as `{"user_id"}`."""

    SAYS: ClassVar[Sayings] = {
        "type": ("invalid_type", "Must be an address, an object with `email` or `user_id`, or a list of such.")
    }
    _registered = Registered()

    def _load(self, value: Any, partial: Any = None) -> Any:
        if isinstance(value, dict) and "user_id" in value and "email" not in value:
            return self._registered.load(value)
        return super()._load(value, partial=partial)
