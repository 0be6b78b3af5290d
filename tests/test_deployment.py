"""The image, the compose file and the units: what they run exists, and what they set means something."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.bin.celery import celery  # type: ignore[import-untyped]
from click import Command, Context, Group

from api import config
from api.cli import cli
from api.config import ALIASES, Settings

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = sorted((ROOT / "deploy").glob("*.service"))
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
TEXTS = [ROOT / "Dockerfile", ROOT / "compose.yaml", ROOT / "docs" / "scaling.md", *UNITS]


def commands() -> list[Any]:
    found = []
    for name, service in COMPOSE["services"].items():
        for command in (service.get("command"), service.get("healthcheck", {}).get("test", [])[1:]):
            if command and command[0] in ("postroom", "celery"):
                found.append(pytest.param(command, id=f"compose {name}: {command[1]}"))
    for unit in UNITS:
        [line] = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        program, *rest = shlex.split(line)
        found.append(pytest.param([Path(program).name, *rest], id=unit.name))
    [last] = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    found.append(pytest.param(json.loads(last), id="Dockerfile"))
    for text in re.findall(r"^\$ ((?:postroom|celery) .*)$", (ROOT / "docs" / "scaling.md").read_text(), re.MULTILINE):
        found.append(pytest.param(shlex.split(text, comments=True), id=f"docs: {text}"))
    return found


def parse(command: Command, arguments: list[str], parent: Context | None = None) -> None:
    """Have click read a command line, down to the last subcommand, without running anything."""
    with command.make_context(command.name, arguments, parent=parent) as context:
        if isinstance(command, Group):
            name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None, name
            parse(found, rest, context)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_there_is(command):
    program, *arguments = command
    if program == "postroom":
        parse(cli, arguments)
        return
    assert arguments[:2] == ["-A", "api.celery_app"]
    assert (ROOT / "api" / "celery_app.py").exists()
    name, *options = arguments[2:]
    known = {option for parameter in celery.commands[name].params for option in parameter.opts}
    given = {word.partition("=")[0] for word in options if word.startswith("-")}
    assert given <= known


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_setting_that_is_named_is_one_that_there_is(path):
    names = {field.name for field in fields(Settings)}
    known = {name.upper() if name.startswith("mail_") else f"POSTROOM_{name.upper()}" for name in names} | {*ALIASES}
    named = set(re.findall(r"\b(?:POSTROOM|MAIL)_[A-Z_]*[A-Z]\b", path.read_text()))
    assert {name.removesuffix("_FILE") if name not in known else name for name in named} <= known


def test_the_settings_of_the_compose_file_are_accepted(monkeypatch):
    for name, value in COMPOSE["services"]["web"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value)))
    settings = config.read()
    assert settings.dispatch == "celery"
    assert settings.sender == "Postroom <postroom@example.org>"
    hosts = set(COMPOSE["services"])
    assert settings.mail_server in hosts
    assert re.findall(r"@(\w+):", settings.database_url) == ["database"]
    assert re.findall(r"//(\w+):", settings.broker_url or "") == ["broker"]


def test_there_are_a_server_two_workers_and_one_beat_and_none_may_write_but_where_it_must():
    ours = {name: one for name, one in COMPOSE["services"].items() if one.get("image") == "postroom"}
    kinds = ["serve" if one["command"][0] == "postroom" else one["command"][3] for one in ours.values()]
    assert sorted(kinds) == ["beat", "serve", "worker", "worker"]
    for one in ours.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["volumes"] == ["state:/var/lib/postroom"]
        assert int(one["stop_grace_period"].removesuffix("s")) > Settings().grace + 5


def test_the_image_copies_what_there_is_and_runs_as_nobody_in_particular():
    stages = DOCKERFILE.split("\nFROM ")
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert f"!{name}\n" in allowed
    # What the wheel is made of must be there when it is made.
    assert {"api", "schemas", "templates", "migrations", "openapi.yaml"} <= set(" ".join(copied).split())
    assert re.search(r"^USER [1-9]\d*$", stages[-1], re.MULTILINE)
    [check] = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", stages[-1], re.MULTILINE)
    compile(json.loads(check)[2], "healthcheck", "exec")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_waits_until_the_mail_under_way_has_ended(unit):
    text = unit.read_text()
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(seconds) > Settings().grace + 10
    assert "\nUser=postroom\n" in text
    assert "\nProtectSystem=strict\n" in text
