"""The `postroom` command."""

from api import garbage  # before all others, as it says

# isort: split
import json
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import click

from api import config, database, development, doctor, keyring, mailing, operating, serving
from api.app import create_app
from api.core import addresses, keys, migrations, notifications, transfer
from api.core.dispatchers import Drive
from api.core.errors import PostroomError
from api.delivery.dispatch import Dispatcher
from api.rest import openapi
from api.startup import Alone, keep_apart, prepared, reachable

_PORT = click.IntRange(0, 65535)


class Wrong(click.ClickException):
    """What a command was given is wrong."""

    exit_code = 2


class Commands(click.Group):
    """Commands whose known failures end in one sentence on stderr instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command: exit 1 where it cannot start, 2 where what it was given is wrong."""
        try:
            return super().invoke(ctx)
        except (
            config.ConfigError,
            migrations.SchemaError,
            serving.Refused,
            development.UnusableKey,
            mailing.BadSheet,
            transfer.TransferError,
        ) as error:
            raise click.ClickException(str(error)) from None
        except PostroomError as error:
            raise Wrong("\n".join(_lines(error))) from None


@click.group(cls=Commands)
@click.version_option(package_name="postroom")
def cli() -> None:
    """Postroom: a notification API that sends mail from a durable outbox."""


@cli.command()
@click.option("--port", type=_PORT, default=8000, show_default=True, help="HTTP port on loopback; 0 takes a free one.")
@click.option("--smtp-port", type=_PORT, default=8025, show_default=True, help="Port of the embedded inbox.")
def dev(port: int, smtp_port: int) -> None:
    """Serve on loopback, with an inbox of its own and a development key."""
    development.run(config.read(), port=port, smtp_port=smtp_port)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option("--port", type=_PORT, default=8000, show_default=True, help="HTTP port; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Server processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Serve, and dispatch by a thread in each worker unless POSTROOM_DISPATCH says otherwise."""
    settings = config.read()
    if settings.sender is None:
        raise config.ConfigError("POSTROOM_SENDER is missing: set it to where mail comes from, `Name <address>`.")
    host, port = serving.free_address(host, port)
    settings = reachable(settings, port=port)
    with prepared(settings) as app:
        click.echo(f"Postroom serves {settings.public_url} from port {port} on {host}.")
    serving.serve(Alone(settings, app), host=host, port=port, workers=workers, grace=settings.grace)


@cli.command()
@click.option("--once", is_flag=True, help="End as soon as nothing is due that can be sent.")
def dispatch(once: bool) -> None:
    """Send what is due, as a process of its own, until SIGTERM."""
    serving.configure_logging()
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    settings = config.read()
    keep_apart(settings)
    with prepared(settings) as app:
        garbage.settle()
        dispatcher = Dispatcher(app, drive=Drive.PROCESS)
        (dispatcher.run_until_idle if once else dispatcher.run)(stop.is_set)


@cli.command()
@click.option("--to", "to", required=True, multiple=True, help="An address, or `Name <address>`; may be repeated.")
@click.option("--template", required=True, help="A template's name.")
@click.option("--data", default="{}", show_default=True, help="The template's variables, a JSON object.")
@click.option("--subject", help="Instead of the template's subject.")
@click.option("--locale", help="Language of the template, like `de`.")
def send(to: tuple[str, ...], template: str, data: str, subject: str | None, locale: str | None) -> None:
    """Queue one mail; whoever dispatches sends it. Prints its id and the URL of its status."""
    recipients, variables = [_recipient(one) for one in to], _variables(data)
    settings = config.read()
    with prepared(settings):
        queued = notifications.accept(
            key=keys.operator(), to=recipients, template=template, data=variables, subject=subject, locale=locale
        )
        click.echo(queued.id)
        click.echo(f"{settings.public_url.rstrip('/')}/v1/notifications/{queued.id}")


@cli.command("send-csv")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--template", required=True, help="A template's name.")
@click.option("--column", default="email", show_default=True, help="The column that holds the address.")
@click.option("--dry-run", is_flag=True, help="Check every row, and queue nothing.")
@click.option("--batch-size", type=click.IntRange(1, 5000), default=500, show_default=True, help="Rows per commit.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the rows left out.")
def send_csv(file: Path, template: str, column: str, dry_run: bool, batch_size: int, report: Path | None) -> None:
    """Queue one mail for each row of FILE, a CSV in UTF-8 with a line of column names.

    Columns are the template's variables, `user.name` being `name` in `user`; `name` and `locale` also say how to
    address. Run again within POSTROOM_IDEMPOTENCY_HOURS, the same file and template go on where they were left: no
    row is queued twice. Ends with status 2 if rows were wrong.
    """
    with prepared(config.read()):
        sheet = mailing.Sheet(file, column=column)
        outcome = mailing.send(sheet, template=template, size=batch_size, dry_run=dry_run)
    if report is not None:
        mailing.write_report(report, outcome.refused)
    for line in mailing.summary(outcome, dry_run=dry_run):
        click.echo(line)
    if outcome.refused:
        raise click.exceptions.Exit(Wrong.exit_code)


@cli.command("openapi")
@click.argument("file", default="-", type=click.File("w", encoding="utf-8"))
def write_openapi(file: Any) -> None:
    """Write the API's description, openapi.yaml, to FILE or stdout."""
    # The description is the same everywhere, so it is made from no settings.
    app = create_app(config.Settings())
    with app.app_context():
        file.write(openapi.to_yaml(openapi.document(app)))


cli.add_command(keyring.api_keys)


cli.add_command(database.db)


cli.add_command(operating.status)
cli.add_command(doctor.doctor)


def _recipient(text: str) -> Any:
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--to") from None


def _variables(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--data") from None
    if not isinstance(data, dict):
        raise click.BadParameter("not a JSON object", param_hint="--data")
    return data


def _lines(error: PostroomError) -> list[str]:
    return [f"{one.pointer}: {one.detail}" for one in error.errors] or [error.detail]


def main() -> None:
    """Run the command line."""
    cli(prog_name="postroom")


if __name__ == "__main__":
    main()
