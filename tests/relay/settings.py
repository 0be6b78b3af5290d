"""What the relay offers and asks for when no rule says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

Tls = Literal["none", "starttls", "implicit"]
CertificateName = Literal["good", "unknown_ca", "wrong_name", "expired"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The relay's ordinary behaviour; a change holds from the next step on (`tls`: from the next connection)."""

    hostname: str = "relay.test"
    #: "none" towards a client that wants STARTTLS is the stripped case.
    tls: Tls = "none"
    certificate: CertificateName = "good"
    #: "TLSv1_1" makes a relay that knows no newer version.
    tls_maximum: Literal["TLSv1", "TLSv1_1", "TLSv1_2"] | None = None
    #: User name to password; AUTH is offered when there is one.
    users: Mapping[str, str] = field(default_factory=dict)
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    #: Offer AUTH without TLS, too.
    auth_in_plaintext: bool = False
    auth_required: bool = False
    pipelining: bool = True
    eight_bit: bool = True
    enhanced_codes: bool = True
    #: Octets of content (RFC 1870).
    size_limit: int = 10_000_000
    #: Milliseconds that each reply is late, as by a round trip; the replies to one group of commands are late once.
    latency_ms: float = 0.0
    #: Let other line ends than CRLF make a final dot, as servers open to smuggling do.
    loose_dot: bool = False
    #: After so many messages on a connection MAIL is answered with 421 and a close.
    messages_per_connection: int | None = None
    #: A connection beyond so many is greeted with 421 and a close.
    connection_limit: int | None = None
    #: Seconds without a word from the client until 421 and a close, unasked.
    idle_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.tls not in get_args(Tls) or self.certificate not in get_args(CertificateName):
            raise ValueError(f"no such TLS: {self.tls}, {self.certificate}")

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """Read settings from JSON values. Raises TypeError for an unknown one, ValueError for an unknown word."""
        plain = dict(data)
        if "mechanisms" in plain:
            plain["mechanisms"] = tuple(plain["mechanisms"])
        return cls(**plain)
