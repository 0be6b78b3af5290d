"""Which rule holds now: counts the hits of each, and draws its chances from one seed."""

import email
import random
from collections.abc import Iterable
from dataclasses import dataclass
from email.policy import default
from fnmatch import fnmatchcase

from tests.relay.script import Action, Phase, Rule


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the transaction when a rule is looked for."""

    sender: str | None = None
    recipients: tuple[str, ...] = ()
    #: As far as it has arrived.
    content: bytes = b""


class Rulebook:
    """The rules of one script by phase, and how often each was hit."""

    def __init__(self, rules: Iterable[Rule], *, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.phase, []).append(rule)
        self._hits: dict[int, int] = {}

    def knows(self, phase: Phase) -> bool:
        """Tell cheaply whether any rule is about this phase."""
        return phase in self._rules

    def choose(self, phase: Phase, facts: Facts, considered: set[int]) -> Action | None:
        """Return the action of the first rule that matches and has hits left, and count the hit; or None.

        A rule that has matched is put into `considered` and passed over from then on: a message that comes in many
        pieces is one hit.
        """
        for rule in self._rules.get(phase, ()):
            if id(rule) not in considered and _matches(rule, facts):
                considered.add(id(rule))
                if self._hit(rule):
                    return rule.action
        return None

    def _hit(self, rule: Rule) -> bool:
        hits = self._hits.get(id(rule), 0)
        if hits < rule.after:
            self._hits[id(rule)] = hits + 1
            return False
        if rule.times is not None and hits >= rule.after + rule.times:
            return False
        if rule.probability < 1.0 and self._random.random() >= rule.probability:
            return False
        self._hits[id(rule)] = hits + 1
        return True


def _matches(rule: Rule, facts: Facts) -> bool:
    if len(facts.content) < rule.at_bytes:
        return False
    if rule.sender is not None and not _like(facts.sender or "", rule.sender):
        return False
    if rule.recipient is not None and not any(_like(each, rule.recipient) for each in facts.recipients):
        return False
    return rule.subject is None or _like(_subject(facts.content), rule.subject)


def _like(text: str, pattern: str) -> bool:
    return fnmatchcase(text.lower(), pattern.lower())


def _subject(content: bytes) -> str:
    head = content.partition(b"\r\n\r\n")[0]
    return str(email.message_from_bytes(head + b"\r\n\r\n", policy=default)["subject"] or "")
