"""The retry policy as a table."""

from datetime import timedelta

import pytest

from api.core import retry

SCHEDULE = retry.Schedule(first=timedelta(minutes=5), longest=timedelta(hours=4), give_up=timedelta(days=5))


@pytest.mark.parametrize(
    ("attempt", "rand", "minutes"),
    [
        (1, 0.0, 5),
        (1, 1.0, 6.25),
        (2, 0.0, 10),
        (3, 0.0, 20),
        (6, 0.0, 160),
        (7, 0.0, 240),
        (7, 1.0, 240),
        (999, 0.5, 240),
    ],
)
def test_pauses_double_up_to_the_longest(attempt, rand, minutes):
    assert retry.pause(attempt, schedule=SCHEDULE, rand=rand) == timedelta(minutes=minutes)


def test_jitter_never_brings_a_retry_before_the_first_pause():
    assert all(
        retry.pause(attempt, schedule=SCHEDULE, rand=rand / 10) >= SCHEDULE.first
        for attempt in range(1, 50)
        for rand in range(10)
    )
