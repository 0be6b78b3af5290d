"""The audit finds what it is there for."""

import pytest

from tests.crash.audit import Audit, compare
from tests.crash.load import Post
from tests.relay.records import Message


def copy(recipient: str = "m1@example.org", sha256: str = "aa") -> Message:
    return Message(0.0, 1, "1-1", "<1@example.org>", (recipient,), sha256)


def status(recipient: str = "m1@example.org", word: str = "sent", *, marked: bool = False, phase: str = "dot"):
    history = [{"phase": phase}]
    one = {"recipient": recipient, "status": word, "possible_duplicate": marked, "history": history}
    return {"deliveries": [one]}


GOOD = Post(1, 202)


def test_all_is_well_when_each_answered_message_arrived_once():
    audit = compare([GOOD], [copy()], [status()])

    assert audit.breaches() == []
    assert (audit.answered, audit.most_copies, audit.extra) == (1, 1, 0)


@pytest.mark.parametrize(
    ("posts", "copies", "statuses", "breach"),
    [
        pytest.param([GOOD], [], [], "lost", id="answered and not there"),
        pytest.param([GOOD], [], [status(word="queued")], "lost", id="answered and still open"),
        pytest.param([GOOD], [], [status()], "without a copy", id="called sent and not sent"),
        pytest.param([Post(1, 503)], [copy()], [status()], "though refused", id="refused and sent"),
        pytest.param([Post(1, None)], [copy()], [], "though refused", id="sent and unknown"),
        pytest.param([GOOD], [copy(), copy()], [status()], "not marked", id="sent twice and not marked"),
        pytest.param([GOOD], [copy(), copy(sha256="b")], [status(marked=True)], "differ", id="two different copies"),
        pytest.param([GOOD], [copy()] * 3, [status(marked=True)], "3 copies", id="three copies"),
        pytest.param([GOOD], [], [status(word="failed", phase="worker")], "parked", id="parked"),
    ],
)
def test_a_broken_promise_is_found(posts, copies, statuses, breach):
    [line] = compare(posts, copies, statuses).breaches()

    assert breach in line


def test_what_is_no_breach_is_counted():
    audit = compare(
        [GOOD, Post(2, None), Post(3, None), Post(4, 503), Post(5, 202)],
        [copy(), copy(), copy("m2@example.org")],
        [status(marked=True), status("m2@example.org", marked=True), status("m5@example.org", "failed", phase="rcpt")],
    )

    assert audit.breaches() == []
    found = Audit(messages=5, answered=2, refused=1, unanswered=2, stored_unheard=1)
    assert (audit.messages, audit.answered, audit.refused) == (found.messages, found.answered, found.refused)
    assert (audit.unanswered, audit.stored_unheard) == (found.unanswered, found.stored_unheard)
    assert (audit.most_copies, audit.extra, audit.marked_once) == (2, 1, 1)
    assert audit.unsent == {"failed": 1}
