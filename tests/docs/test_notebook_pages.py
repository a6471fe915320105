"""Notebooks as pages of the documentation, and the gallery of their figures."""

import json
from pathlib import Path

import pytest
from scripts import as_module

DOCS = Path(__file__).resolve().parents[2] / "docs"


PAGES = as_module(DOCS / "_ext" / "notebooks.py")
NOTEBOOKS = {path.stem: json.loads(path.read_text()) for path in sorted(PAGES.NOTEBOOKS.glob("*.ipynb"))}
LINKS = "See [x](../docs/x.md), [y](y.ipynb)."
PNG = b"\x89PNG"


def test_a_page_has_texts_code_outputs_and_figures_in_their_order():
    code = {"cell_type": "code", "source": ["# Figure: A line. It\n", "# rises.\n", "draw()"]}
    picture = {"data": {"image/png": "iVBORw==", "text/plain": "<Figure>"}}
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Lines: how they rise\n", LINKS]},
            {"cell_type": "code", "source": ["print(1)"], "outputs": [{"name": "stdout", "text": ["1\n"]}]},
            {**code, "outputs": [picture]},
        ]
    }
    text = PAGES.with_links(PAGES.page("lines", notebook))
    expected = [
        *("See {doc}`x </x>`, {doc}`y </notebooks/y>`.", "print(1)\n```", ":class: output\n\n1\n```"),
        "```python\ndraw()\n```",
        *("/_build/figures/lines-1.png", ":alt: A line.\n", "A line. It rises.\n```"),
    ]
    places = [text.index(words) for words in expected]
    assert places == sorted(places)
    assert list(PAGES.figures(notebook)) == [("A line. It rises.", PNG)]
    assert PAGES.title_of(notebook) == "Lines"


def test_the_gallery_shows_every_figure_of_every_notebook():
    made = PAGES.gallery()
    for name, notebook in NOTEBOOKS.items():
        shown = list(PAGES.figures(notebook))
        assert shown, name
        for number, (caption, content) in enumerate(shown, start=1):
            assert f"/_build/figures/{name}-{number}.png" in made
            assert caption in made
            assert content.startswith(PNG)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_is_in_the_site(name):
    assert f"notebooks/{name}\n" in (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert (DOCS / "notebooks" / f"{name}.ipynb").is_file()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_of_notebooks_exist(name):
    for cell in NOTEBOOKS[name]["cells"]:
        if cell["cell_type"] == "markdown":
            for part in "".join(cell["source"]).split("](")[1:]:
                assert (PAGES.NOTEBOOKS / part.partition(")")[0]).is_file(), part
