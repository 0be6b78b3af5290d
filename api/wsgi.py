"""The WSGI entry, `api.wsgi:app`: one app and, unless somebody else dispatches, one dispatcher thread per process."""

from api import config
from api.app import create_app, start_dispatcher

settings = config.read()
app = create_app(settings)
start_dispatcher(app, settings)
