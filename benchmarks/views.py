"""Other ways to take a mail, on the server that Postroom uses: `python -m benchmarks.views VIEW PORT`.

`bare` answers constant JSON. `naive` stores a row by the ORM and starts a thread that sends by Flask-Mail. `celery`
calls `.delay()`. These two check nothing and render nothing. `checked` calls `.delay()` with a body that flask-smorest
has read by Postroom's own schema, so it is a dictionary whose addresses have been looked at; it asks for no key.
Settings: DATABASE, MAIL_PORT, BROKER, AFFINITY.
"""

import argparse
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask, request

from api import affinity, serving

PATH = "/v1/notifications"


def bare() -> Flask:
    app = Flask("bare", static_folder=None)

    @app.post(PATH)
    def post() -> Any:
        return {"id": "01900000-0000-7000-8000-000000000000", "status": "queued"}, 202

    return app


def naive() -> Flask:
    from flask_mail import Mail, Message  # noqa: PLC0415 -- the bare view has no use for it
    from flask_sqlalchemy import SQLAlchemy  # noqa: PLC0415

    app = Flask("naive", static_folder=None)
    app.config.update(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{os.environ['DATABASE']}",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=int(os.environ["MAIL_PORT"]),
        MAIL_DEFAULT_SENDER="shop@sender.example",
    )
    db, mail = SQLAlchemy(app), Mail(app)

    class Sending(db.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy's usual way has no types
        id = db.Column(db.Integer, primary_key=True)
        recipient = db.Column(db.String(254), nullable=False)
        subject = db.Column(db.String(998), nullable=False)
        text = db.Column(db.Text)
        html = db.Column(db.Text)

    with app.app_context():
        db.create_all()

    def send(message: Message) -> None:
        with app.app_context():
            mail.send(message)

    @app.post(PATH)
    def post() -> Any:
        body = request.get_json()
        recipient = body["to"][0]["email"]
        row = Sending(recipient=recipient, subject=body["subject"], text=body["text"], html=body["html"])
        db.session.add(row)
        db.session.commit()
        message = Message(body["subject"], [recipient], body["text"], body["html"])
        threading.Thread(target=send, args=[message]).start()
        return {"id": row.id, "status": "queued"}, 202

    return app


def celery() -> Flask:
    from benchmarks.celery_task import send  # noqa: PLC0415 -- it reads the settings when imported

    app = Flask("celery", static_folder=None)

    @app.post(PATH)
    def post() -> Any:
        body = request.get_json()
        task = send.delay(0, body["to"][0]["email"], body["subject"], body["text"], body["html"])
        return {"id": task.id, "status": "queued"}, 202

    return app


def checked() -> Flask:
    from flask_smorest import Api, Blueprint  # noqa: PLC0415

    from benchmarks.celery_task import send  # noqa: PLC0415 -- it reads the settings when imported
    from schemas.notifications import NotificationIn  # noqa: PLC0415

    app = Flask("checked", static_folder=None)
    app.config.update(API_TITLE="checked", API_VERSION="1", OPENAPI_VERSION="3.1.0")
    blp = Blueprint("notifications", __name__)

    @blp.route(PATH, methods=["POST"])  # type: ignore[untyped-decorator,unused-ignore]
    @blp.arguments(NotificationIn)  # type: ignore[untyped-decorator,unused-ignore]
    @blp.response(202)  # type: ignore[untyped-decorator,unused-ignore]
    def post(body: dict[str, Any]) -> Any:
        [to] = body["to"]
        task = send.delay(0, to["email"], body["subject"], body["text"], body["html"])
        return {"id": task.id, "status": "queued"}

    Api(app).register_blueprint(blp)
    return app


VIEWS: dict[str, Callable[[], Flask]] = {"bare": bare, "naive": naive, "celery": celery, "checked": checked}


def load(name: str) -> Flask:
    if os.environ.get("AFFINITY") == "one":
        affinity.keep()
    app = VIEWS[name]()
    app.extensions["postroom.drain"] = lambda: None  # the server tells what it serves that it is about to end
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve another way to take a mail.")
    parser.add_argument("view", choices=VIEWS)
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    serving.serve(partial(load, given.view), host="127.0.0.1", port=given.port, workers=1, grace=1.0)


if __name__ == "__main__":
    main()
