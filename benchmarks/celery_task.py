"""A Celery task that sends one mail by Flask-Mail and notes it, so that the end is seen without a result store."""

import os

from celery import Celery  # type: ignore[import-not-found,import-untyped,unused-ignore]

from benchmarks.flaskmail import make_app, message
from benchmarks.letters import Letter

QUEUE = "mail"

celery = Celery("bench", broker=os.environ["BROKER"])
celery.conf.update(task_ignore_result=True, task_default_queue=QUEUE, broker_connection_retry_on_startup=True)
_app = make_app(int(os.environ["MAIL_PORT"]))
_notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@celery.task  # type: ignore[untyped-decorator,unused-ignore]
def send(number: int, recipient: str, subject: str, text: str, html: str) -> None:
    """Send one mail."""
    with _app.app_context():
        _app.extensions["mail"].send(message(Letter(number, recipient, subject, text, html)))
    os.write(_notes, b".")
