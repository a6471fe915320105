"""Notebooks as pages of the site, and the gallery of their figures.

Nothing is run: a page shows the outputs that ``python notebooks/execute.py`` stored in the notebook. A few
lines read them, in place of the extension myst-nb, which could also run them and brings SQLAlchemy and five
more packages. A code cell that begins with a comment ``# Figure: ...`` has a picture with this caption, and
the line ``<!-- gallery -->`` of a page is replaced by all pictures with their captions.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
NOTEBOOKS = DOCS.parent / "notebooks"
IMAGES = DOCS / "_build" / "figures"  # not in git; Sphinx copies them to where the pages are
_CAPTION = re.compile(r"# Figure: (.*\n(?:# .*\n)*)")
_PAGE = re.compile(r"\[([^\]]+)\]\(\.\./docs/([\w/]+)\.md\)")
_NOTEBOOK = re.compile(r"\[([^\]]+)\]\((?:\.\./notebooks/)?(\w+)\.ipynb\)")
_SENTENCE = re.compile(r"(.*?[.!?])(?= [A-Z]|$)")


def setup(app: Any) -> dict[str, Any]:
    """Sphinx' entry point of an extension."""
    app.connect("builder-inited", lambda _: write_images())
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}


def _fill(app: Any, docname: str, source: list[str]) -> None:
    """Markdown in place of a notebook, or of the gallery's line; links to notebooks are the site's."""
    text = source[0]
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        text = page(Path(docname).name, json.loads(text))
    source[0] = with_links(text.replace("<!-- gallery -->", gallery()))


def write_images() -> None:
    """Put the figures of all notebooks where Sphinx finds them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, notebook in _all_notebooks():
        for number, (_, content) in enumerate(figures(notebook), start=1):
            (IMAGES / f"{name}-{number}.png").write_bytes(content)


def _all_notebooks() -> Iterator[tuple[str, Any]]:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        yield path.stem, json.loads(path.read_text(encoding="utf-8"))


def figures(notebook: Any) -> Iterator[tuple[str, bytes]]:
    """Captions and PNG files of a notebook's pictures, in their order."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            image = output.get("data", {}).get("image/png")
            if image is not None:
                yield _caption(cell), base64.b64decode(image)


def _caption(cell: Any) -> str:
    found = _CAPTION.match("".join(cell["source"]))
    return " ".join(found[1].replace("\n# ", "\n").split()) if found else ""


def gallery() -> str:
    """All pictures that have a caption, each a link to its notebook."""
    cards = []
    for name, notebook in _all_notebooks():
        link = f"{{doc}}`{title_of(notebook)} </notebooks/{name}>`"
        for number, (caption, _) in enumerate(figures(notebook), start=1):
            if caption:
                target = f":target: notebooks/{name}.html"
                cards.append(_figure(f"{name}-{number}", caption, f"{caption} {link}", target))
    return "\n\n".join(["````{container} gallery", *cards, "````"])


def _figure(image: str, caption: str, text: str, *options: str) -> str:
    """A picture with a text below; who can't see it hears the caption's first sentence."""
    spoken = _SENTENCE.match(caption)
    lines = [f"```{{figure}} /_build/figures/{image}.png", f":alt: {spoken[0] if spoken else caption}"]
    return "\n".join([*lines, *options, "", text, "```"])


def title_of(notebook: Any) -> str:
    """The first heading of a notebook, up to a colon."""
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].removeprefix("# ").partition(":")[0]


def page(name: str, notebook: Any) -> str:
    """A notebook in Markdown: texts, code, and what the code printed and drew."""
    parts, number = [], 0
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = text.replace("](../results/README.md)", "](../docs/results.md)")
            parts.append(_PAGE.sub(r"{doc}`\1 </\2>`", text))
            continue
        caption = _caption(cell)
        parts.append(f"```python\n{_CAPTION.sub('', text, count=1)}\n```")
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                number += 1
                parts.append(_figure(f"{name}-{number}", caption, caption))
            else:
                parts.append(f"```{{code-block}} text\n:class: output\n\n{_text(output)}\n```")
    return "\n\n".join(parts) + "\n"


def with_links(text: str) -> str:
    """A text whose links from pages to notebooks, and back, are those of the site.

    Links by path would be resolved from where the folder of notebooks really is, outside of the site.
    """
    return _NOTEBOOK.sub(r"{doc}`\1 </notebooks/\2>`", text)


def _text(output: Any) -> str:
    """What a cell printed or returned, as in a terminal."""
    text = output["text"] if "text" in output else output["data"]["text/plain"]
    return "".join(text).rstrip()
