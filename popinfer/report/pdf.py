"""The page as PDF, laid out by WeasyPrint with the page's own style for paper; no browser is needed.

WeasyPrint is the optional extra ``pdf``. It needs the system's Pango library, which desktops and most servers
have. Nothing is fetched: the page holds everything.
"""

import importlib
from collections.abc import Callable

from popinfer.errors import InputError, first_line


def pdf_maker() -> Callable[[str], bytes]:
    """The function that turns a page into a PDF, once all that it needs is there.

    Returns
    -------
    callable
        Takes a page's HTML, gives the bytes of a tagged PDF: headings, tables and alternative texts are there
        for screen readers.

    Raises
    ------
    InputError
        WeasyPrint isn't installed, or a library of the system that it needs.
    """
    try:
        weasyprint = importlib.import_module("weasyprint")  # needn't be there
        urls = importlib.import_module("weasyprint.urls")
    except ImportError:
        raise InputError("a PDF needs WeasyPrint; pip install 'popinfer[pdf]'") from None
    except OSError as error:
        raise InputError(
            f"a PDF needs Pango, which WeasyPrint doesn't find here ({first_line(error)}); install the "
            "system's package (libpango-1.0-0, pango)"
        ) from None

    def made(page: str) -> bytes:
        fetcher = urls.URLFetcher(allowed_protocols=("data",))  # the page holds everything
        document = weasyprint.HTML(string=page, url_fetcher=fetcher)
        return document.write_pdf(pdf_tags=True)

    return made
