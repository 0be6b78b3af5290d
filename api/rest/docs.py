"""The views of /openapi.json and /docs: Swagger UI from files of a package, so that nobody else is asked for any."""

import secrets
from importlib import resources

from flask import Blueprint, Response, abort, current_app, json, render_template

from api.rest import links, openapi

blp = Blueprint("docs", __name__)

_DIST = resources.files("flask_swagger_ui") / "dist"
_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_DAY = "public, max-age=86400"


@blp.get("/openapi.json")
def document() -> Response:
    """Return the OpenAPI document, for the path that this service is reached by."""
    made = current_app.extensions.get("postroom.document")
    if made is None:  # the same for as long as the process runs, and not cheap
        made = json.dumps(openapi.document(current_app) | {"servers": [{"url": links.path("/")}]})
        current_app.extensions["postroom.document"] = made
    return current_app.response_class(made, mimetype="application/json")


@blp.get("/docs")
def page() -> Response:
    """Return the page that shows the document and tries it out."""
    nonce = secrets.token_urlsafe(16)
    html = render_template(
        "pages/docs.html", nonce=nonce, assets=links.path("/docs/"), document=links.path("/openapi.json")
    )
    policy = (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return current_app.response_class(html, mimetype="text/html", headers={"Content-Security-Policy": policy})


@blp.get("/docs/<name>")
def asset(name: str) -> Response:
    """Return one of the page's files."""
    if name not in _ASSETS:
        abort(404)
    content = (_DIST / name).read_bytes()
    return current_app.response_class(content, mimetype=_ASSETS[name], headers={"Cache-Control": _DAY})
