"""Clients made from openapi.yaml by others' generators send and follow a message: `make check-clients`.

Not collected by `make test`, for the generators come from registries into var/clients.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Server

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "clients"
DOCUMENT = ROOT / "openapi.yaml"
INSTALLED = ROOT / "var" / "clients"


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    path = f"{INSTALLED / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": path, "HOME": str(cwd), **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def follow(server: Server, *command: str | Path, cwd: Path, **variables: str) -> dict[str, Any]:
    told = run(
        *command,
        cwd=cwd,
        POSTROOM_URL=f"http://127.0.0.1:{server.port}",
        POSTROOM_KEY=server.key,
        **variables,
    )
    return dict(json.loads(told.splitlines()[-1]))


def check(found: dict[str, Any]) -> None:
    assert found["status"] == "sent"
    assert found["recipients"] == ["bob@example.org", "eve@example.org", "ann@example.org"]
    assert found["codes"] == [250, 250, 250]
    assert found["listed"] == [found["id"]]
    assert found["wrong"] == ["/to"]


@pytest.fixture
def python_client(tmp_path):
    """A folder with the client that openapi-python-client makes."""
    made = run(
        INSTALLED / "python" / "bin" / "openapi-python-client",
        *("generate", "--path", DOCUMENT, "--output-path", tmp_path / "postroom_client", "--meta", "none"),
        cwd=tmp_path,
    )
    assert "Warning" not in made, made
    return tmp_path


@pytest.fixture
def typescript_client(tmp_path):
    """A folder with the program that strict tsc makes of the types of openapi-typescript."""
    for name in ("follow.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / name, tmp_path)
    modules = INSTALLED / "node" / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    run("node", modules / "openapi-typescript" / "bin" / "cli.js", DOCUMENT, "-o", "schema.d.ts", cwd=tmp_path)
    run("node", modules / "typescript" / "bin" / "tsc", "--project", "tsconfig.json", cwd=tmp_path)
    return tmp_path


def test_a_python_client_registers_sends_and_follows(start, relay, python_client):
    python = INSTALLED / "python" / "bin" / "python"

    check(follow(start(), python, HERE / "follow.py", cwd=python_client, PYTHONPATH=str(python_client)))
    assert relay.violations() == []


def test_a_typescript_client_registers_sends_and_follows(start, relay, typescript_client):
    check(follow(start(), "node", "dist/follow.js", cwd=typescript_client))
    assert relay.violations() == []
