"""The audit: what was answered 202, held against what the relay's log and the status resources say."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.crash.load import Post, recipient
from tests.relay.records import Message

ACCEPTED = 202


@dataclass(slots=True)
class Audit:
    """What was found; each list names recipients, and an empty one is as it should be unless said otherwise."""

    messages: int = 0
    answered: int = 0
    refused: int = 0
    unanswered: int = 0
    #: Stored, though the client never heard so: whole, or not at all, is as it should be.
    stored_unheard: int = 0
    #: Answered 202, never accepted by the relay, and not finished with a reason either.
    lost: list[str] = field(default_factory=list)
    #: Finished by a reason of ours: how many, by status.
    unsent: Counter[str] = field(default_factory=Counter)
    #: Failed because workers died over them.
    parked: list[str] = field(default_factory=list)
    #: Called sent, and the relay never accepted it.
    untrue: list[str] = field(default_factory=list)
    #: At the relay, though the answer was a refusal or there is no such message.
    stray: list[str] = field(default_factory=list)
    most_copies: int = 0
    extra: int = 0
    #: More than one copy and no `possible_duplicate`.
    unmarked: list[str] = field(default_factory=list)
    #: `possible_duplicate` and one copy: that is what "possible" means.
    marked_once: int = 0
    #: Copies that differ in a byte.
    altered: list[str] = field(default_factory=list)

    def breaches(self) -> list[str]:
        """Return a line for each promise that was broken."""
        found = {
            "lost": self.lost,
            "called sent without a copy": self.untrue,
            "sent though refused": self.stray,
            "extra copies not marked": self.unmarked,
            "copies that differ": self.altered,
            "parked though no message is to blame": self.parked,
        }
        lines = [f"{len(names)} {what}: {' '.join(names[:10])}" for what, names in found.items() if names]
        if self.most_copies > 2:
            lines.append(f"{self.most_copies} copies of one message")
        return lines


def compare(posts: Iterable[Post], accepted: Iterable[Message], statuses: Iterable[Mapping[str, Any]]) -> Audit:
    """Hold the answers, the relay's log and the status resources against each other."""
    copies: defaultdict[str, list[Message]] = defaultdict(list)
    for message in accepted:
        for each in message.recipients:
            copies[each].append(message)
    deliveries = {one["recipient"]: one for status in statuses for one in status["deliveries"]}
    audit = Audit()
    for post in posts:
        _answer(audit, post, deliveries)
    for name, one in deliveries.items():
        _finished(audit, name, one, copies.get(name, []))
    for name, arrived in copies.items():
        _copies(audit, name, arrived, deliveries.get(name))
    return audit


def _answer(audit: Audit, post: Post, deliveries: Mapping[str, Any]) -> None:
    audit.messages += 1
    stored = recipient(post.number) in deliveries
    if post.status == ACCEPTED:
        audit.answered += 1
        if not stored:
            audit.lost.append(recipient(post.number))
    elif post.status is None:
        audit.unanswered += 1
        audit.stored_unheard += stored
    else:
        audit.refused += 1
        if stored:
            audit.stray.append(recipient(post.number))


def _finished(audit: Audit, name: str, delivery: Mapping[str, Any], arrived: list[Message]) -> None:
    if delivery["status"] == "sent":
        if not arrived:
            audit.untrue.append(name)
        return
    audit.unsent[delivery["status"]] += 1
    if any(attempt["phase"] == "worker" for attempt in delivery["history"]):
        audit.parked.append(name)
    elif delivery["status"] not in ("failed", "expired", "cancelled", "suppressed") and not arrived:
        audit.lost.append(name)


def _copies(audit: Audit, name: str, arrived: list[Message], delivery: Mapping[str, Any] | None) -> None:
    audit.most_copies = max(audit.most_copies, len(arrived))
    audit.extra += len(arrived) - 1
    if delivery is None:
        audit.stray.append(name)
        return
    if len(arrived) > 1 and not delivery["possible_duplicate"]:
        audit.unmarked.append(name)
    audit.marked_once += len(arrived) == 1 and delivery["possible_duplicate"]
    if len({(one.message_id, one.sha256) for one in arrived}) > 1:
        audit.altered.append(name)
