"""How long a sender may take: timeouts, the deadline, and an abort by another thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from api.core.claim import Blame, Reply, Result
from api.delivery.sender import Sender
from api.delivery.smtp import Mail
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import LARGE, a_claim, sending, yes
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Rule

Post = Callable[..., Mail]


class Background:
    """A call in a thread of its own, whose result can be waited for."""

    def __init__(self, call: Callable[[], Result]) -> None:
        self._results: list[Result] = []
        self._thread = threading.Thread(target=lambda: self._results.append(call()), daemon=True)
        self._thread.start()

    def result(self) -> Result:
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        [result] = self._results
        return result


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_dripping_reply_ends_at_the_reply_timeout(relay: Relay, post: Post) -> None:
    relay.script(Rule("mail", actions.drip(interval=0.05, finish=False)))

    with sending(post(MAIL_TIMEOUT=0.4)) as sender:
        result = sender.send(a_claim(), confirm=yes)

    assert (result.outcome, result.phase) == (Outcome.DEFERRED, Phase.MAIL)
    assert result.reply.text == "no complete reply within 0.4 s"


def test_a_transaction_of_slow_replies_ends_at_the_deadline(relay: Relay, post: Post) -> None:
    slow = [Rule(phase, actions.delay(0.3)) for phase in ("banner", "ehlo", "mail", "rcpt", "data", "dot")]
    relay.script(*slow)

    with sending(post(MAIL_TIMEOUT=5, MAIL_DEADLINE=0.7)) as sender:
        result = sender.send(a_claim(), confirm=yes)

    # Each reply is in time, connecting counts, and all of them together are too much.
    assert result.outcome in (Outcome.RELEASED, Outcome.DEFERRED)
    assert result.reply.text == "the transaction was not over after 0.7 s"
    assert relay.messages() == []


def test_a_relay_that_reads_a_body_too_slowly_ends_at_the_timeout(relay: Relay, post: Post) -> None:
    relay.configure(size_limit=100_000_000)
    relay.script(Rule("body", actions.hang()))

    with sending(post(MAIL_TIMEOUT=0.4)) as sender:
        result = sender.send(a_claim(text=LARGE), confirm=yes)

    assert (result.outcome, result.phase) == (Outcome.DEFERRED, Phase.BODY)
    assert result.reply.text == "could not write within 0.4 s"


def test_a_relay_that_hangs_up_in_the_body_is_still_heard(relay: Relay, sender: Sender) -> None:
    relay.configure(size_limit=100_000_000)
    relay.script(Rule("body", actions.close_after("552 5.3.4 that will do")))

    result = sender.send(a_claim(text=LARGE), confirm=yes)

    assert (result.outcome, result.blame) == (Outcome.FAILED, Blame.MESSAGE)
    assert result.reply == Reply(552, "5.3.4", "that will do")


def test_a_large_message_arrives_whole(relay: Relay, sender: Sender) -> None:
    relay.configure(size_limit=100_000_000)

    assert sender.send(a_claim(text=LARGE), confirm=yes).outcome is Outcome.SENT
    assert relay.messages()[0].raw.count(b"repeated until") == 250_000


def test_a_relay_that_refuses_connections_is_the_relays_trouble(relay: Relay, sender: Sender) -> None:
    relay.refuse()

    result = sender.send(a_claim(), confirm=yes)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.RELAY, Phase.CONNECT)
    assert "refused" in result.reply.text.lower()


@pytest.mark.parametrize("name", ["relay.invalid", "x" * 70 + ".test", "a..b"])
def test_a_relay_that_has_no_address_is_the_relays_trouble(post: Post, name: str) -> None:
    with sending(post(MAIL_SERVER=name)) as sender:
        result = sender.send(a_claim(), confirm=yes)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.RELAY, Phase.CONNECT)


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """An address at which connecting takes for ever: the backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        waiting = []
        try:
            for _ in range(10):
                other = socket.socket()
                waiting.append(other)
                other.settimeout(0.2)
                other.connect((host, port))
        except TimeoutError:
            yield host, port
        finally:
            for other in waiting:
                other.close()


def test_connecting_takes_no_longer_than_the_timeout(post: Post, deaf: tuple[str, int]) -> None:
    host, port = deaf
    with sending(post(MAIL_SERVER=host, MAIL_PORT=port, MAIL_TIMEOUT=0.4)) as sender:
        result = sender.send(a_claim(), confirm=yes)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.RELAY, Phase.CONNECT)


def test_an_abort_ends_a_connect(post: Post, deaf: tuple[str, int]) -> None:
    host, port = deaf
    with sending(post(MAIL_SERVER=host, MAIL_PORT=port, MAIL_TIMEOUT=60)) as sender:
        background = Background(lambda: sender.send(a_claim(), confirm=yes))
        wait_until(lambda: sender._line.dialogue is not None and sender._line.dialogue.channel.connected)
        sender.abort()
        result = background.result()

    assert (result.outcome, result.phase) == (Outcome.RELEASED, Phase.CONNECT)
    assert result.reply.text == "stopped by this process"


@pytest.mark.parametrize(
    ("step", "outcome", "phase"),
    [
        ("banner", Outcome.RELEASED, Phase.BANNER),
        ("handshake", Outcome.RELEASED, Phase.STARTTLS),
        ("auth", Outcome.RELEASED, Phase.AUTH),
        ("mail", Outcome.DEFERRED, Phase.MAIL),
        ("body", Outcome.DEFERRED, Phase.BODY),
        ("dot", Outcome.UNKNOWN, Phase.DOT),
    ],
)
def test_an_abort_ends_the_wait_and_the_phase_is_told_truthfully(
    relay: Relay, post: Post, step: str, outcome: Outcome, phase: Phase
) -> None:
    relay.configure(tls="starttls", users={"room": "secret"}, size_limit=100_000_000)
    relay.script(Rule(step, actions.hang()))
    login = {"MAIL_USERNAME": "room", "MAIL_PASSWORD": "secret"}
    with sending(post(MAIL_TIMEOUT=60, MAIL_USE_TLS=True, MAIL_CA_FILE=str(relay.ca_file), **login)) as sender:
        text = LARGE if step == "body" else "Hello\n"
        background = Background(lambda: sender.send(a_claim(text=text), confirm=yes))
        wait_until(lambda: step in relay.faults())
        sender.abort()
        result = background.result()

    # The relay knows of a connection before the sender does: cut in between, it was never made.
    told = Phase.BANNER if result.phase is Phase.CONNECT else result.phase
    assert (result.outcome, told) == (outcome, phase)
    assert result.reply.text == "stopped by this process"


def test_after_an_abort_nothing_is_sent_any_more(relay: Relay, sender: Sender) -> None:
    sender.send(a_claim(), confirm=yes)
    sender.abort()

    results = [sender.send(a_claim(), confirm=yes), sender.send(a_claim(), confirm=yes), sender.probe()]

    assert [result.outcome for result in results[1:]] == [Outcome.RELEASED, Outcome.RELEASED]
    assert results[0].outcome in (Outcome.DEFERRED, Outcome.RELEASED)
    assert len(relay.messages()) == 1
