"""What a client may not do, told apart from what the relay does to it: each breach is reported once it is certain."""

from collections.abc import Callable

#: A client waits for the reply to these in any case (RFC 2920, 3.1; RFC 3207, 4; RFC 4954, 4); "" is the banner.
LAST_IN_GROUP = frozenset({"", "EHLO", "HELO", "DATA", "VRFY", "EXPN", "QUIT", "NOOP", "STARTTLS", "AUTH"})
#: Octets with the CRLF: RFC 5321, 4.5.3.1.4, and RFC 4954, 4.
LONGEST_COMMAND = 512
LONGEST_AUTH = 12_288


class Manners:
    """Watches one client; `report` gets the kind of a breach and a detail."""

    def __init__(self, report: Callable[[str, str], None]) -> None:
        self.report = report
        #: What the client said last: a verb, "." for the final dot, "" before its first word.
        self.last = ""
        #: Credentials are awaited: the next line is no command.
        self.challenged = False
        #: 421 was said: nothing but QUIT may come.
        self.parting = False
        self._group_over = False

    def line(self, line: bytes, *, whole: bool, pending: bool, pipelining: bool) -> None:
        """Look at a command as it came: `whole` if CRLF ended it, `pending` if more came with it."""
        if not self.challenged:
            self.last = line.split(b" ", 1)[0].decode("latin-1").upper()
        if not whole or b"\r" in line:
            self.report("bare_newline", repr(line))
        if len(line) + 2 > (LONGEST_AUTH if self.last == "AUTH" else LONGEST_COMMAND):
            self.report("long_command", f"{len(line)} octets")
        if not line.isascii():
            self.report("eight_bit_command", repr(line))
        if pending:
            self.ahead(pipelining=pipelining)
        if self.parting and self.last != "QUIT":
            self._after_farewell(repr(line), pipelining=pipelining)

    def end_of_content(self, *, pending: bool, pipelining: bool) -> None:
        """Look at a final dot; `pending` if more came with it."""
        self.last = "."
        if pending:
            self.ahead(pipelining=pipelining)

    def ahead(self, *, pipelining: bool) -> None:
        """More came in before the reply to the last command was written."""
        if not pipelining or self.last in LAST_IN_GROUP:
            self.report("pipelined", f"after {self.last}" if self.last else "before the banner")

    def _after_farewell(self, line: str, *, pipelining: bool) -> None:
        # What may have been under way in a pipelined group is let pass.
        if not pipelining or self._group_over:
            self.report("after_421", line)
        self._group_over = self._group_over or self.last in LAST_IN_GROUP
