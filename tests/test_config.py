"""Settings: read strictly, refused by name."""

import pytest

from api import config
from api.app import create_app
from api.startup import reachable


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch):
    """Set variables of the environment."""

    def environment(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return environment


def test_flask_mails_settings_keep_their_names_and_defaults():
    mail = config.read().mail()

    assert (mail["MAIL_SERVER"], mail["MAIL_PORT"]) == ("localhost", 25)
    assert mail["MAIL_USE_TLS"] is mail["MAIL_USE_SSL"] is False
    assert mail["MAIL_USERNAME"] is mail["MAIL_PASSWORD"] is None


@pytest.mark.parametrize(("text", "value"), [("false", False), ("0", False), ("true", True), ("1", True), ("", False)])
def test_a_boolean_means_what_it_says(environment, text, value):
    environment(MAIL_USE_TLS=text)

    assert config.read().mail_use_tls is value


def test_a_password_of_digits_stays_text(environment):
    environment(MAIL_USERNAME="ann", MAIL_PASSWORD="007", MAIL_SERVER="127.0.0.1")

    assert config.read().mail_password == "007"


def test_a_secret_may_come_from_a_file(environment, tmp_path):
    (tmp_path / "password").write_text("secret\n")
    environment(MAIL_USERNAME="ann", MAIL_PASSWORD_FILE=str(tmp_path / "password"), MAIL_USE_TLS="true")

    assert config.read().mail_password == "secret"


def test_no_secret_stands_in_the_settings_repr(environment):
    environment(
        MAIL_USERNAME="ann",
        MAIL_PASSWORD="s3cret",
        MAIL_USE_TLS="true",
        POSTROOM_DATABASE_URL="postgresql://ann:pa55@db/postroom",
    )

    assert "s3cret" not in repr(config.read())
    assert "pa55" not in repr(config.read())


def test_older_names_are_read_too(environment):
    environment(
        FLASKY_MAIL_SENDER="Ann <ann@example.org>", FLASKY_ADMIN="boss@example.org", FLASKY_MAIL_SUBJECT_PREFIX="[F]"
    )

    settings = config.read()
    assert (settings.sender, settings.admin, settings.subject_prefix) == (
        "Ann <ann@example.org>",
        "boss@example.org",
        "[F]",
    )


def test_the_first_name_wins_over_an_older_one(environment):
    environment(FLASKY_ADMIN="old@example.org", POSTROOM_ADMIN="new@example.org")

    assert config.read().admin == "new@example.org"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"MAIL_USE_TLS": "maybe"}, "MAIL_USE_TLS"),
        ({"MAIL_PORT": "smtp"}, "MAIL_PORT"),
        ({"MAIL_PORT": "0"}, "MAIL_PORT"),
        ({"MAIL_USE_TLS": "true", "MAIL_USE_SSL": "true"}, "MAIL_USE_SSL"),
        ({"MAIL_USERNAME": "ann"}, "MAIL_PASSWORD"),
        ({"MAIL_PASSWORD": "x"}, "MAIL_USERNAME"),
        ({"MAIL_USERNAME": "a", "MAIL_PASSWORD": "b", "MAIL_SERVER": "smtp.example.org"}, "MAIL_USE_TLS"),
        ({"MAIL_SUPPRESS_SEND": "true"}, "MAIL_SUPPRESS_SEND"),
        ({"MAIL_TIMEOUT": "nan"}, "MAIL_TIMEOUT"),
        ({"MAIL_TIMEOUT": "100", "MAIL_DEADLINE": "10"}, "MAIL_DEADLINE"),
        ({"POSTROOM_RETRY_FIRST": "-1"}, "POSTROOM_RETRY_FIRST"),
        ({"POSTROOM_RETRY_FIRST": "10", "POSTROOM_RETRY_MAX": "1"}, "POSTROOM_RETRY_MAX"),
        ({"POSTROOM_SENDERS": "0"}, "POSTROOM_SENDERS"),
        ({"POSTROOM_DISPATCH": "cron"}, "POSTROOM_DISPATCH"),
        ({"POSTROOM_PUBLIC_URL": "mail.example.org"}, "POSTROOM_PUBLIC_URL"),
        ({"POSTROOM_PUBLIC_URL": "https://ann:x@mail.example.org"}, "POSTROOM_PUBLIC_URL"),
        ({"POSTROOM_CORS_ORIGINS": "*"}, "POSTROOM_CORS_ORIGINS"),
        ({"POSTROOM_MAX_BODY": "1"}, "POSTROOM_MAX_BODY"),
        ({"POSTROOM_RATE_LIMIT": "6000"}, "POSTROOM_RATE_LIMIT: '6000' is no rate; it must be like 6000/minute"),
        ({"POSTROOM_RATE_LIMIT": "0/minute"}, "POSTROOM_RATE_LIMIT"),
        ({"POSTROOM_RECIPIENT_LIMIT": "60/fortnight"}, "POSTROOM_RECIPIENT_LIMIT"),
        ({"POSTROOM_LIMIT_STORE": "redis"}, "POSTROOM_LIMIT_STORE"),
        ({"POSTROOM_MAX_QUEUE": "0"}, "POSTROOM_MAX_QUEUE"),
        ({"POSTROOM_MAX_QUEUE": "many"}, "POSTROOM_MAX_QUEUE"),
        ({"MAIL_PASSWORD_FILE": "/does/not/exist", "MAIL_USERNAME": "a"}, "MAIL_PASSWORD_FILE"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(environment, variables, name):
    environment(**variables)

    with pytest.raises(config.ConfigError, match=name):
        config.read()


def test_what_was_set_to_the_default_is_known_to_have_been_set(environment):
    environment(POSTROOM_PUBLIC_URL="http://127.0.0.1:8000", POSTROOM_ADMIN="")

    settings = config.read()

    assert settings.explicit == {"public_url"}
    assert reachable(settings, port=9000).public_url == "http://127.0.0.1:8000"
    assert reachable(config.Settings(), port=9000).public_url == "http://127.0.0.1:9000"


def test_a_login_without_tls_is_fine_on_this_machine(environment):
    environment(MAIL_USERNAME="a", MAIL_PASSWORD="b", MAIL_SERVER="127.0.0.1")

    assert config.read().mail_username == "a"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8000", "[127.0.0.1]"),
        ("http://[::1]:8000", "[IPv6:::1]"),
        ("https://notify.example.org/base", "notify.example.org"),
    ],
)
def test_ehlo_gives_a_name_or_an_address_literal(environment, url, name):
    environment(POSTROOM_PUBLIC_URL=url)

    assert config.read().mail()["MAIL_LOCAL_HOSTNAME"] == name


