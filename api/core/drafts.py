"""A message checked, rendered and frozen, but not stored yet."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from api.core import addresses, clock, ids, policy, simulator, timing, uploads
from api.core.claim import Address, Content
from api.core.errors import BadTemplate, FieldError, Invalid, NotAllowed, Unavailable, UnknownTemplate
from api.core.policy import Policy
from api.core.timing import Plan
from api.core.uploads import Upload
from schemas.vocabulary import KINDS, Mode, RecipientKind

#: Recipients of one notification, all kinds together.
MAX_RECIPIENTS = 50
#: Characters of a subject with its prefix: a header line cannot be longer (RFC 5322 §2.1.1), folded it may.
MAX_SUBJECT = 998
_RECEIVING = frozenset(KINDS)


class Recipient(NamedTuple):
    """One envelope recipient and the header it stands in."""

    email: str
    kind: RecipientKind


class Draft(NamedTuple):
    """Everything that `notifications.store` makes rows of."""

    id: UUID
    created_at: datetime
    plan: Plan
    content: Content
    recipients: tuple[Recipient, ...]
    template_name: str | None
    template_version: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    user_id: UUID | None


def make(
    *,
    mode: Mode,
    to: Sequence[Address] = (),
    cc: Sequence[Address] = (),
    bcc: Sequence[Address] = (),
    reply_to: Sequence[Address] = (),
    sender: Address | None = None,
    template: str | None = None,
    data: Mapping[str, Any] | None = None,
    locale: str | None = None,
    subject: str | None = None,
    text: str | None = None,
    html: str | None = None,
    attachments: Sequence[Upload] = (),
    headers: Mapping[str, str] | None = None,
    send_at: datetime | None = None,
    expires_at: datetime | None = None,
    tags: Iterable[str] = (),
    metadata: Mapping[str, Any] | None = None,
    user_id: UUID | None = None,
) -> Draft:
    """Check, render and freeze a message.

    Raises Invalid with a pointer for each wrong field, MissingVariables, BadTemplate, NotAllowed for the sender,
    Unavailable where none is configured.
    """
    id_ = ids.new()
    now = clock.utcnow()
    rules = policy.current()
    uploads.check(attachments, limits=rules.attachments)
    heads = _heads(mode, to=to, cc=cc, bcc=bcc, reply_to=reply_to)
    recipients = _recipients(heads)
    give_up = simulator.give_up((one.email for one in recipients), mode=mode, otherwise=rules.schedule.give_up)
    plan = timing.plan(send_at=send_at, expires_at=expires_at, now=now, give_up=give_up)
    origin = _sender(sender, rules)
    version = None
    if template is not None:
        rendered = _render(template, data or {}, locale, rules)
        version, text, html = rendered.version, rendered.text, rendered.html
        subject = subject if subject is not None else rendered.subject
    content = Content(
        message_id=f"<{id_}@{origin.email.rpartition('@')[2]}>",
        date=now,
        sender=origin,
        to=tuple(heads["to"]),
        cc=tuple(heads["cc"]),
        reply_to=tuple(heads["reply_to"]),
        subject=_subject(subject, rules),
        text=text,
        html=html,
        headers=tuple((headers or {}).items()),
        attachments=uploads.decode(attachments),
    )
    return Draft(
        id=id_,
        created_at=now,
        plan=plan,
        content=content,
        recipients=recipients,
        template_name=template,
        template_version=version,
        tags=tuple(dict.fromkeys(tags)),
        metadata=metadata or {},
        user_id=user_id,
    )


def _heads(mode: Mode, **lists: Sequence[Address]) -> dict[str, list[Address]]:
    """Return the lists with every address in its normal form, each mailbox once in a list."""
    wrong: list[FieldError] = []
    heads: dict[str, list[Address]] = {}
    for name, given in lists.items():
        if not given:
            heads[name] = []
            continue
        normal: dict[str, Address] = {}
        for index, address in enumerate(given):
            try:
                email = addresses.normalise(address.email)
            except ValueError as error:
                wrong.append(FieldError(f"/{name}/{index}/email", str(error), "invalid_address"))
                continue
            complaint = simulator.complaint(email, mode=mode) if name in _RECEIVING else None
            if complaint is not None:
                wrong.append(FieldError(f"/{name}/{index}/email", *complaint))
            normal.setdefault(addresses.key(email), Address(email, address.name))
        heads[name] = list(normal.values())
    if wrong:
        raise Invalid("Some addresses cannot be written to.", errors=wrong)
    return heads


def _recipients(heads: Mapping[str, Sequence[Address]]) -> tuple[Recipient, ...]:
    """Return the envelope's recipients: one address counts once, where it stands first."""
    found: dict[str, Recipient] = {}
    for kind in KINDS:
        for address in heads[kind]:
            found.setdefault(addresses.key(address.email), Recipient(address.email, kind))
    if not found:
        raise Invalid(errors=[FieldError("/to", "At least one recipient in to, cc or bcc.", "required")])
    if len(found) > MAX_RECIPIENTS:
        detail = f"At most {MAX_RECIPIENTS} recipients together; these are {len(found)}."
        raise Invalid(errors=[FieldError("/to", detail, "too_many")])
    return tuple(found.values())


def no_sender() -> Unavailable:
    """Return what is raised while nobody may send: it is not the caller who can mend that."""
    return Unavailable("No sender is configured: the operator must set POSTROOM_SENDER.", retry_after=60)


def _sender(given: Address | None, rules: Policy) -> Address:
    if given is None:
        if rules.sender is not None:
            return rules.sender
        if not rules.allowed_senders:
            raise no_sender()
        detail = "No sender is configured (POSTROOM_SENDER), so the request must name one."
        raise Invalid(errors=[FieldError("/from", detail, "required")])
    try:
        email = addresses.normalise(given.email)
    except ValueError as error:
        raise Invalid(errors=[FieldError("/from/email", str(error), "invalid_address")]) from None
    if not rules.allows(email):
        raise NotAllowed(
            "Mail may not be sent from this address.",
            errors=[FieldError("/from/email", "Not on the operator's list of senders.", "sender_not_allowed")],
        )
    return Address(email, given.name)


def _render(template: str, data: Mapping[str, Any], locale: str | None, rules: Policy) -> Any:
    try:
        return rules.templates.render(template, data, locale=locale)
    except UnknownTemplate:
        detail = "There is no template of this name."
        raise Invalid(errors=[FieldError("/template", detail, "unknown_template")]) from None


def _subject(subject: str | None, rules: Policy) -> str:
    if not subject or subject.isspace():
        raise Invalid(errors=[FieldError("/subject", "A subject is needed.", "required")])
    prefix = rules.subject_prefix.strip()
    whole = f"{prefix} {subject}" if prefix else subject
    if len(whole) > MAX_SUBJECT:
        raise BadTemplate(errors=[FieldError("/subject", f"Longer than {MAX_SUBJECT} characters.", "too_long")])
    return whole
