"""When a message is to be sent, as a table."""

from datetime import UTC, datetime, timedelta

import pytest

from api.core import timing
from api.core.errors import Invalid

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
GIVE_UP = timedelta(days=5)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("send_at", "expires_at", "due_at", "ends_at"),
    [
        (None, None, NOW, NOW + GIVE_UP),
        (NOW + DAY, None, NOW + DAY, NOW + DAY + GIVE_UP),
        (NOW - DAY, None, NOW, NOW + GIVE_UP),
        (datetime(1970, 1, 1, tzinfo=UTC), None, NOW, NOW + GIVE_UP),
        (NOW + timedelta(days=366), None, NOW + timedelta(days=366), NOW + timedelta(days=371)),
        (None, NOW + HOUR, NOW, NOW + HOUR),
        (None, NOW + timedelta(days=9), NOW, NOW + GIVE_UP),
        (NOW + DAY, NOW + DAY + HOUR, NOW + DAY, NOW + DAY + HOUR),
        (NOW - DAY, NOW + HOUR, NOW, NOW + HOUR),
    ],
)
def test_a_message_is_due_at_its_time_and_ends_at_the_sooner_of_both_ends(send_at, expires_at, due_at, ends_at):
    plan = timing.plan(send_at=send_at, expires_at=expires_at, now=NOW, give_up=GIVE_UP)

    assert (plan.send_at, plan.expires_at) == (send_at, expires_at)
    assert (plan.due_at, plan.ends_at) == (due_at, ends_at)


@pytest.mark.parametrize(
    ("send_at", "expires_at", "pointers"),
    [
        (NOW + timedelta(days=366, seconds=1), None, ["/send_at"]),
        (datetime(9999, 12, 31, tzinfo=UTC), None, ["/send_at"]),
        (datetime(1969, 12, 31, tzinfo=UTC), None, ["/send_at"]),
        (None, NOW, ["/expires_at"]),
        (None, NOW - DAY, ["/expires_at"]),
        (NOW + DAY, NOW + DAY, ["/expires_at"]),
        (NOW + DAY, NOW + HOUR, ["/expires_at"]),
        (None, datetime(9999, 12, 31, tzinfo=UTC), ["/expires_at"]),
        (datetime(9999, 12, 31, tzinfo=UTC), NOW - DAY, ["/send_at", "/expires_at"]),
    ],
)
def test_times_that_make_no_sense_are_named(send_at, expires_at, pointers):
    with pytest.raises(Invalid) as invalid:
        timing.plan(send_at=send_at, expires_at=expires_at, now=NOW, give_up=GIVE_UP)

    assert [error.pointer for error in invalid.value.errors] == pointers
