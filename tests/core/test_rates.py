"""Rates: in no window is more counted than the quota, whatever the order of events."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core import rates
from api.core.rates import Rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/second", Rate(1, 1)),
        ("6000/minute", Rate(6000, 60)),
        ("60/hour", Rate(60, 3600)),
        ("1000000000/day", Rate(1_000_000_000, 86_400)),
        ("off", None),
    ],
)
def test_a_rate_is_read_as_it_is_written(text, rate):
    assert rates.parse(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "0/minute", "-1/minute", "5", "5/", "/minute", "5/week", "5 / minute", "1.5/minute", "5/Minute", "٥/hour"],
)
def test_what_is_no_rate_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="it must be like 6000/minute"):
        rates.parse(text)


def test_as_many_as_the_quota_fit_and_then_none_until_the_first_has_left_the_window():
    log, rate = array("d"), Rate(3, 60)

    verdicts = [rates.count(log, rate, 1, float(now)) for now in (0, 10, 20, 30)]

    assert [one.allowed for one in verdicts] == [True, True, True, False]
    assert [one.remaining for one in verdicts] == [2, 1, 0, 0]
    assert verdicts[3].retry == verdicts[3].reset == 30.0
    assert not rates.count(log, rate, 1, 59.9).allowed
    assert rates.count(log, rate, 1, 60.0).allowed
    assert not rates.count(log, rate, 1, 60.0).allowed


def test_what_is_more_than_the_quota_never_fits_and_is_not_counted():
    log, rate = array("d"), Rate(3, 60)

    assert rates.count(log, rate, 4, 0.0).retry == 60.0
    assert rates.count(log, rate, 3, 0.0).allowed


@given(
    quota=st.integers(1, 2000),
    events=st.lists(st.tuples(st.floats(0.001, 30.0), st.integers(1, 40)), min_size=1, max_size=120),
)
def test_no_stretch_of_a_window_s_length_holds_more_than_the_quota(quota, events):
    log, rate, now = array("d"), Rate(quota, 60), 1_800_000_000.0
    counted: list[tuple[float, int]] = []
    for pause, number in events:
        now += pause
        verdict = rates.count(log, rate, number, now)
        if verdict.allowed:
            counted.append((now, number))
        elif number <= quota:
            # Whoever waits as long as he was told gets through.
            again = array("d", log)
            assert not rates.count(again, rate, number, now + verdict.retry - 0.001).allowed
            assert rates.count(again, rate, number, now + verdict.retry + 1e-5).allowed
        assert sum(many for at, many in counted if at > now - 60 + 1e-5) <= quota
    assert len(log) <= 2 * (rates.GRAINS + 2)


@given(quota=st.integers(1, 2000), number=st.integers(1, 500), later=st.floats(60.5, 1e6))
def test_after_a_window_of_silence_the_whole_quota_is_there_again(quota, number, later):
    log, rate = array("d"), Rate(quota, 60)
    for step in range(5):
        rates.count(log, rate, min(number, quota), 1e9 + step)

    assert rates.count(log, rate, quota, 1e9 + 4 + later).allowed


def test_a_clock_that_was_far_ahead_shuts_nobody_out_for_longer_than_a_window():
    log, rate = array("d"), Rate(1, 60)
    rates.count(log, rate, 1, 1e9 + 86_400)

    assert rates.count(log, rate, 1, 1e9).retry == 60.0
    assert rates.count(log, rate, 1, 1e9 + 60).allowed


def test_what_is_taken_back_fits_again():
    log, rate = array("d"), Rate(5, 60)
    rates.count(log, rate, 2, 0.0)
    rates.count(log, rate, 3, 1.0)

    rates.take_back(log, 3, 61.0)

    assert rates.count(log, rate, 3, 2.0).remaining == 0
