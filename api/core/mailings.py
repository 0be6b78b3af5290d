"""Mailings: rows of a list that become mail, each of them once however often the list is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.core import drafts, notifications, receipts
from api.core.db import db, transact
from api.core.drafts import Draft
from api.core.errors import FieldError, Invalid
from api.core.models import ApiKey
from schemas.vocabulary import Mode

_ROUTE = "mailing"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of rows: how many were queued now, how many had been before, and what is wrong with the others."""

    queued: int
    known: int
    refused: Mapping[int, tuple[FieldError, ...]]


def accept(*, key: ApiKey, source: str, rows: Mapping[int, Mapping[str, Any]], dry_run: bool = False) -> Outcome:
    """Queue rows, by their number in the `source`, which were not queued before: all that are right in one commit.

    A row holds what `drafts.make` takes. With `dry_run` nothing is stored. Raises NotAllowed, Unavailable, and
    TwinRunning if another process queues the same rows at this moment; then nothing is stored.
    """
    names = {f"{source}:{number}": number for number in rows}
    known = receipts.known(db.session(), key_id=key.id, route=_ROUTE, names=names)
    made, refused = _made({name: rows[number] for name, number in names.items() if name not in known}, key.mode)

    def work(session: Session) -> int:
        # Somebody else may have queued some of them while these were rendered.
        late = receipts.known(session, key_id=key.id, route=_ROUTE, names=made)
        new = {name: draft for name, draft in made.items() if name not in late}
        receipts.stamp(session, key_id=key.id, route=_ROUTE, names=new)
        notifications.store(session, list(new.values()), mode=key.mode)
        return len(new)

    queued = len(made)
    if made and not dry_run:
        queued = transact(work)
        notifications.nudge()
    wrong = {names[name]: errors for name, errors in refused.items()}
    return Outcome(queued, len(rows) - len(wrong) - queued, wrong)


def _made(
    rows: Mapping[str, Mapping[str, Any]], mode: Mode
) -> tuple[dict[str, Draft], dict[str, tuple[FieldError, ...]]]:
    made: dict[str, Draft] = {}
    refused: dict[str, tuple[FieldError, ...]] = {}
    for name, row in rows.items():
        try:
            made[name] = drafts.make(mode=mode, **row)
        except Invalid as error:
            refused[name] = error.errors or (FieldError("", error.detail, "invalid"),)
    return made, refused
