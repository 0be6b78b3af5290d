"""AUTH (RFC 4954) by PLAIN (RFC 4616) and LOGIN: challenges, and the check against the settings."""

import base64
import binascii
from collections.abc import Callable
from functools import partial

from tests.relay.script import Phase
from tests.relay.turns import Turns


class Login(Turns):
    """A connection whose client may authenticate."""

    user: str | None = None
    #: Takes the next line, which is the answer to a challenge.
    challenge: Callable[[str], None] | None = None

    @property
    def offers_auth(self) -> bool:
        """Whether AUTH stands in the reply to EHLO now."""
        settings = self.station.settings
        return bool(settings.users) and (self.secured or settings.auth_in_plaintext)

    def auth(self, argument: str) -> None:
        """Answer the AUTH command."""
        mechanism, _, initial = argument.partition(" ")
        if self.station.settings.users and not self.offers_auth:
            self.answer("538 5.7.11 encryption required")
        elif not self.offers_auth or self.user is not None:
            self.breach("order", "AUTH was not offered" if self.user is None else "AUTH twice")
            self.answer("503 5.5.1 no AUTH now")
        elif mechanism.upper() not in self.station.settings.mechanisms:
            self.answer("504 5.5.4 unknown mechanism")
        elif mechanism.upper() == "PLAIN":
            self._ask("", self._plain_credentials, initial)
        else:
            self._ask("Username:", self._login_name, initial)

    def answered(self, line: str) -> bool:
        """Give a line to the challenge that waits for one; False when none does."""
        take, self.challenge, self.manners.challenged = self.challenge, None, False
        if take is not None:
            take(line)
        return take is not None

    def _ask(self, question: str, take: Callable[[str], None], known: str = "") -> None:
        """Challenge the client, unless it has told already; `take` gets the decoded answer."""
        if known:
            self._decode(take, "" if known == "=" else known)
            return
        self.challenge, self.manners.challenged = partial(self._decode, take), True
        self.answer("334 " + base64.b64encode(question.encode()).decode())

    def _decode(self, take: Callable[[str], None], line: str) -> None:
        try:
            text = base64.b64decode(line, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):  # a lone * withdraws, and is no base64 either
            self.answer("501 5.5.2 that is no base64")
            return
        take(text)

    def _plain_credentials(self, text: str) -> None:
        parts = text.split("\0")
        if len(parts) == 3:
            self._check(parts[1], parts[2])
        else:
            self.answer("501 5.5.2 those are no credentials")

    def _login_name(self, user: str) -> None:
        self._ask("Password:", partial(self._check, user))

    def _check(self, user: str, password: str) -> None:
        if self.station.settings.users.get(user) == password:
            self.step(Phase.AUTH, "235 2.7.0 welcome", accept=partial(setattr, self, "user", user))
        else:
            self.step(Phase.AUTH, "535 5.7.8 wrong user or password")
