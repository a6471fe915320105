"""The data files that ship inside the package: where they are, and whether they are still what was shipped.

Every file is rebuilt from public sources by ``python -m popinfer.data.build``; ``assets/NOTICE.md`` says what
each one is and under which terms it is passed on.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from popinfer.errors import InputError

ASSETS = Path(__file__).parent / "assets"


class Asset(NamedTuple):
    """One embedded file: its name in ``assets/`` and the sha256 it was shipped with."""

    file: str
    sha256: str


EMBEDDED: dict[str, Asset] = {
    "ssp": Asset(
        "ssp_bc03_miles_kroupa.h5",
        "bce2e47aee0c53e4a9f41b5ac777092e7ac84bdbdde23edb4c4c3af86592e160",
    ),
    "nebular": Asset(
        "nebular_bc03_cloudy.h5",
        "9caa8bc8ae5c3315f175abcc4914a280d7b5e735ba78bcc9bddb22401ea34663",
    ),
    "sdss_mgs": Asset(
        "sdss_mgs.parquet",
        "9bcfc2e5f4f0b0cab60c197739f347eda179e36ba86f326dfdf92134aa164a3f",
    ),
}


class AssetHash(NamedTuple):
    """The sha256 an embedded file should have and the one it has ("missing" where there is no file)."""

    expected: str
    actual: str


def asset_path(name: str) -> Path:
    """Path of the embedded file called `name` (a key of `EMBEDDED`).

    Raises
    ------
    InputError
        There is no such asset, or its file is gone from the installation.
    """
    if name not in EMBEDDED:
        raise InputError(f"no embedded data set is called {name!r}; there are: {', '.join(EMBEDDED)}")
    path = ASSETS / EMBEDDED[name].file
    if not path.is_file():
        raise InputError(f"{path}: missing from the installation; `python -m popinfer.data.build` makes it")
    return path


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def asset_hashes() -> dict[str, AssetHash]:
    """The expected and actual sha256 of every embedded file, by asset name."""
    hashes = {}
    for name, asset in EMBEDDED.items():
        path = ASSETS / asset.file
        hashes[name] = AssetHash(asset.sha256, sha256_of(path) if path.is_file() else "missing")
    return hashes
