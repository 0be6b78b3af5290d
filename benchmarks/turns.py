"""What the database's part of a drain costs: claims, contents, journal, results and history, and nothing sent.

`python -m benchmarks.turns` fills an outbox and takes it, so many at a time, through the turns of a dispatcher whose
relay accepts everything at once. CPU, not time: that is less at the mercy of who else uses the machine.
"""

import argparse
import random
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from uuid import UUID

from api.core import clock, dispatchers, policy, transports
from api.core.claim import Blame, Claim, Reply, Result, Settlement
from api.core.db import transact
from api.core.exchange import Wanted, exchange
from api.core.journal import Journal
from benchmarks import outbox
from schemas.vocabulary import Outcome, Phase


def turns(database: Path, *, limit: int) -> tuple[int, float, float]:
    """Settle all that is due there; return how many mails that was, and the seconds of CPU, all and the journal's."""
    with outbox.opened(database):
        me: UUID = transact(dispatchers.register, durable=False)
        journal = Journal(database.with_suffix(".journal"))
        rules = policy.current()
        wanted = Wanted(me, transports.RELAY, limit=limit, lease=rules.lease)
        count, journalled, began = 0, 0.0, _cpu()
        results: list[Settlement] = []
        while True:
            turn = partial(
                exchange,
                settlements=results,
                returned=[],
                wanted=wanted,
                schedule=rules.schedule,
                rand=random.random,
            )
            _, claims = transact(turn, durable=False)
            journal.forget([one.hold.delivery_id for one in results])
            if not claims:
                break
            before = _cpu()
            results = _sent(claims, journal)
            journalled += _cpu() - before
            count += len(claims)
        used = _cpu() - began
        journal.close()
    return count, used, journalled


def _sent(claims: list[Claim], journal: Journal) -> list[Settlement]:
    """Return results as a sender has them that sends one after the other, each written before the next final dot."""
    results: list[Settlement] = []
    for number, claim in enumerate(claims):
        journal.write(results[-1] if results else None, claim)
        reply = Reply(250, "2.0.0", f"Ok: queued as 3F2A{number}")
        results.append(Settlement(claim, Result(Outcome.SENT, Blame.NOBODY, Phase.DOT, reply, 3), clock.utcnow()))
    journal.write(results[-1], None)
    return results


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the database's part of a drain costs.")
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument("--limit", type=int, nargs="+", default=[25, 100, 250], help="claims in one turn")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="turns-") as folder:
        filled = Path(folder) / "filled.db"
        outbox.fill(filled, given.mails)
        for limit in given.limit:
            began = time.monotonic()
            count, used, journalled = turns(outbox.copy(filled, Path(folder) / f"{limit}.db"), limit=limit)
            print(
                f"{limit} at a time: {used / count * 1e6:.1f} us of CPU per mail, {journalled / count * 1e6:.1f} of it "
                f"the journal's; {count} mails in {time.monotonic() - began:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
