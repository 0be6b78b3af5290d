"""The operator's rules that the use-cases go by: made from the settings by `api.app`, once."""

from dataclasses import dataclass, field
from datetime import timedelta

from api.core import addresses, extension, retry, uploads
from api.core.claim import Address
from api.core.rates import Rate
from api.core.rendering import Library


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may send what to whom, and how often it is tried."""

    sender: Address | None
    #: Addresses, or domains written `@example.org`; in lower case.
    allowed_senders: frozenset[str]
    admin: Address | None
    welcome: bool
    subject_prefix: str
    schedule: retry.Schedule
    #: How long a claim holds; longer than the deadline of one SMTP transaction.
    lease: timedelta
    templates: Library
    #: How much may be attached to a message.
    attachments: uploads.Limits = field(default_factory=uploads.Limits)
    #: How long contents and whole notifications are kept after their end; None is for ever.
    retain_content: timedelta | None = None
    retain_metadata: timedelta | None = None
    #: How long a repeated request gets the first answer.
    receipts_kept: timedelta = timedelta(hours=24)
    #: How often one recipient may be written to; None is as often as asked.
    recipient_rate: Rate | None = None

    def allows(self, sender: str) -> bool:
        """Tell whether mail may go out from this address."""
        mailbox = addresses.key(sender)
        return mailbox in self.allowed_senders or "@" + mailbox.rpartition("@")[2] in self.allowed_senders


def current() -> Policy:
    """Return the running app's policy."""
    policy: Policy = extension.of("postroom.policy")
    return policy
