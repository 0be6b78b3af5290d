"""The dispatchers that are alive, by heartbeat; what the dead ones held falls due again."""

import os
import socket
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from flask import current_app
from sqlalchemy import and_, delete, insert, select, true, update
from sqlalchemy.orm import Session

from api.core import clock, estate, ids, journal, outbox, retry, settling
from api.core.models import Delivery, Dispatcher

#: Seconds between two signs of life.
BEAT_SECONDS = 5.0
#: Silent for longer, a dispatcher counts as dead. Its late writes are fenced, should it only have been paused.
DEAD_AFTER = timedelta(seconds=30)
#: Claims that a sender has taken up at most and not begun.
TAKEN_UP = 2


class Drive(StrEnum):
    """What keeps a dispatcher going."""

    #: The thread of a server's process.
    THREAD = "thread"
    #: `postroom dispatch`.
    PROCESS = "dispatch"
    CELERY = "celery"


def host() -> str:
    """Return a name for where process ids mean something and journals are found: machine, pid namespace, folder.

    Who keeps journals elsewhere is a stranger even on this machine: to find none would say that nothing was begun.
    Raises Unavailable where the folder cannot be written.
    """
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    folder = journal.identity(current_app.extensions["postroom.dispatch"].journals)
    return f"{socket.gethostname()}:{inode}:{folder}"


def shares_journals(one: Dispatcher) -> bool:
    """Tell whether a dispatcher keeps its journal where we do, be it in a container whose processes we do not see."""
    return one.host.rpartition(":")[2] == host().rpartition(":")[2]


def register(session: Session, *, drive: Drive = Drive.THREAD) -> UUID:
    """Announce a dispatcher of this process; return its id, which its claims bear as their holder."""
    id_ = ids.new()
    _announce(session, id_, drive)
    return id_


def beat(session: Session, id_: UUID, *, drive: Drive = Drive.THREAD) -> bool:
    """Give a sign of life; False after having been buried, when others may have taken what this one still holds."""
    seen = update(Dispatcher).where(Dispatcher.id == id_).values(seen_at=clock.utcnow()).returning(Dispatcher.id)
    if session.execute(seen).first() is not None:
        return True
    _announce(session, id_, drive)
    return False


def renew(session: Session, id_: UUID, *, lease: timedelta) -> None:
    """Put off the lease ends of a living dispatcher, once they are near: claims may wait long behind slow mail."""
    now = clock.utcnow()
    near = and_(Delivery.finished_at.is_(None), Delivery.holder == id_, Delivery.due_at < now + lease / 2)
    session.execute(
        update(Delivery).where(near).values(due_at=now + lease).execution_options(synchronize_session=False)
    )


def leave(session: Session, id_: UUID) -> None:
    """Say goodbye: whatever is still held falls due now."""
    estate.recover(session, [id_])
    session.execute(delete(Dispatcher).where(Dispatcher.id == id_))


def others(session: Session, *, me: UUID) -> list[Dispatcher]:
    """Return all dispatchers that have not signed off, but for `me`."""
    return list(
        session.scalars(select(Dispatcher).where(Dispatcher.id != me).execution_options(populate_existing=True))
    )


def bury(session: Session, one: Dispatcher, left: journal.Replay | None, *, schedule: retry.Schedule) -> int:
    """Forget a dead dispatcher: store what its journal knew, and let the rest fall due; return how many that are.

    Without a journal to be had (`left` is None) every delivery it held may have been let into DATA. Nothing is done if
    somebody else was quicker, or if it has given a sign of life since; who has its journal knows that it is dead.
    """
    as_found = and_(Dispatcher.id == one.id, true() if left is not None else Dispatcher.seen_at == one.seen_at)
    if session.execute(delete(Dispatcher).where(as_found).returning(Dispatcher.id)).first() is None:
        return 0
    spared = 0
    if left is None:
        estate.suspect(session, one.id)
    else:
        settling.settle(session, left.settlements, schedule=schedule, rand=lambda: 0.0)
        outbox.enter(session, left.begun)
        taken_up = current_app.extensions["postroom.dispatch"].senders * TAKEN_UP
        spared = estate.spare(session, one.id, most=taken_up)
    return spared + estate.recover(session, [one.id])


def alive(session: Session) -> int:
    """Return how many dispatchers have given a sign of life lately."""
    now = clock.utcnow()
    # A sign of life from the future was given by a clock that was ahead, and says nothing about today.
    seen = select(Dispatcher.id).where(Dispatcher.seen_at.between(now - DEAD_AFTER, now + DEAD_AFTER))
    return len(session.execute(seen).all())


def _announce(session: Session, id_: UUID, drive: Drive) -> None:
    now = clock.utcnow()
    values = {"id": id_, "host": host(), "pid": os.getpid(), "drive": drive, "started_at": now, "seen_at": now}
    session.execute(insert(Dispatcher).values(values))


def is_alive(one: Dispatcher, now: datetime) -> bool:
    """Tell whether a dispatcher has given a sign of life lately."""
    return now - DEAD_AFTER <= one.seen_at <= now + DEAD_AFTER


def runs(pid: int) -> bool:
    """Tell whether a process of this machine runs, or was not waited for yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