def test_several_wrong_settings_are_named_together(environment):
    environment(MAIL_PORT="0", POSTROOM_DISPATCH="cron")

    with pytest.raises(config.ConfigError) as error:
        config.read()
    assert "MAIL_PORT" in str(error.value)
    assert "POSTROOM_DISPATCH" in str(error.value)


def test_an_administrator_at_the_simulator_is_refused(tmp_path):
    settings = config.Settings(database_url=f"sqlite:///{tmp_path}/x.db", admin="delivered@simulator.example")
    with pytest.raises(config.ConfigError, match="POSTROOM_ADMIN"):
        create_app(settings)


@pytest.mark.parametrize(
    ("url", "folder"),
    [("sqlite:///data/postroom.db", "data"), ("postgresql://nobody@127.0.0.1/postroom", "var")],
)
def test_journals_lie_beside_the_database_unless_another_folder_is_named(
    environment, tmp_path, monkeypatch, url, folder
):
    monkeypatch.chdir(tmp_path)
    environment(POSTROOM_DATABASE_URL=url)
    assert create_app(config.read()).extensions["postroom.dispatch"].journals == tmp_path / folder

    environment(POSTROOM_STATE="state")
    assert create_app(config.read()).extensions["postroom.dispatch"].journals == tmp_path / "state"
