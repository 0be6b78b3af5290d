"""Kill server and dispatcher processes at random, and tell what became of the mail.

    python -m tests.crash --kills 100 --messages 8000 --dispatchers 1 --dispatchers 3 --seed 1
    python -m tests.crash --database postgresql
    python -m tests.crash --drive celery --kills 8 --messages 20000 --dispatchers 4

Exits with 1 when a promise was broken, and then keeps the directory with the database and the logs.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from tests.crash.harness import Plan, Report, run
from tests.crash.table import table
from tests.postgresql.server import Server

#: One extra copy in so many messages is the most that is promised.
RARE = 200


def main() -> int:
    """Read the command line, run, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--messages", type=int, default=8000)
    parser.add_argument("--dispatchers", type=int, action="append", help="1 is the server's thread; may be repeated")
    parser.add_argument("--drive", choices=["postroom", "celery"], default="postroom", help="what calls dispatchers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600, help="for the load and the kills of one run, at most")
    parser.add_argument("--latency", type=float, default=0, help="of the relay's replies, in milliseconds")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended, too
    with Server() if options.database == "postgresql" else nullcontext() as server:
        return _rounds(options, server)


def _rounds(options: argparse.Namespace, server: Server | None) -> int:
    reports, broken = [], False
    for dispatchers in options.dispatchers or ([4] if options.drive == "celery" else [1, 3]):
        plan = Plan(
            options.messages,
            options.kills,
            dispatchers,
            options.seed,
            options.seconds,
            options.latency,
            celery=options.drive == "celery",
        )
        directory = Path(tempfile.mkdtemp(prefix=f"crash-{dispatchers}-"))
        url = server.create("crash") if server is not None else None
        report = run(plan, directory, _tell, database_url=url)
        breaches = _breaches(report)
        reports.append(report)
        sys.stderr.write(f"\n{dict(report.kills)}\n")
        if breaches:
            broken = True
            sys.stderr.write("\n".join([f"BROKEN, see {directory}:", *breaches, ""]))
        else:
            shutil.rmtree(directory)
    sys.stdout.write(
        f"{options.database}, seed {options.seed}, relay's latency {options.latency:g} ms\n\n{table(reports)}\n"
    )
    return int(broken)


def _breaches(report: Report) -> list[str]:
    audit = report.audit
    too_many = audit.extra * RARE > audit.messages
    return report.breaches() + ([f"{audit.extra} extra copies of {audit.messages} messages"] if too_many else [])


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{line}\033[K")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
