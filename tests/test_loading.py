from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields

from schemas.addresses import Mailboxes
from schemas.batches import BatchIn
from schemas.keys import KeyIn
from schemas.loading import Brisk
from schemas.notifications import NotificationIn, NotificationQuery
from schemas.text import is_plainly_fine, json_complaints, json_size
from schemas.users import UserChange, UserIn

SCHEMAS = (NotificationIn(), UserIn(), UserChange(), NotificationQuery(), BatchIn(), KeyIn())

_words = st.sampled_from(
    ["ann@example.org", "a@b", "", " ", "welcome", "x\ny", "\0", "2027-01-01T09:00:00Z", "2027-01-01", "50", "de", "é"]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | _words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["email", "name", "user_id", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def outcome(load, body):
    try:
        return "loaded", load(body)
    except ValidationError as error:
        return "refused", error.messages


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: type(schema).__name__)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_what_is_loaded_and_what_is_refused_is_what_marshmallow_says(schema, data):
    names = [field.data_key or name for name, field in schema.fields.items()]
    body = data.draw(st.dictionaries(st.sampled_from([*names, "nonsense"]), _values | _words, max_size=5))
    assert outcome(schema.load, body) == outcome(lambda given: Schema.load(schema, given), body)


def test_a_schema_with_rules_of_another_kind_is_left_to_marshmallow():
    from marshmallow import post_load  # noqa: PLC0415 -- of this test alone

    class Hooked(Brisk):
        name = fields.String()

        @post_load
        def change(self, data, **_kwargs):
            return {**data, "changed": True}

    assert Hooked().load({"name": "x"}) == {"name": "x", "changed": True}


_lists = st.lists(
    _values | st.just("ann@example.org") | st.just({"email": "ann@example.org", "name": "Ann"}), max_size=4
)


@pytest.mark.parametrize("name", ["to", "reply_to", "tags"])
@settings(max_examples=150, deadline=None)
@given(values=_lists)
def test_a_list_read_at_once_is_what_it_is_one_by_one(name, values):
    field: Any = NotificationIn().fields[name]
    slowly: Any = fields.List._deserialize if name == "tags" else Mailboxes._one_by_one
    assert outcome(lambda given: field._deserialize(given, name, {}), values) == outcome(
        lambda given: slowly(field, given, name, {}), values
    )


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=6), _values | st.text(max_size=6), max_size=4), st.integers(0, 200))
def test_what_is_plainly_fine_has_nothing_to_complain_of(value, largest):
    if is_plainly_fine(value, largest):
        assert json_complaints(value) is None
        assert json_size(value) <= largest


def test_most_metadata_is_plainly_fine():
    assert is_plainly_fine({"order": "7", "shop": "north"}, 8 * 1024)
    assert not is_plainly_fine({"order": "\0"}, 8 * 1024)
    assert not is_plainly_fine({"order": "x" * 2000}, 8 * 1024)
