import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.e2e.server import Server, environment

_ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment(PYTHONPATH=""), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """An environment with the wheel in it, and its dependencies borrowed from this one, so that nothing is loaded."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", _ROOT, "--no-deps", "--no-build-isolation", "--quiet", "-w", folder, cwd=folder)
    [wheel] = folder.glob("postroom-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=folder)
    [site] = (folder / "venv").glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv" / "bin"


def test_an_installed_wheel_runs_outside_the_checkout_with_its_templates_migrations_and_description(
    installed, tmp_path
):
    where = run(installed / "python", "-c", "import api.paths; print(api.paths.__file__)", cwd=tmp_path)
    assert not Path(where).is_relative_to(_ROOT)
    server = Server(tmp_path / "data", "dev", "--smtp-port", "0", PYTHONPATH="", POSTROOM_SENDER="", MAIL_SERVER="")
    server.program = [str(installed / "postroom")]
    with server:
        registered = server.post("/v1/users", {"username": "ann", "email": "ann@example.org"})
        assert registered.status == 202
        for notice in registered.body["notifications"]:
            server.wait_for_status("/" + notice["url"].split("/", 3)[3], "sent")
        assert len(server.get("/v1/inbox").body["data"]) == 2
        assert server.get("/openapi.json").status == 200
    described = run(installed / "postroom", "openapi", cwd=tmp_path)
    share = Path(where.strip()).parent / "share"
    assert (share / "openapi.yaml").read_text() == described
