"""A line to the relay: one connection, opened when it is needed and kept while it is good."""

from collections.abc import Callable
from threading import Lock
from time import monotonic

from api.core.claim import Blame
from api.delivery import blame
from api.delivery.blame import Verdict
from api.delivery.channel import Broken
from api.delivery.dialogue import Dialogue
from api.delivery.relay import RelaySettings
from api.delivery.session import Ended, open_session
from api.delivery.transaction import Envelope, Fenced, always, transact
from schemas.vocabulary import Outcome, Phase

#: Groups in a row that the relay did not answer, although it answered the same commands one by one, after which it is
#: not believed to understand groups; and the seconds that this lasts.
MISUNDERSTOOD, ONE_BY_ONE = 2, 600.0


class Line:
    """Sends mail after mail over one connection; used by one thread, save for `abort`."""

    def __init__(self, relay: RelaySettings) -> None:
        self.relay = relay
        #: The kept connection, if there is one.
        self.dialogue: Dialogue | None = None
        self._sent = 0
        self._used = 0.0
        self._misunderstood = 0
        self._one_by_one_until = 0.0
        self._lock = Lock()
        self._aborted = False

    def open(self) -> Verdict:
        """Open a new connection and log in; the verdict is SENT when mail may be sent now."""
        self.close()
        return self._open(monotonic() + self.relay.deadline)

    def deliver(self, envelope: Envelope, confirm: Callable[[], bool] = always) -> Verdict:
        """Send one mail. Raises what `confirm` raises, and Fenced when it says no; nothing was handed over then.

        A kept connection may have died of age: what befalls the first command on it is not held against the mail,
        which is tried once more on a new one.
        """
        ends = monotonic() + self.relay.deadline
        if (kept := self.kept()) is not None:
            verdict = self.transact(kept, envelope, confirm, ends)
            if self._aborted or not is_stale(verdict):
                return verdict
            self.drop()
        fresh = self.connect(ends)
        return fresh if isinstance(fresh, Verdict) else self.transact(fresh, envelope, confirm, ends)

    def connect(self, ends: float) -> Dialogue | Verdict:
        """Open a new connection and return it; the verdict where that fails. All is to be over when it `ends`."""
        self.close()
        verdict = self._open(ends)
        return self.dialogue or verdict

    def kept(self) -> Dialogue | None:
        """Return the connection, if there is one that is neither too old nor has carried as much as it may."""
        self.close_if_idle()
        full = self.relay.max_emails is not None and self._sent >= self.relay.max_emails
        if self.dialogue is not None and (full or not self.dialogue.channel.connected):
            # Not right after the mail: its result is not made to wait for the relay's farewell.
            self.close()
        return self.dialogue

    def transact(self, dialogue: Dialogue, envelope: Envelope, confirm: Callable[[], bool], ends: float) -> Verdict:
        """Send one mail on this connection, one command at a time. Raises as `deliver` does."""
        dialogue.channel.ends = ends
        try:
            verdict = transact(dialogue, envelope, confirm)
        except Broken as error:
            self.drop()
            return blame.broken(dialogue.phase, str(error))
        except Fenced:
            self._used = monotonic()
            raise
        except BaseException:
            self.drop()
            raise
        self.used(sent=verdict.outcome is Outcome.SENT)
        return verdict

    def used(self, *, sent: bool) -> None:
        """Note that the connection was of use, and whether it has carried a mail."""
        self._used = monotonic()
        self._sent += sent

    def is_last(self) -> bool:
        """Tell whether the connection carries no other mail after the present one."""
        return self.relay.max_emails is not None and self._sent + 1 >= self.relay.max_emails

    def takes_groups(self) -> bool:
        """Tell whether commands may go out in groups: the relay offers it, and has not shown that it cannot."""
        offered = self.dialogue is not None and self.dialogue.has_extn("pipelining")
        return offered and monotonic() >= self._one_by_one_until

    def grouped(self, *, understood: bool) -> None:
        """Note whether the relay understood a group of commands, its size and place being ours to choose."""
        self._misunderstood = 0 if understood else self._misunderstood + 1
        if self._misunderstood >= MISUNDERSTOOD:
            self._misunderstood = 0
            self._one_by_one_until = monotonic() + ONE_BY_ONE

    def close(self) -> None:
        """Take leave of the relay; errors are harmless."""
        if self.dialogue is not None:
            if self.dialogue.channel.connected:
                self.dialogue.quit()
            self.dialogue = None

    def close_if_idle(self) -> None:
        """Take leave of the relay if the connection was not used for a while."""
        if monotonic() - self._used > self.relay.idle:
            self.close()

    def abort(self) -> None:
        """End, from another thread, whatever the line is waiting for; it sends nothing any more."""
        with self._lock:
            self._aborted = True
            dialogue = self.dialogue
        if dialogue is not None:
            dialogue.channel.abort()

    def drop(self) -> None:
        """Close the connection, without a word."""
        if self.dialogue is not None:
            self.dialogue.close()
            self.dialogue = None

    def _open(self, ends: float) -> Verdict:
        dialogue = Dialogue(self.relay)
        dialogue.channel.ends = ends
        with self._lock:
            if self._aborted:
                dialogue.channel.abort()
            self.dialogue = dialogue
        self._sent = 0
        try:
            open_session(dialogue)
        except Ended as end:
            self.drop()
            return end.verdict
        except Broken as error:
            self.drop()
            return blame.broken(dialogue.phase, str(error))
        except BaseException:
            self.drop()
            raise
        self._used = monotonic()
        return Verdict(Outcome.SENT, Blame.NOBODY, dialogue.phase, dialogue.last)


def is_stale(verdict: Verdict) -> bool:
    """Tell whether the verdict speaks of the connection's age: the relay hung up or was silent at the first command."""
    return verdict.phase is Phase.MAIL and verdict.reply.code in (None, 421)
