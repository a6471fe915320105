"""Templates of pages and texts, which are beside this file; what comes from a run is escaped in pages."""

import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from popinfer.report.explorer import content_policy


def render(name: str, filters: Mapping[str, Callable[..., str]] | None = None, **content: Any) -> str:
    """Fill a template; a value that it lacks is an error.

    Parameters
    ----------
    name : str
        Of its file. Values in pages (``.html``) are escaped; pages get the style sheet ``css``, and the
        ``policy`` that lets a browser run the program ``program`` and nothing else.
    filters : Mapping[str, Callable[..., str]] or None
        Functions that the template may apply to values, by name; `powers` is there without.
    **content : Any
        Values by name.
    """
    files = resources.files("popinfer.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8")),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # seals begin a line of their own
    )
    environment.filters.update({"powers": powers, **(filters or {})})
    if name.endswith(".html"):
        content["css"] = (files / "report.css").read_text(encoding="utf-8")
        content["policy"] = content_policy(content.setdefault("program", ""))
    return environment.get_template(name).render(**content)


def powers(text: str) -> Markup:
    """Escaped text with powers such as 10^-10 and Mpc^3 raised, and percent signs kept with their numbers."""
    escaped = str(escape(text)).replace(" %", "\u00a0%")
    return Markup(re.sub(r"\^([−-]?[\d.]*\d)", lambda m: f"<sup>{m[1].replace('-', '−')}</sup>", escaped))
