"""The shipped files are what was shipped, and their notice says so."""

import pytest

from popinfer.data import embedded
from popinfer.data.embedded import ASSETS, EMBEDDED, asset_hashes, asset_path
from popinfer.errors import InputError


def test_shipped_files_have_their_recorded_hashes():
    for name, hashes in asset_hashes().items():
        assert hashes.actual == hashes.expected, name


def test_notice_names_every_file_and_its_hash():
    notice = (ASSETS / "NOTICE.md").read_text()
    for asset in EMBEDDED.values():
        assert asset.file in notice
        assert asset.sha256 in notice


def test_assets_stay_small():
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) < 10e6


def test_unknown_asset_is_refused():
    with pytest.raises(InputError, match="ssp, nebular, sdss_mgs"):
        asset_path("bc03")


def test_missing_and_changed_files_show(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "ASSETS", tmp_path)
    (tmp_path / EMBEDDED["ssp"].file).write_bytes(b"other")
    hashes = asset_hashes()
    assert hashes["ssp"].actual != hashes["ssp"].expected
    assert hashes["nebular"].actual == "missing"
    with pytest.raises(InputError, match=r"popinfer\.data\.build"):
        asset_path("nebular")
