"""The number of senders and their pace, with times given by hand."""

from itertools import pairwise

from api.delivery.sizing import AHEAD, GROWTH, HOLD, IDLE, LONGEST_HOLD, MOST_AHEAD, PERIOD, START, Pace, Sizing, Stock


def run(sizing: Sizing, rate_of, *, periods: int, start: float = 0.0) -> list[int]:
    """Let mail wait for some periods while the senders reach `rate_of(size)`; return the sizes."""
    sizes = []
    sizing.observe(done=0, waiting=1000, now=start)
    for number in range(1, periods + 1):
        done = round(rate_of(sizing.size) * PERIOD)
        sizes.append(sizing.observe(done=done, waiting=1000, now=start + number * PERIOD))
    return sizes


def test_senders_grow_to_the_most_where_every_connection_raises_the_rate():
    assert run(Sizing(32), lambda size: 50 * size, periods=8)[-1] == 32


def test_senders_stay_few_where_more_gain_nothing():
    sizes = run(Sizing(32), lambda size: 4000, periods=10)

    assert max(sizes) == GROWTH * START
    assert sizes[-1] == START


def test_what_did_not_pay_is_tried_again_later():
    sizing = Sizing(32)
    run(sizing, lambda size: 4000, periods=4)

    assert run(sizing, lambda size: 50 * size, periods=8, start=HOLD + 10)[-1] == 32


def test_what_never_pays_is_tried_ever_more_rarely():
    sizes = run(Sizing(32), lambda size: 4000, periods=4800)

    trials = [number * PERIOD for number, size in enumerate(sizes) if size > START and sizes[number - 1] == START]
    pauses = [later - sooner for sooner, later in pairwise(trials)]
    assert pauses == sorted(pauses)
    assert HOLD < pauses[0] < 2 * HOLD
    assert LONGEST_HOLD <= pauses[-1] < LONGEST_HOLD + 2


def test_the_time_that_new_senders_take_to_connect_is_not_held_against_them():
    sizing = Sizing(32)
    sizing.observe(done=0, waiting=1000, now=0.0)
    assert sizing.observe(done=25, waiting=1000, now=PERIOD) == GROWTH * START

    # They connect, and nothing is done meanwhile.
    sizing.observe(done=0, waiting=1000, now=1.9 * PERIOD)
    sizing.observe(done=0, waiting=1000, now=2 * PERIOD)

    assert sizing.observe(done=100, waiting=1000, now=3 * PERIOD) == 32


def test_no_senders_are_added_while_the_processor_has_no_more_to_give():
    sizing = Sizing(32)

    for number in range(20):
        now = number * PERIOD
        assert sizing.observe(done=1000, waiting=1000, now=now, used=0.95 * now) == START


def test_a_relay_that_answers_nothing_gets_every_sender():
    assert run(Sizing(4), lambda size: 0, periods=4)[-1] == 4


def test_extra_senders_rest_when_nothing_waits():
    sizing = Sizing(32)
    run(sizing, lambda size: 50 * size, periods=8)

    assert sizing.observe(done=0, waiting=0, now=4.0) == 32
    assert sizing.observe(done=0, waiting=0, now=4.0 + IDLE) == START


def test_there_are_never_more_senders_than_allowed():
    assert run(Sizing(1), lambda size: 50 * size, periods=4) == [1, 1, 1, 1]


def test_a_pace_lets_through_its_rate_and_no_more():
    pace = Pace(10.0)
    begun = 0
    for tick in range(101):
        granted = pace.grant(1000, now=tick / 10)
        pace.spend(granted)
        begun += granted

    assert 100 <= begun <= 111


def test_without_a_pace_everything_goes():
    assert Pace(None).grant(1000, now=0.0) == 1000


def test_a_slow_pace_still_lets_single_messages_through():
    pace = Pace(0.5)
    assert pace.grant(5, now=0.0) == 1
    pace.spend(1)
    assert pace.grant(5, now=1.0) == 0
    assert pace.grant(5, now=2.0) == 1


def test_more_is_claimed_ahead_while_the_senders_run_dry_between_two_claims():
    stock = Stock(4)
    sizes = [stock.size]
    while stock.size < MOST_AHEAD:
        stock.claimed(stock.size, stock.size, waiting=0)
        sizes.append(stock.size)

    assert sizes[0] == 4 * AHEAD
    assert sizes == sorted(set(sizes))
    assert len(sizes) < 6

    stock.claimed(400, 400, waiting=100)
    assert stock.size == MOST_AHEAD


def test_less_is_claimed_ahead_when_there_is_no_more_but_never_too_little_for_the_senders():
    stock = Stock(4)
    for _ in range(9):
        stock.claimed(stock.size, stock.size, waiting=0)
    assert stock.more

    sizes = []
    for _ in range(9):
        stock.claimed(stock.size - 1, stock.size, waiting=0)
        sizes.append(stock.size)

    assert not stock.more
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == MOST_AHEAD // 2
    assert sizes[-1] == 4 * AHEAD


def test_the_next_claim_is_not_put_off_only_while_the_last_one_got_all_and_nobody_waits():
    stock = Stock(4)
    assert not stock.runs_dry(0)

    stock.claimed(8, 8, waiting=0)
    assert stock.runs_dry(0)
    assert not stock.runs_dry(1)

    stock.unclaimed()
    assert not stock.runs_dry(0)
    assert stock.more

    stock.claimed(7, 8, waiting=0)
    assert not stock.runs_dry(0)


def test_who_shares_the_process_with_requests_begins_with_fewer_senders_and_as_many_in_the_end():
    sizing = Sizing(32, start=1)

    assert sizing.size == 1
    assert run(sizing, lambda size: 50 * size, periods=8)[-1] == 32
    assert sizing.observe(done=0, waiting=0, now=100.0 + IDLE) == 1


def test_a_sender_that_is_held_up_gets_company_soon():
    sizing = Sizing(4, start=1)
    sizing.observe(done=0, waiting=1, now=0.0)

    assert sizing.observe(done=0, waiting=1, now=PERIOD) == 4


def test_who_shares_the_process_with_requests_claims_no_faster_for_running_dry():
    stock, other = Stock(4, shares=True), Stock(4)
    for each in (stock, other):
        each.claimed(8, 8, waiting=0)

    assert stock.size < other.size
    assert not stock.runs_dry(0)
    assert stock.more
