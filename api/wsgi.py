"""The WSGI entry, `api.wsgi:app`: an upgraded database, one app and, unless somebody else dispatches, one thread.

Raises ConfigError or SchemaError where it cannot start.
"""

from api import config, sigterm
from api.startup import load, prepared

settings = config.read()
with prepared(settings) as app:
    pass  # the database fits the code now, and nothing of it is open: a server may fork before or after this
load(settings, app)
sigterm.heed(app.extensions["postroom.drain"])
