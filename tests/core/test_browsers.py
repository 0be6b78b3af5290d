"""Browser keys: what they may say, to whom, and what makes one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core import browsers, keys, users
from api.core.browsers import LONGEST_TEXT, MOST_VALUES
from api.core.claim import Address
from api.core.errors import Invalid, NotAllowed
from api.core.models import ApiKey
from api.core.recipients import Registered
from schemas.vocabulary import Mode

PAGE = ApiKey(origins=["https://app.example.org"], templates=["welcome"], mode=Mode.LIVE, scopes=[])
LINKS = [
    "http://evil.example",
    "https://evil.example/x?y#z",
    "HTTPS://EVIL.EXAMPLE",
    "see http://evil.example now",
    "http:evil.example",
    "https:\\\\evil.example",
    "//evil.example",
    "ftp://evil.example",
    "www.evil.example",
    "WWW.evil.example",
    "www2.evil.example",
    "evil.example/offer",
    "evil.example?offer=1",
    "evil.example#offer",
    "javascript:alert(1)",
    "mailto:eve@evil.example",
    "\uff48\uff54\uff54\uff50\uff1a\uff0f\uff0fevil.example",  # wide letters
    "h\u200bt\u200btp://evil.example",  # with zero-width spaces
    "w\u00adw\u00adw.evil.example",  # with soft hyphens
    "ww\u2060w.evil.example",
]
PLAIN = ["Ann", "Ann Example, Jr.", "O'Neill", "ann@example.org", "ann.smith", "7/8", "a: b", "3.50 EUR", "Zoë 李", ""]


def refused(value):
    with pytest.raises(Invalid) as caught:
        browsers.check_user({"username": "ann", "metadata": {"x": value}}, key=PAGE)
    return {error.pointer: error.code for error in caught.value.errors}


@pytest.mark.parametrize("text", LINKS, ids=ascii)
def test_what_reads_like_a_link_is_refused(text):
    assert refused(text) == {"/metadata/x": "link"}


@pytest.mark.parametrize("text", PLAIN, ids=ascii)
def test_names_addresses_and_amounts_are_not(text):
    browsers.check_user({"username": "ann", "name": text, "metadata": {"x": [text, 1, None, True]}}, key=PAGE)


@pytest.mark.parametrize("end", ["\n", "\r", "\x00", "\x0b", "\x85", "\u2028", "\u2029", "\u202e", "\u2066"], ids=ascii)
def test_what_is_no_line_is_refused(end):
    assert refused(f"a{end}b") == {"/metadata/x": "control_character"}


def test_a_long_text_and_many_values_are_refused():
    assert refused("x" * (LONGEST_TEXT + 1)) == {"/metadata/x": "too_long"}
    assert refused(["x"] * MOST_VALUES) == {"/metadata": "too_long"}


def test_names_in_data_are_read_too():
    with pytest.raises(Invalid) as caught:
        browsers.check_user({"metadata": {"www.evil.example/~x": 1}}, key=PAGE)

    assert [error.pointer for error in caught.value.errors] == ["/metadata/www.evil.example~1~0x"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(around=VALUES, link=st.sampled_from(LINKS), before=st.text(max_size=10), deep=st.integers(0, 5))
def test_a_link_is_found_wherever_it_stands(around, link, before, deep):
    value: object = f"{before} {link}"
    for _ in range(deep):
        value = {"inside": [around, value]}

    with pytest.raises(Invalid):
        browsers.check_user({"metadata": {"x": value}}, key=PAGE)


@given(value=VALUES)
def test_whatever_is_given_is_accepted_or_refused_in_words(value):
    said = []
    with contextlib.suppress(Invalid):
        browsers.check_user({"metadata": {"x": value}}, key=PAGE)
        said.append("accepted")
    assert said or refused(value)


def test_other_keys_may_say_what_they_like(key):
    said = {"username": "x", "name": LINKS[0], "metadata": {"x": LINKS}}
    browsers.check_user(said, key=key)
    browsers.check_message({"to": [Address("a@example.org")] * 2, "text": LINKS[0]}, key=key)


class TestWriting:
    @pytest.fixture
    def page(self, app):
        return browsers.create(name="page", origins=["https://app.example.org"], templates=["welcome"])[0]

    @pytest.fixture
    def ann(self, page):
        return users.register(key=page, username="ann", email="Ann@example.org").user

    def message(self, *to):
        return {"to": list(to), "template": "welcome", "data": {}}

    def test_to_who_was_just_registered_by_address_or_id(self, page, ann):
        for to in (Address("ann@example.org"), Address("ANN@EXAMPLE.ORG"), Registered(ann.id)):
            browsers.check_message(self.message(to), key=page)

    def test_an_hour_later_only_by_id(self, page, ann, at):
        at(hours=1, seconds=30)
        with pytest.raises(NotAllowed):
            browsers.check_message(self.message(Address("ann@example.org")), key=page)
        browsers.check_message(self.message(Registered(ann.id)), key=page)

    def test_not_to_whom_another_key_has_registered(self, page, key):
        users.register(key=key, username="bob", email="bob@example.org")
        other, _ = browsers.create(name="other", origins=["https://b.example"], templates=["welcome"])
        users.register(key=other, username="eve", email="eve@example.org")

        for email in ("bob@example.org", "eve@example.org", "nobody@example.org"):
            with pytest.raises(NotAllowed) as caught:
                browsers.check_message(self.message(Address(email)), key=page)
            assert [error.pointer for error in caught.value.errors] == ["/to"]

    def test_not_to_a_user_of_the_other_mode(self, page, test_key):
        user = users.register(key=test_key, username="ann", email="ann@example.org").user

        with pytest.raises(NotAllowed):
            browsers.check_message(self.message(Registered(user.id)), key=page)

    @pytest.mark.once
    @pytest.mark.parametrize("text", LINKS)
    @pytest.mark.parametrize("field", ["data", "name"])
    def test_no_link_comes_through_in_data_or_a_display_name(self, page, ann, text, field):
        message = self.message(Address("ann@example.org", text if field == "name" else None))
        if field == "data":
            message["data"] = {"user": {"name": text}}

        with pytest.raises(Invalid) as caught:
            browsers.check_message(message, key=page)
        assert {error.code for error in caught.value.errors} == {"link"}


def test_a_key_for_templates_that_there_are_not_is_not_made(app, count):
    with pytest.raises(Invalid) as caught:
        browsers.create(name="page", origins=["https://a.example"], templates=["welcome", "nothing", "../x"])

    assert [error.pointer for error in caught.value.errors] == ["/templates/1", "/templates/2"]
    assert count(ApiKey) == 0


def test_its_text_is_that_of_a_browser_key_and_only_its_digest_is_stored(app):
    made, secret = browsers.create(name="page", origins=["https://a.example"], templates=[], mode=Mode.TEST)

    assert keys.FORM.fullmatch(secret)
    assert secret.startswith("pr_pub_")
    found = keys.authenticate(secret)
    assert found is not None
    assert (found.id, found.mode, found.scopes, found.is_browser) == (made.id, Mode.TEST, [], True)
    assert secret[7:37] not in str([vars(found)])


def test_it_cannot_be_adopted_as_another_kind(app):
    _, secret = browsers.create(name="page", origins=["https://a.example"], templates=[])
    with pytest.raises(ValueError, match="malformed"):
        keys.adopt(secret, name="x", scopes=[])


def test_the_origins_of_good_browser_keys_are_known_at_once_and_forgotten_when_they_are_revoked(app, key):
    assert keys.browser_origins() == frozenset()
    first, _ = browsers.create(name="a", origins=["https://a.example"], templates=[])
    browsers.create(name="b", origins=["https://a.example", "https://b.example"], templates=[])
    assert keys.browser_origins() == {"https://a.example", "https://b.example"}

    second = keys.search(limit=1).data[0]
    keys.revoke(second.id)
    assert keys.browser_origins() == {"https://a.example"}
    keys.revoke(first.id)
    assert keys.browser_origins() == frozenset()
