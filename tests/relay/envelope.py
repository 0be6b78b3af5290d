"""The envelope of a transaction, and the grammar of MAIL and RCPT (RFC 5321, 4.1.1.2 and 4.1.1.3)."""

import re
from dataclasses import dataclass, field

_PATH = re.compile(r"(FROM|TO):( *)<([^<>]*)>(?: +(.*))?", re.IGNORECASE)


@dataclass(slots=True)
class Envelope:
    """One transaction: `sender` is None before MAIL and empty for the null sender."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    eight_bit: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """The argument of MAIL or RCPT: the mailbox without brackets, and the parameters, names in capitals."""

    mailbox: str
    parameters: dict[str, str]
    #: A space after the colon: common, and not in the grammar.
    spaced: bool


def parse_path(argument: str, keyword: str) -> Path | None:
    """Read `FROM:<a@b> SIZE=1` or `TO:<a@b>`; None where it is neither."""
    match = _PATH.fullmatch(argument.strip())
    if match is None or match[1].upper() != keyword:
        return None
    pairs = (parameter.partition("=") for parameter in (match[4] or "").split())
    return Path(match[3], {name.upper(): value for name, _, value in pairs}, spaced=bool(match[2]))
