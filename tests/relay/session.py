"""The SMTP dialogue of one connection (RFC 5321), with STARTTLS (RFC 3207) and PIPELINING (RFC 2920)."""

import asyncio
from collections.abc import Callable
from functools import partial

from tests.relay import content
from tests.relay.envelope import Envelope, Path, parse_path
from tests.relay.journal import Receipt
from tests.relay.login import Login
from tests.relay.rulebook import Facts
from tests.relay.script import Phase
from tests.relay.station import Station


class Session(Login):
    """What the commands mean, as long as no rule says otherwise."""

    def __init__(self, station: Station) -> None:
        super().__init__(station)
        self.envelope = Envelope()
        self.messages = 0
        self._greeted = False
        self._said_hello = False
        self._commands: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self.auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "QUIT": self._quit,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.station.journal.note("connect", self.number, client=self.addresses()[0][1])
        begin = self._greet
        if self.station.settings.tls == "implicit":
            self.seal()
            begin = self._shake_hands
        self.await_word()
        self.step(Phase.CONNECT, "220 connected", instead=begin)
        self.work()

    def facts(self) -> Facts:
        body = bytes(self.buffer) if self.receiving else b""
        return Facts(self.envelope.sender, tuple(self.envelope.recipients), body)

    def command(self, line: str) -> None:
        if self.station.journal.full:
            self.station.journal.note("command", self.number, text=line, tls=self.secured)
        if self.answered(line):
            return
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        if self.manners.parting and verb != "QUIT":
            self.answer("421 4.3.2 this connection is over")
        elif not self._greeted and verb != "QUIT":
            self._out_of_order(verb, "was not welcome")
        elif verb not in self._commands:
            self.breach("unknown_command", line)
            self.answer("500 5.5.1 unknown command")
        else:
            self._commands[verb](argument)

    def complete(self, raw: bytes) -> None:
        envelope, self.envelope = self.envelope, Envelope()
        raw = content.unstuff(raw)
        for kind in content.flaws(raw, eight_bit=envelope.eight_bit):
            self.breach(kind, "in the content")
        if len(raw) > self.station.settings.size_limit:
            self.answer("552 5.3.4 too large")
            return
        self.messages += 1
        name, sender, recipients = f"{self.number}-{self.messages}", envelope.sender or "", tuple(envelope.recipients)
        receipt = Receipt(self.number, name, sender, recipients, self.secured, self.user, raw)
        facts, reply = Facts(sender, recipients, raw), f"250 2.0.0 queued as {name}"
        keep = partial(self.station.journal.accept, receipt)
        self.step(Phase.DOT, reply, accept=keep, instead=partial(self._confirm, keep, reply, facts), facts=facts)

    def _confirm(self, keep: Callable[[], None], reply: str, facts: Facts) -> None:
        keep()
        self.step(Phase.AFTER_DOT, reply, facts=facts)

    def _greet(self) -> None:
        limit = self.station.settings.connection_limit
        if limit is not None and len(self.station.wires) > limit:
            self.answer("421 4.7.0 too many connections")
            self.close()
        else:
            banner = f"220 {self.station.settings.hostname} ESMTP"
            self.step(Phase.BANNER, banner, accept=partial(setattr, self, "_greeted", True))

    def shaken(self, error: str | None) -> None:
        if error is not None:
            self.station.journal.note("handshake_failed", self.number, error=error)
            return
        self.station.journal.note("secured", self.number, version=self.tls_version())
        self.pipelining, self._said_hello, self.envelope = False, False, Envelope()
        if not self._greeted:
            self._greet()
            self.flush()

    def _shake_hands(self) -> None:
        self.step(Phase.HANDSHAKE, "220 in plain words", instead=lambda: self.secure(self.station.context()))

    def _ehlo(self, argument: str) -> None:
        lines = [self.station.settings.hostname, *self._extensions()]
        reply = [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
        self.step(Phase.EHLO, *reply, accept=partial(self._hello, argument, self.station.settings.pipelining))

    def _extensions(self) -> list[str]:
        settings = self.station.settings
        offers = {
            "PIPELINING": settings.pipelining,
            "8BITMIME": settings.eight_bit,
            "ENHANCEDSTATUSCODES": settings.enhanced_codes,
            "STARTTLS": settings.tls == "starttls" and not self.secured,
            "AUTH " + " ".join(settings.mechanisms): self.offers_auth,
            f"SIZE {settings.size_limit}": True,
        }
        return [name for name, offered in offers.items() if offered]

    def _helo(self, argument: str) -> None:
        hello = partial(self._hello, argument, False)
        self.step(Phase.HELO, f"250 {self.station.settings.hostname}", accept=hello)

    def _hello(self, name: str, pipelining: bool) -> None:
        self.station.journal.note("hello", self.number, name=name)
        self.pipelining, self._said_hello, self.envelope = pipelining, True, Envelope()

    def _starttls(self, argument: str) -> None:
        if self.station.settings.tls != "starttls" or self.secured:
            self._out_of_order("STARTTLS", "was not offered")
        else:
            self.step(Phase.STARTTLS, "220 2.0.0 go ahead", then=self._begin_tls)

    def _begin_tls(self) -> None:
        self.seal()
        self._shake_hands()

    def _mail(self, argument: str) -> None:
        path = parse_path(argument, "FROM")
        limit = self.station.settings.messages_per_connection
        if not self._said_hello or self.envelope.sender is not None:
            self._out_of_order("MAIL", "inside a transaction" if self._said_hello else "before EHLO")
        elif limit is not None and self.messages >= limit:
            self.answer("421 4.7.0 too many messages on this connection")
            self.close()
        elif self.station.settings.auth_required and self.user is None:
            self.answer("530 5.7.0 authentication required")
        elif path is None or (refusal := self._refuse(path)):
            self.answer("501 5.5.4 that is no sender" if path is None else refusal)
        else:
            facts = Facts(path.mailbox)
            self.step(Phase.MAIL, "250 2.1.0 sender ok", accept=partial(self._begin, path), facts=facts)

    def _refuse(self, path: Path) -> str:
        known = {"SIZE"} | ({"BODY"} if self.station.settings.eight_bit else set())
        if unknown := path.parameters.keys() - known:
            self.breach("parameter", ", ".join(sorted(unknown)))
            return "555 5.5.4 unknown parameter"
        size = path.parameters.get("SIZE", "0")
        return "552 5.3.4 too large" if not size.isdigit() or int(size) > self.station.settings.size_limit else ""

    def _begin(self, path: Path) -> None:
        if path.spaced:
            self.breach("syntax", "a space after the colon")
        eight_bit = path.parameters.get("BODY", "").upper() == "8BITMIME"
        self.envelope = Envelope(sender=path.mailbox, eight_bit=eight_bit)

    def _rcpt(self, argument: str) -> None:
        path = parse_path(argument, "TO")
        if self.envelope.sender is None:
            self._out_of_order("RCPT", "without MAIL", in_flight=self.pipelining)
        elif path is None or not path.mailbox:
            self.answer("501 5.1.3 that is no recipient")
        elif path.parameters:
            self.breach("parameter", ", ".join(path.parameters))
            self.answer("555 5.5.4 unknown parameter")
        else:
            facts = Facts(self.envelope.sender, (path.mailbox,))
            add = partial(self.envelope.recipients.append, path.mailbox)
            self.step(Phase.RCPT, "250 2.1.5 recipient ok", accept=add, facts=facts)

    def _data(self, argument: str) -> None:
        if not self.envelope.recipients:
            self._out_of_order("DATA", "without a recipient", in_flight=self.pipelining)
        else:
            self.step(Phase.DATA, "354 go ahead", accept=self.receive)

    def _rset(self, argument: str) -> None:
        self.step(Phase.RSET, "250 2.0.0 forgotten", accept=partial(setattr, self, "envelope", Envelope()))

    def _noop(self, argument: str) -> None:
        self.step(Phase.NOOP, "250 2.0.0 ok")

    def _vrfy(self, argument: str) -> None:
        self.answer("252 2.5.0 try and see")

    def _quit(self, argument: str) -> None:
        self.step(Phase.QUIT, "221 2.0.0 bye", then=self.close)

    def _out_of_order(self, verb: str, why: str, *, in_flight: bool = False) -> None:
        """Refuse a command; no breach if its group was under way when the command before it was refused."""
        if not in_flight:
            self.breach("order", f"{verb} {why}")
        self.answer("503 5.5.1 bad sequence of commands")
