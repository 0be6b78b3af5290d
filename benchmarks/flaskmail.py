"""Flask-Mail as it is usually sent with: `python -m benchmarks.flaskmail thread|fresh|kept PORT COUNT`.

`thread` starts a thread for each mail, `fresh` opens a connection for each mail, `kept` sends all over one.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable

from flask import Flask
from flask_mail import Mail, Message

from benchmarks.letters import SENDER, Letter, letters
from benchmarks.processes import Measure, cpu, peak_rss, tell
from benchmarks.sinks import PASSWORD, USERNAME


def make_app(port: int, *, secure: bool = False) -> Flask:
    app = Flask("flaskmail")
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_DEFAULT_SENDER=SENDER)
    if secure:
        app.config.update(MAIL_USE_TLS=True, MAIL_USERNAME=USERNAME, MAIL_PASSWORD=PASSWORD)
    Mail(app)
    return app


def message(one: Letter) -> Message:
    return Message(one.subject, [one.recipient], one.text, one.html)


def thread_per_mail(app: Flask, mails: list[Letter]) -> None:
    """Send as the tutorials do: a thread takes each message, with an app context of its own."""
    failures: list[Exception] = []
    threads = []

    def send(one: Message) -> None:
        try:
            with app.app_context():
                app.extensions["mail"].send(one)
        except Exception as error:  # noqa: BLE001 -- a thread's would be lost
            failures.append(error)

    with app.app_context():
        for one in mails:
            thread = threading.Thread(target=send, args=[message(one)])
            thread.start()
            threads.append(thread)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def fresh_connection(app: Flask, mails: list[Letter]) -> None:
    with app.app_context():
        for one in mails:
            app.extensions["mail"].send(message(one))


def kept_connection(app: Flask, mails: list[Letter]) -> None:
    with app.app_context(), app.extensions["mail"].connect() as connection:
        for one in mails:
            connection.send(message(one))


WAYS: dict[str, Callable[[Flask, list[Letter]], None]] = {
    "thread": thread_per_mail,
    "fresh": fresh_connection,
    "kept": kept_connection,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Send by Flask-Mail.")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--secure", action="store_true", help="STARTTLS and AUTH")
    given = parser.parse_args()
    app, mails, me = make_app(given.port, secure=given.secure), letters(given.count), [os.getpid()]
    used, began = cpu(me), time.monotonic()
    WAYS[given.way](app, mails)
    tell(Measure(given.count, time.monotonic() - began, cpu(me) - used, peak_rss(me)))


if __name__ == "__main__":
    main()
