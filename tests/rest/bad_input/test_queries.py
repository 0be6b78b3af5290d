"""Queries with something wrong in them: 422 with the parameter, 400 for an altered cursor."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rest.conftest import MESSAGE, is_problem, pointers

pytestmark = pytest.mark.once

LISTS = ["/v1/users", "/v1/notifications", "/v1/keys", "/v1/inbox"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("limit=0", {"/limit": "out_of_range"}),
        ("limit=101", {"/limit": "out_of_range"}),
        ("limit=-1", {"/limit": "out_of_range"}),
        ("limit=9999999999999999999", {"/limit": "out_of_range"}),
        ("limit=", {"/limit": "invalid_type"}),
        ("limit=ten", {"/limit": "invalid_type"}),
        ("limit=1.0", {"/limit": "invalid_type"}),
        ("limit=1_0", {"/limit": "invalid_type"}),
        ("limit=%2B1", {"/limit": "invalid_type"}),
        ("limit=%EF%BC%91", {"/limit": "invalid_type"}),
        ("limit=" + "1" * 5000, {"/limit": "invalid_type"}),
        ("limit=1&limit=2", {"/limit": "repeated"}),
        ("offset=1", {"/offset": "unknown_field"}),
        ("Limit=1", {"/Limit": "unknown_field"}),
        ("after=%00", {"/after": "bad_text"}),
    ],
)
def test_a_wrong_query_is_422_with_the_parameter(client, path, query, found):
    answer = client.get(f"{path}?{query}")

    assert is_problem(answer, 422)
    assert pointers(answer) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=SENT", {"/status": "not_one_of"}),
        ("status=delivered", {"/status": "not_one_of"}),
        ("status=", {"/status": "not_one_of"}),
        ("recipient=", {"/recipient": "too_short"}),
        ("tag=" + "x" * 65, {"/tag": "too_long"}),
        ("since=2027-01-01", {"/since": "invalid_format"}),
        ("since=2027-01-01T00:00:00", {"/since": "invalid_format"}),
        ("since=2027-01-01T00:00:00+00:00", {"/since": "invalid_format"}),  # a plus sign is a space in a query
        ("since=1798761600", {"/since": "invalid_format"}),
        ("since=now", {"/since": "invalid_format"}),
        ("until=2027-02-30T00:00:00Z", {"/until": "out_of_range"}),
        ("until=0000-01-01T00:00:00Z", {"/until": "out_of_range"}),
        ("until=9999-12-31T23:59:59-14:00", {"/until": "out_of_range"}),
        ("until=0001-01-01T00:00:00%2B14:00", {"/until": "out_of_range"}),
        ("until=2027-01-01T00:00:00%2B99:00", {"/until": "out_of_range"}),
        ("batch_id=1", {"/batch_id": "invalid_format"}),
    ],
)
def test_a_wrong_filter_is_422_with_the_parameter(client, query, found):
    answer = client.get(f"/v1/notifications?{query}")

    assert is_problem(answer, 422)
    assert pointers(answer) == found


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "A" * 28, "%FF", "é", "a" * 10_000, "../..", "====", "null"])
def test_a_cursor_that_the_list_has_not_given_out_is_400(client, path, cursor):
    assert is_problem(client.get(f"{path}?after={cursor}"), 400)


def test_a_cursor_that_was_altered_or_comes_from_another_list_is_400(client):
    for _ in range(2):
        assert client.post("/v1/notifications", json=MESSAGE).status_code == 202
    cursor = client.get("/v1/notifications?limit=1").json["next"]

    for place in range(len(cursor)):
        other = "A" if cursor[place] != "A" else "B"
        altered = cursor[:place] + other + cursor[place + 1 :]
        assert is_problem(client.get(f"/v1/notifications?after={altered}"), 400)
    for path in ("/v1/users", "/v1/keys", "/v1/inbox"):
        assert is_problem(client.get(f"{path}?after={cursor}"), 400)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    path=st.sampled_from(LISTS),
    query=st.dictionaries(
        st.sampled_from(["limit", "after", "status", "recipient", "since", "until", "tag"]),
        st.text(max_size=20) | st.sampled_from(["1", "sent", "2027-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]),
    ),
)
def test_no_query_whatever_is_a_fault_of_the_server(client, path, query):
    query = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}

    assert client.get(path, query_string=query).status_code in (200, 400, 422)
