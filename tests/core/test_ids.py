import os
import time
from uuid import RFC_4122

from api.core import ids


def test_an_id_is_a_uuid_of_version_7_with_the_time_of_its_making():
    before = time.time_ns() // 1_000_000
    made = ids.new()
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_ids_come_in_the_order_of_their_making_and_never_run_ahead_of_the_clock():
    made = [ids.new() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert made[-1].int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_tokens_are_all_different():
    made = {ids.token() for _ in range(2000)}
    assert len(made) == 2000
    assert {len(one) for one in made} == {32}


def test_a_forked_child_makes_other_ids_than_its_parent():
    ids.token()  # some randomness is in stock
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, ids.token().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() != ids.token()
