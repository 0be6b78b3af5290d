"""The house itself: what must hold for every file, route and setting."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from api.config import ALIASES, defaults

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "api").rglob("*.py"), *(ROOT / "schemas").rglob("*.py")])


def variables() -> list[str]:
    return [name.upper() if name.startswith("mail_") else f"POSTROOM_{name.upper()}" for name in defaults()]


@pytest.mark.parametrize("variable", [*variables(), *ALIASES.values()])
def test_every_setting_stands_in_the_readmes_table(variable):
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]

    assert any(f"`{variable}`" in row for row in rows)


def test_the_readmes_defaults_are_the_settings_own():
    rows = [line.split("|") for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]
    told = {row[1].strip(" `"): row[2].strip(" `") for row in rows if len(row) > 3}
    for variable, default in zip(variables(), defaults().values(), strict=True):
        if isinstance(default, bool):
            assert told[variable] == str(default).lower()
        elif isinstance(default, int | float):
            assert float(told[variable]) == default, variable


def test_no_package_runs_code_when_it_is_imported():
    for path in SOURCES:
        if path.name == "__init__.py":
            body = ast.parse(path.read_text()).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path


def test_no_file_is_named_for_what_has_no_name():
    assert not [path for path in SOURCES if path.stem in {"utils", "helpers", "common", "misc"}]


def test_no_source_file_is_longer_than_one_can_hold_in_the_head():
    longer = {str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := _lines(path)) > 270}

    assert longer == {}


def test_the_app_imports_neither_a_broker_nor_the_tests_tools():
    code = "import api.app, sys; print([m for m in sys.modules if m.split('.')[0] in ('celery', 'kombu', 'pytest')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert done.stdout.strip() == "[]"


def test_only_the_outbox_moves_a_delivery_from_one_status_to_another():
    allowed = {"estate.py", "outbox.py", "settling.py", "steering.py"}
    offenders = [
        path.name
        for path in SOURCES
        if path.name not in allowed
        and ("status=DeliveryStatus" in path.read_text() or ".status = " in path.read_text())
    ]

    assert offenders == []


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())
