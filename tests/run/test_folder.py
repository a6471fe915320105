"""What is removed with a run's pages, and what is the user's and stays."""

import pytest

from popinfer.run.folder import RunFolder, remove_pages
from popinfer.storage import with_seal


@pytest.mark.parametrize("page", ["report.html", "calibration.html", None])
def test_pages_go_with_what_was_written_with_them(tmp_path, page):
    for name in ("figures/a.png", "figures/a.pdf", "tables/a.ecsv", "tables/mine.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in ("README.md", "references.bib", "report.pdf"):
        suffix = "." + name.rpartition(".")[2]
        (tmp_path / name).write_bytes(with_seal(b"ours\n", suffix, "text"))
    (tmp_path / "reproduce.sh").write_text("echo the user's own\n")
    (tmp_path / "notes.txt").write_text("the user's own\n")
    if page is not None:
        (tmp_path / page).write_text("a page")
    remove_pages(RunFolder(tmp_path))
    kept = {"reproduce.sh", "notes.txt", "tables"} | (set() if page else {"figures"})
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert (tmp_path / "tables" / "mine.csv").is_file()
    assert (tmp_path / "tables" / "a.ecsv").exists() == (page is None)
