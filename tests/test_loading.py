import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError

from schemas.batches import BatchIn
from schemas.loading import Brisk
from schemas.notifications import NotificationIn, NotificationQuery
from schemas.users import UserChange, UserIn

SCHEMAS = (NotificationIn(), UserIn(), UserChange(), NotificationQuery(), BatchIn())

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
        return "refused", json.dumps(error.messages, sort_keys=True, default=str)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: type(schema).__name__)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_what_is_loaded_and_what_is_refused_is_what_marshmallow_says(schema, data):
    names = [field.data_key or name for name, field in schema.fields.items()]
    body = data.draw(st.dictionaries(st.sampled_from([*names, "nonsense"]), _values | _words, max_size=5))
    assert outcome(schema.load, body) == outcome(lambda given: Schema.load(schema, given), body)


def test_a_schema_with_hooks_that_would_not_be_run_is_refused():
    from marshmallow import fields, post_load  # noqa: PLC0415 -- of this test alone

    class Hooked(Brisk):
        name = fields.String()

        @post_load
        def change(self, data, **_kwargs):
            return data

    with pytest.raises(TypeError, match="change"):
        Hooked().load({"name": "x"})
