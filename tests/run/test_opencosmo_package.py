"""Mocks on halos in the OpenCosmo layout, of a box and of a lightcone, as the package opencosmo opens them.

opencosmo wants an older astropy than popinfer: set ``POPINFER_OPENCOSMO_PYTHON`` to a Python that can import
it; without it, and without opencosmo here, what needs it is skipped.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from halo_boxes import Box, make_box, opencosmo_of, parquet_of

from popinfer.cli import main
from popinfer.cosmology import PLANCK15, comoving_distance
from popinfer.halos.formats import open_halos
from popinfer.halos.table import join_tables

PYTHON = os.environ.get("POPINFER_OPENCOSMO_PYTHON") or (
    sys.executable if importlib.util.find_spec("opencosmo") else None
)
SIDE, SLICE = 45.0, (0.06, 0.09)
SCRIPT = """
import json, sys
import opencosmo as oc
out = {}
for kind in ("box", "lightcone"):
    mock = oc.open(f"{kind}.h5")
    names = ["halo_id", "x", "vx", "mag_r", "logm0"]
    as_written = mock.select(names).get_data()
    physical = mock.with_units("physical").select(["x", "vx"]).get_data()
    bright = mock.filter(oc.col("mag_r") < 17.0).select(["halo_id"]).get_data()
    out[kind] = {
        "columns": sorted(mock.columns),
        "n": len(mock),
        "h": mock.cosmology.h,
        "Om0": mock.cosmology.Om0,
        "data": {name: [float(x) for x in as_written[name][:50].value]
                 if hasattr(as_written[name], "value") else [int(x) for x in as_written[name][:50]]
                 for name in names},
        "units": {name: str(getattr(as_written[name], "unit", "")) for name in names},
        "physical": {name: [float(x) for x in physical[name][:50].value] for name in ("x", "vx")},
        "n_bright": len(bright),
    }
print("RESULT" + json.dumps(out))
"""


def lightcone_of(box: Box, path) -> dict:
    """A box's halos on a patch of sky of the box's volume; the run file's ``halos.source``."""
    rng, n = np.random.default_rng(1), len(box)
    near, far = np.asarray(comoving_distance(PLANCK15, np.array(SLICE)))
    distance = np.cbrt(rng.uniform(near**3, far**3, n))
    z_grid = np.linspace(*SLICE, 200)
    z = np.interp(distance, np.asarray(comoving_distance(PLANCK15, z_grid)), z_grid)
    steradian = float(3 * SIDE**3 / (far**3 - near**3))
    longitude, height = rng.uniform(0, np.sqrt(steradian), n), rng.uniform(0, np.sqrt(steradian), n)
    flat = np.sqrt(1 - height**2)
    direction = np.stack([flat * np.cos(longitude), flat * np.sin(longitude), height], axis=1)
    columns = box.columns.drop(columns="t_infall").assign(redshift=z)
    columns[["x", "y", "z"]] = direction * distance[:, None]
    source = parquet_of(dataclasses.replace(box, columns=columns), path)
    return source | {"geometry": {"kind": "lightcone", "area_deg2": steradian * (180 / np.pi) ** 2}}


@pytest.fixture(scope="module")
def mocks(tiny_config, tmp_path_factory):
    """A folder with a mock on the halos of a box, and one on those of a lightcone."""
    folder = tmp_path_factory.mktemp("mocks")
    box = make_box(11, SIDE)
    sources = {
        "box": opencosmo_of(box, folder / "halos.h5"),
        "lightcone": lightcone_of(box, folder / "halos.parquet"),
    }
    cosmology = {"H0": 100 * PLANCK15.h, "Om0": PLANCK15.om0}
    for kind, source in sources.items():
        halos = {"n_per_slice": 512, "lgm_min": 11.2, "source": source}
        raw = {**tiny_config, "slices": [list(SLICE)], "halos": halos}
        file = folder / f"{kind}.yaml"
        file.write_text(
            yaml.safe_dump(raw | ({"cosmology": cosmology} if kind != "box" else {})), encoding="utf-8"
        )
        name = next(iter(tiny_config["free"]))
        command = ["mock", str(file), "--on-halos", "--quiet", "--out", str(folder / f"{kind}.h5")]
        assert main([*command, "--set", f"{name}={tiny_config['free'][name]['loc']}"]) == 0
    return folder


def columns_of(path) -> pd.DataFrame:
    with h5py.File(path) as file:
        return pd.DataFrame({name: file[f"data/{name}"][:] for name in file["data"]})


def test_galaxies_on_a_lightcone_are_where_their_halos_are(mocks):
    mock = columns_of(mocks / "lightcone.h5").set_index("halo_id")
    halos = pd.read_parquet(mocks / "halos.parquet").set_index("halo_id").loc[mock.index]
    place = halos[["x", "y", "z"]].to_numpy() / PLANCK15.h
    distance = np.linalg.norm(place, axis=1)
    np.testing.assert_allclose(mock["redshift_true"], halos["redshift"])
    along = (place * halos[["vx", "vy", "vz"]].to_numpy()).sum(axis=1) / distance
    moved = halos["redshift"] + (1 + halos["redshift"]) * along / 299792.458
    np.testing.assert_allclose(mock["redshift"], moved, rtol=1e-5)
    ra, dec = np.radians(mock["ra"]), np.radians(mock["dec"])
    direction = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    np.testing.assert_allclose(direction * distance[:, None], place, rtol=1e-5)
    assert "ra" not in columns_of(mocks / "box.h5")


@pytest.mark.parametrize("kind", ["box", "lightcone"])
def test_velocities_are_comoving_in_the_layout_and_peculiar_again_when_read(mocks, kind):
    with h5py.File(mocks / f"{kind}.h5") as file:
        assert file["data/vx"].attrs["unit"] == "comoving km/s"
    read = join_tables(list(open_halos([str(mocks / f"{kind}.h5")]).chunks()))
    mock = columns_of(mocks / f"{kind}.h5")
    np.testing.assert_allclose(read.velocity[:, 0], mock["vx"] / (1 + mock["redshift_true"]), rtol=1e-6)
    if kind == "box":
        box = make_box(11, SIDE).columns.set_index("halo_id").loc[read.halo_id]
        np.testing.assert_allclose(read.velocity[:, 0], box["vx"], rtol=1e-5)


@pytest.mark.skipif(PYTHON is None, reason="opencosmo isn't installed; see this module's docstring")
def test_opencosmo_opens_them(mocks):
    run = subprocess.run([str(PYTHON), "-c", SCRIPT], cwd=mocks, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.partition("RESULT")[2])
    for kind, theirs in result.items():
        ours = columns_of(mocks / f"{kind}.h5")
        assert theirs["n"] == len(ours) and set(theirs["columns"]) >= set(ours)
        assert (theirs["h"], theirs["Om0"]) == pytest.approx((PLANCK15.h, PLANCK15.om0), rel=1e-4)
        for name, values in theirs["data"].items():
            np.testing.assert_allclose(values, ours[name][:50], rtol=1e-6, err_msg=name)
        assert theirs["units"]["x"] == "Mpc" and theirs["units"]["vx"].replace(" ", "") == "km/s"
        assert theirs["units"]["mag_r"] == "mag"
        assert theirs["n_bright"] == (ours["mag_r"] < 17.0).sum() > 0
    # physical lengths and peculiar velocities of the box, by its own redshift
    box = columns_of(mocks / "box.h5")[:50]
    for name in ("x", "vx"):
        np.testing.assert_allclose(result["box"]["physical"][name], box[name] / 1.075, rtol=1e-5)
