import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core import jsontext
from schemas.vocabulary import DeliveryStatus

_texts = st.text(st.characters(codec=None, exclude_categories=()))
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)


@given(_values)
def test_what_is_dumped_is_read_as_it_was(value):
    assert json.loads(jsontext.dump(value)) == value


@pytest.mark.parametrize("value", ["half \ud83d", -(10**19) + 1, 10**30, [{"a": -(10**18)}, 2**64]])
def test_what_is_beyond_other_writers_is_written_too(value):
    assert json.loads(jsontext.dump(value)) == value


def test_it_is_compact_and_knows_words():
    assert jsontext.dump({"a": [1, "é"], "b": DeliveryStatus.QUEUED}) == '{"a":[1,"é"],"b":"queued"}'.encode()


def test_what_is_no_json_is_refused():
    with pytest.raises(TypeError):
        jsontext.dump({"a": object()})
