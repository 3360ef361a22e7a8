"""The pages of the server: one to try the model on, one that lists the routes."""

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

ENVIRONMENT = Environment(
    loader=PackageLoader("maskmill.serving.server", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page() -> str:
    """The page that shows the segments of an image."""
    return ENVIRONMENT.get_template("page.html.jinja").render()


def render_docs(openapi: Mapping[str, Any]) -> str:
    """The page that lists the routes of an OpenAPI description."""
    routes = list(_routes(openapi))
    return ENVIRONMENT.get_template("docs.html.jinja").render(routes=routes)


def _routes(openapi: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            yield {
                "method": method.upper(),
                "path": path,
                "description": route.get("description", ""),
                "parameters": route.get("parameters", []),
                "responses": route["responses"],
            }
