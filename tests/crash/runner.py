"""The `postroom` command in a process that ends, or stops in its tracks, at a chosen call of a chosen function.

    python -m tests.crash.runner --kill api.core.settling:settle:after:3 --mark FILE -- dispatch --once
    python -m tests.crash.runner --stop api.core.journal:read:after:1 --mark FILE -- dispatch --once
    python -m tests.crash.runner --set api.core.dispatchers:BEAT_SECONDS=0.2 -- serve
    python -m tests.crash.runner --set api.delivery.shift:LINGER_SECONDS=0 -- celery worker

A point is `module:function:before|after:call`, the function looked up in its module, or in a class there. FILE is made
at the point, and where it is there already nothing happens: of a server's workers only one dies, and only once.
"""

import argparse
import functools
import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery.bin.celery import celery  # type: ignore[import-untyped]

from api.cli import cli


def _owner(module: str, name: str) -> tuple[Any, str]:
    """Return what holds the named thing, a module or a class in it, and the last part of the name."""
    *classes, last = name.split(".")
    owner: Any = importlib.import_module(module)
    for each in classes:
        owner = getattr(owner, each)
    return owner, last


def plant(point: str, number: signal.Signals, mark: Path) -> None:
    """Have this process send itself a signal at a point. Raises AttributeError when there is no such function."""
    module, name, when, call = point.split(":")
    owner, last = _owner(module, name)
    setattr(owner, last, _wrapped(getattr(owner, last), when, int(call), functools.partial(_strike, number, mark)))


def _wrapped(original: Callable[..., Any], when: str, call: int, strike: Callable[[], None]) -> Callable[..., Any]:
    calls = itertools.count(1)

    @functools.wraps(original)
    def wrapped(*given: Any, **named: Any) -> Any:
        struck = next(calls) == call
        if struck and when == "before":
            strike()
        result = original(*given, **named)
        if struck and when == "after":
            strike()
        return result

    return wrapped


def _strike(number: signal.Signals, mark: Path) -> None:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), number)


def change(setting: str) -> None:
    """Give a module's number another value, `module:NAME=seconds`."""
    place, _, value = setting.partition("=")
    owner, last = _owner(*place.split(":"))
    now = getattr(owner, last)
    setattr(owner, last, timedelta(seconds=float(value)) if isinstance(now, timedelta) else type(now)(value))


def prepare(arguments: Sequence[str]) -> list[str]:
    """Do what the options before `--` ask for, and return the command after it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill", action="append", default=[])
    parser.add_argument("--stop", action="append", default=[])
    parser.add_argument("--mark", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    for number, points in ((signal.SIGKILL, options.kill), (signal.SIGSTOP, options.stop)):
        for point in points:
            plant(point, number, options.mark)
    for setting in options.set:
        change(setting)
    return list(options.command)


# A server's worker that was spawned, not forked, runs this module anew under the second name.
if __name__ in ("__main__", "__mp_main__"):
    command = prepare(sys.argv[1:])
    if __name__ == "__main__" and command[0] == "celery":
        celery(["--app", "api.celery_app", *command[1:]])
    elif __name__ == "__main__":
        cli(command, prog_name="postroom")
