"""HTML pages from the templates beside this file: everything that comes from a run is escaped."""

import base64
from collections.abc import Callable
from importlib import resources
from typing import Any

import jinja2

from popinfer.report.style import Plot


def render(name: str, filters: dict[str, Callable[..., str]] | None = None, **content: Any) -> str:
    """Fill a template, with the pages' style sheet; a value that it lacks is an error."""
    files = resources.files("popinfer.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name).render(
        css=(files / "report.css").read_text(encoding="utf-8"), **content
    )


def embed_images(plots: list[Plot], images: dict[str, bytes]) -> list[tuple[Plot, str]]:
    """Figures with their PNGs as text, for the page to hold."""
    return [(plot, base64.b64encode(images[plot.name]).decode()) for plot in plots]
