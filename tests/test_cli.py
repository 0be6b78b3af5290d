import json
import re
from uuid import UUID

import click
import pytest

from api import paths
from api.cli import cli
from api.core import keys, notifications
from api.core.models import ApiKey
from schemas.vocabulary import DeliveryStatus, Mode, Scope
from tests.commandline import refusal, run, stored


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Commands run in an empty directory of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def app(folder):
    """The app on the database of that directory, in its context."""
    with stored() as app:
        yield app


def known(secret: str) -> ApiKey | None:
    with stored():
        return keys.authenticate(secret)


def test_every_command_says_what_it_does():
    commands: list[click.Command] = [cli]
    for command in commands:
        assert (command.help or "").strip()
        if isinstance(command, click.Group):
            commands += command.commands.values()
    assert len(commands) > 10


def test_a_key_is_made_on_a_fresh_directory_and_stands_alone_on_the_last_line(folder):
    result = run("keys", "create", "--name", "shop", "--scope", "users:write", "--scope", "users:read")
    assert result.exit_code == 0
    key = known(result.stdout.splitlines()[-1])
    assert key is not None
    assert (key.name, key.mode, key.scopes) == ("shop", Mode.LIVE, ["users:read", "users:write"])
    assert (folder / "var" / "postroom.db").exists()


def test_a_test_key_is_one():
    result = run("keys", "create", "--name", "trial", "--scope", "admin", "--test")
    key = known(result.stdout.splitlines()[-1])
    assert key is not None
    assert key.mode is Mode.TEST


def test_a_browser_key_is_made_with_its_origins_and_templates():
    page = ["--browser", "--origin", "https://app.example.org", "--origin", "http://localhost:3000"]
    result = run("keys", "create", "--name", "sign-up", *page, "--template", "welcome", "--test")
    assert result.exit_code == 0, result.output
    secret = result.stdout.splitlines()[-1]
    assert secret.startswith("pr_pub_")
    key = known(secret)
    assert key is not None
    assert (key.name, key.mode, key.scopes, key.templates) == ("sign-up", Mode.TEST, [], ["welcome"])
    assert key.origins == ["http://localhost:3000", "https://app.example.org"]
    listed = run("keys", "list").stdout
    assert "browser,http://localhost:3000,https://app.example.org" in listed
    assert secret not in listed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--browser"], "A browser key needs --origin"),
        (["--browser", "--origin", "https://a.example.org", "--scope", "admin"], "has no --scope"),
        (["--origin", "https://a.example.org", "--scope", "admin"], "are for --browser"),
        (["--template", "welcome", "--scope", "admin"], "are for --browser"),
        (["--browser", "--origin", "https://*.example.org"], "--origin"),
        (["--browser", "--origin", "https://a.example.org/page"], "--origin"),
        (["--browser", "--origin", "null"], "--origin"),
        (["--browser", "--origin", "https://a.example.org", "--template", "no such"], "template"),
    ],
)
def test_a_browser_key_that_could_not_be_kept_to_its_page_is_refused_and_not_made(options, told):
    result = run("keys", "create", "--name", "page", *options)
    assert result.exit_code != 0
    assert told in result.output
    assert "Traceback" not in result.output
    assert run("keys", "list").stdout == ""


def test_an_unknown_scope_is_refused_and_the_known_ones_are_named():
    result = run("keys", "create", "--name", "x", "--scope", "everything")
    assert result.exit_code == 2
    assert all(scope.value in result.stderr for scope in Scope)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_a_key_needs_a_name_that_the_list_can_show(name):
    result = run("keys", "create", "--name", name, "--scope", "admin")
    assert result.exit_code == 2
    assert "--name" in result.stderr


def test_keys_are_listed_newest_first_without_their_secrets():
    secrets = [run("keys", "create", "--name", name, "--scope", "admin").stdout.splitlines()[-1] for name in "ab"]
    lines = run("keys", "list").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["b", "a"]
    assert not any(secret in line for secret in secrets for line in lines)


def test_the_list_of_keys_holds_all_of_them(app):
    for number in range(101):
        keys.create(name=f"key-{number}", scopes=[Scope.ADMIN])
    assert len(run("keys", "list").stdout.splitlines()) == 101


def test_a_revoked_key_is_useless_and_listed_as_revoked():
    secret = run("keys", "create", "--name", "shop", "--scope", "admin").stdout.splitlines()[-1]
    key = known(secret)
    assert key is not None
    assert run("keys", "revoke", str(key.id)).exit_code == 0
    assert known(secret) is None
    assert "revoked" in run("keys", "list").stdout


def test_revoking_a_key_that_does_not_exist_is_refused():
    assert "no such" in refusal("keys", "revoke", "01900000-0000-7000-8000-000000000000", status=2)


def test_a_mail_is_queued_and_its_status_url_printed(app):
    result = run(
        *("send", "--to", "Ann <ann@example.org>", "--to", "bob@example.org", "--template", "welcome"),
        *("--data", json.dumps({"user": {"username": "ann", "name": "Ann", "email": "ann@example.org"}})),
        POSTROOM_SENDER="Postroom <postroom@example.org>",
        POSTROOM_PUBLIC_URL="https://mail.example.org/post/",
    )
    assert result.exit_code == 0
    id_, url = result.stdout.splitlines()
    assert url == f"https://mail.example.org/post/v1/notifications/{id_}"
    queued = notifications.get(UUID(id_), key=keys.operator())
    assert [one.recipient for one in queued.deliveries] == ["ann@example.org", "bob@example.org"]
    assert {one.status for one in queued.deliveries} == {DeliveryStatus.QUEUED}


def test_every_wrong_field_of_a_mail_is_one_line():
    result = run("send", "--to", "ann@example.org", "--template", "welcome", POSTROOM_SENDER="a@example.org")
    assert result.exit_code == 2
    assert re.findall(r"^(?:Error: )?(/data/\S+): ", result.stderr, re.MULTILINE)
    assert all("/data/" in line for line in result.stderr.splitlines())


def test_a_mail_without_a_sender_is_refused():
    line = refusal("send", "--to", "ann@example.org", "--template", "welcome", status=2)
    assert "POSTROOM_SENDER" in line


@pytest.mark.parametrize(
    ("option", "value"),
    [("--to", "ann"), ("--to", "Ann <ann@localhost>"), ("--data", "{"), ("--data", "[]"), ("--data", "NaN")],
)
def test_a_wrong_option_of_a_mail_is_named(option, value):
    given = {"--to": "ann@example.org", "--template": "welcome", "--data": "{}", option: value}
    result = run("send", *(part for pair in given.items() for part in pair), POSTROOM_SENDER="a@example.org")
    assert result.exit_code == 2
    assert option in result.stderr


def test_dispatching_once_ends_when_nothing_is_due():
    assert run("dispatch", "--once").exit_code == 0


def test_the_database_is_upgraded_and_its_schema_told(folder):
    result = run("db", "upgrade")
    assert result.stdout == f"{folder}/var/postroom.db is at schema 0002.\n"


def test_the_description_of_the_api_does_not_depend_on_the_settings(folder):
    plain = run("openapi").stdout
    run("openapi", "there.yaml", POSTROOM_PUBLIC_URL="https://mail.example.org", POSTROOM_DATABASE_URL="nonsense")
    assert (folder / "there.yaml").read_text() == plain
    assert re.search(r"^openapi: 3\.1\.", plain, re.MULTILINE)
    assert not (folder / "var").exists()


def test_the_description_in_the_checkout_is_the_one_that_is_written():
    assert run("openapi").stdout == paths.share("openapi.yaml").read_text()
