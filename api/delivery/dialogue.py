"""The SMTP dialogue on one connection: commands, replies in step with them, and the message up to its final dot."""

import contextlib
from smtplib import SMTP
from time import monotonic

from api.core.claim import Reply
from api.delivery.channel import Broken, Channel
from api.delivery.loop import current
from api.delivery.relay import RelaySettings
from api.delivery.reply import Garbled, Replies, readable
from schemas.vocabulary import Phase

#: Seconds that a farewell may take at most: nothing depends on it.
FAREWELL = 2.0
#: Seconds after the relay was heard in which it is not asked whether it has said more.
JUST_NOW = 0.001
_END = len(b".\r\n")


class Dialogue(SMTP):
    """An smtplib client with its own reading and writing.

    smtplib's timeout is per `recv`, so that a byte a minute keeps it waiting for ever; and what it raises hides how
    the connection ended. `phase` is where the dialogue stands. Used by one thread; only `abort` may be called by
    another.
    """

    def __init__(self, relay: RelaySettings) -> None:
        # Without a host smtplib connects to nothing, and with a name of ours it asks no DNS for one.
        super().__init__(local_hostname=relay.local_hostname, timeout=relay.timeout)
        self.relay = relay
        self.channel = Channel(relay)
        self.phase = Phase.CONNECT
        #: The latest reply.
        self.last = Reply(None, None, "")
        self._replies = Replies()

    def open(self) -> None:
        """Connect to the relay, over TLS where that comes first. Raises Broken, and what `secure` raises."""
        self.phase = Phase.CONNECT
        self.channel.open()
        if self.relay.use_ssl:
            self.secure()

    def secure(self) -> None:
        """Begin TLS. Raises Broken, OSError for a CA file that cannot be read, and what `Channel.secure` raises."""
        if self._replies:
            # Whoever sits between could have put words there that would be read as the relay's (CVE-2011-0411).
            raise self.channel.broken("the relay spoke between its 220 and the TLS handshake")
        self.channel.secure(self.relay.tls_context())
        self.does_esmtp, self.esmtp_features = False, {}  # RFC 3207 section 4.2: forget what was said in plaintext

    def command(self, phase: Phase, text: str) -> Reply:
        """Say a command of this phase and return the reply. Raises Broken; ValueError for a line end in the command."""
        self.phase = phase
        self.putcmd(text)
        return self.read()

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Say a command, unless the relay has taken its leave already: then its 421 is the reply.

        Raises Broken when it said anything else unasked: its replies would be taken for those of later commands.
        """
        self._listen()
        if not self._replies.closing():
            super().putcmd(cmd, args)

    def _listen(self) -> None:
        self._peek()
        if self._replies and not self._replies.closing():
            raise self.channel.broken("the relay sent a reply that nobody asked for")

    def read(self, until: float | None = None) -> Reply:
        """Return the next whole reply; it may take until then, or as long as any reply. Raises Broken."""
        if self._take() is None:
            self._read(self.channel.until() if until is None else until)
        return self.last

    def hear(self, until: float) -> Reply | None:
        """Return the next whole reply, or None where it does not come until then and may come yet. Raises Broken."""
        while self._take() is None:
            if not self.channel.readable(until - monotonic()):
                return None
            self._take_in()
        return self.last

    def glance(self) -> bool:
        """Let the other dialogues go on, then take in what has come; tell whether anything has. Raises Broken."""
        task = current()
        if task is not None:
            task.loop.step_back(task)
        return self._take_in()

    def hear_accepted(self) -> bool:
        """Wait for a reply to the group that `begin` said; tell whether with it the whole group was accepted.

        Then its replies are taken; otherwise they are still to be read one by one. Raises Broken.
        """
        if not self._replies:
            self._replies.feed(self.channel.receive(self.channel.until()))
        taken = self._replies.take_accepted()
        if taken is not None:
            self.phase, self.last = Phase.DATA, readable(*taken)
        return taken is not None

    def begin(self, commands: bytes) -> None:
        """Say a group of commands, MAIL first, unless the relay has taken its leave, as in `putcmd`. Raises Broken."""
        self.phase = Phase.MAIL
        self._listen()
        if not self._replies.closing():
            self.channel.write(commands)

    def write_message(self, wire: bytes, ahead: bytes = b"", *, small: int = 0) -> Reply | None:
        """Write the dot-stuffed message up to its final dot, and what goes `ahead` behind it. Raises Broken.

        While `phase` is BODY the final dot was not written; from DOT on it may have been. Returns the relay's early
        refusal, after which nothing more was written, or None. A message of up to `small` octets goes in one write.
        """
        self.phase = Phase.BODY
        body = b"" if len(wire) <= small else wire[:-_END]
        try:
            if body:
                self.channel.write(body)
            if body or monotonic() - self.channel.heard > JUST_NOW:
                self._peek()
        except Broken:
            # A relay that has had enough says why, and hangs up.
            with contextlib.suppress(Broken):
                self._peek()
            if not self._replies:
                raise
        if self._replies:
            return self.read()
        self.phase = Phase.DOT
        self.channel.write(wire[len(body) :] + ahead)
        return None

    def _read(self, until: float) -> tuple[int, tuple[bytes, ...]]:
        while (taken := self._take()) is None:
            self._replies.feed(self.channel.receive(until))
        return taken

    def _take(self) -> tuple[int, tuple[bytes, ...]] | None:
        """Return the next whole reply of what has come, if there is one. Raises Broken."""
        try:
            taken = self._replies.take()
        except Garbled as error:
            raise self.channel.broken(str(error)) from None
        if taken is not None:
            self.last = readable(*taken)
        return taken

    def _take_in(self) -> bool:
        """Take in what has arrived; tell whether anything has. Raises Broken when the connection is at its end."""
        data = self.channel.peek()
        if data == b"":
            raise self.channel.broken("connection lost: closed by the relay")
        self._replies.feed(data or b"")
        return data is not None

    def _peek(self) -> None:
        """Take in what has arrived. Raises Broken when the connection is at its end and nothing came before."""
        if self.channel.readable(0):
            data = self.channel.peek()
            if data == b"" and not self._replies:
                raise self.channel.broken("connection lost: closed by the relay")
            self._replies.feed(data or b"")

    def send(self, s: bytes | str) -> None:  # type: ignore[override]  # other buffers are never sent
        """Write a whole command, for smtplib. Raises Broken."""
        self.channel.write(s.encode("ascii") if isinstance(s, str) else s)

    def getreply(self) -> tuple[int, bytes]:
        """Return the next reply in smtplib's form. Raises Broken."""
        code, lines = self._read(self.channel.until())
        return code, b"\n".join(line.strip() for line in lines)

    def quit(self) -> tuple[int, bytes]:
        """Take leave and close; whatever happens meanwhile is harmless (RFC 5321 section 4.1.1.10)."""
        answer = (0, b"")
        self.channel.ends = monotonic() + FAREWELL
        with contextlib.suppress(Broken):
            answer = self.docmd("QUIT")
        self.close()
        return answer

    def close(self) -> None:
        """Close the connection, without a word."""
        self.channel.close()

    def set_debuglevel(self, debuglevel: object) -> None:
        """Stay silent: smtplib's debug output holds the password."""
