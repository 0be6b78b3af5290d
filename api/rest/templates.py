"""The views under /v1/templates."""

from typing import Any

from api.core import policy
from api.core.rendering import Rendered, TemplateInfo
from api.rest import examples
from api.rest.blueprint import Blueprint
from schemas.templates import PreviewIn, PreviewOut, TemplateOut, TemplatePage
from schemas.vocabulary import Scope

blp = Blueprint("templates", __name__, url_prefix="/v1/templates", description="What mail can be made from.")


@blp.operation("GET", "", id="list_templates", scope=Scope.TEMPLATES_READ)
@blp.answers(200, TemplatePage(), example=examples.TEMPLATE_PAGE)
def index() -> Any:
    """List the templates by name, on one page."""
    library = policy.current().templates
    return {"data": [library.describe(name) for name in library.names()], "next": None}


@blp.operation("GET", "/<name>", id="get_template", scope=Scope.TEMPLATES_READ)
@blp.answers(200, TemplateOut(), example=examples.TEMPLATE)
def get(name: str) -> TemplateInfo:
    """Show a template: its variables, its locales, its version."""
    return policy.current().templates.describe(name)


@blp.operation("POST", "/<name>/preview", id="preview_template", scope=Scope.TEMPLATES_READ)
@blp.body(PreviewIn(), examples={"A user": examples.PREVIEW_IN})
@blp.answers(200, PreviewOut(), example=examples.PREVIEW)
def preview(body: dict[str, Any], name: str) -> Rendered:
    """Render a template and send nothing.

    What is wrong with the data is answered as it is on sending.
    """
    return policy.current().templates.render(name, body.get("data", {}), locale=body.get("locale"))
