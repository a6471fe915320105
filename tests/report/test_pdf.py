"""The report on paper; and what is said where WeasyPrint or Pango isn't there."""

import re
import sys
import zlib

import pytest
import synthetic

from popinfer import cli
from popinfer.errors import InputError
from popinfer.report import RunSummary, write_report
from popinfer.report.pdf import pdf_maker
from popinfer.storage import read_sealed, with_seal


def _two_parameters():
    return synthetic.chains({name: synthetic.draws()[name] for name in list(synthetic.PARAMETERS)[:2]})


def _inflated(part: bytes) -> bytes:
    try:
        return zlib.decompress(part)
    except zlib.error:
        return b""


@pytest.fixture
def weasyprint():
    """WeasyPrint, where it and Pango are installed."""
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        pytest.skip(f"no WeasyPrint here: {error}")
    return weasyprint


class _Missing:
    """An importer that has no WeasyPrint, or one that fails to load a library."""

    def __init__(self, error):
        self.error = error

    def find_spec(self, name, path=None, target=None):
        if name == "weasyprint":
            raise self.error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ImportError("No module named 'weasyprint'"), r"pip install 'popinfer\[pdf\]'"),
        (
            OSError("cannot load library 'libpango-1.0-0'\nadditionally"),
            "needs Pango.*libpango-1.0-0'.*install",
        ),
    ],
)
def test_without_it_one_line_says_what_to_install(tmp_path, monkeypatch, capsys, error, says):
    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Missing(error), *sys.meta_path])
    with pytest.raises(InputError, match=says) as caught:
        write_report(_two_parameters(), RunSummary(name="x"), tmp_path / "out", pdf=True)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    assert cli.main(["report", str(tmp_path), "--pdf", "--quiet"]) == 2  # before it looks for results
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "a PDF needs" in said


def test_the_page_is_printed_whole(tmp_path, weasyprint):
    idata = _two_parameters()
    write_report(idata, RunSummary(name="printed", posterior="ab" * 32), tmp_path, pdf=True)
    sealed = read_sealed(tmp_path / "report.pdf", "pdf", "report")
    assert sealed.content.startswith(b"%PDF-") and sealed.content.rstrip().endswith(b"%%EOF")
    assert sealed.identity == "ab" * 32
    assert sealed.content.count(b"/Subtype /Image") >= 4 or sealed.content.count(b"/Image") >= 4
    parts = [
        _inflated(part) for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", sealed.content, re.DOTALL)
    ]
    assert any(b"/StructTreeRoot" in part for part in parts)  # tagged, for screen readers
    assert any(b"Corner plot of 2 parameters" in part for part in parts)  # pictures in words


def test_nothing_is_fetched_for_it(weasyprint, tmp_path, caplog):
    (tmp_path / "secret.png").write_bytes(b"no picture")
    outside = [(tmp_path / "secret.png").as_uri(), "http://127.0.0.1:9/a.png"]
    assert pdf_maker()("".join(f'<img src="{one}">' for one in outside)).startswith(b"%PDF-")
    refused = [
        record.getMessage() for record in caplog.records if "disallowed protocol" in record.getMessage()
    ]
    assert len(refused) == len(outside)


def test_a_pdf_of_other_draws_goes_with_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr("popinfer.report.html.pdf_maker", lambda: lambda _page: b"%PDF-")
    idata = _two_parameters()
    write_report(idata, RunSummary(name="x", posterior="ab" * 32), tmp_path, pdf=True)
    first = (tmp_path / "report.pdf").read_bytes()
    assert first == with_seal(b"%PDF-", ".pdf", "pdf", "ab" * 32)
    write_report(idata, RunSummary(name="x", posterior="ab" * 32), tmp_path)
    assert (tmp_path / "report.pdf").read_bytes() == first  # of the same draws
    write_report(idata, RunSummary(name="x", posterior="cd" * 32), tmp_path)
    assert not (tmp_path / "report.pdf").exists()
