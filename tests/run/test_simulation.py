"""A user's simulation from file to posterior, and back to a mock on its halos; what run files can't say."""

import dataclasses
import re

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from diffmah.diffmah_kernels import DiffmahParams
from halo_boxes import make_box, opencosmo_of, parquet_of
from halo_texts import write_box_trees, write_sublink

from popinfer.cli import main
from popinfer.config import RunConfig
from popinfer.cosmology import PLANCK15
from popinfer.errors import InputError
from popinfer.halos.per_halo import normals_of_halos, uniforms_of_halos
from popinfer.halos.source import HaloPart
from popinfer.halos.table import DISTINCT, HaloHeader
from popinfer.model import predict_galaxies
from popinfer.random import root_key, stream
from popinfer.records import Halos
from popinfer.run.build import build_forward, in_precision, lightcones
from popinfer.run.paint import PaintSpec, _plan_of, paint_halos
from popinfer.run.prepare import prepare
from popinfer.run.progress import Silent
from popinfer.run.simulation import cosmology_of, describe, resolution_limit
from tests.support.listening import Listening

SIDE = 70.0
TINY = {
    "name": "box",
    "seed": 3,
    "catalog": {
        "path": "sdss_mgs",
        "redshift": "zs",
        "bands": {b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}"} for b in "gr"},
        "selection": {"band": "r", "bright_mag": 14.0, "faint_mag": 17.5, "width_mag": 0.05},
    },
    "slices": [[0.06, 0.09]],
    "features": ["g-r", "r"],
    "free": {
        "dust.lg_av": {"loc": -0.4, "scale": 0.2},
        "metallicity.zero_point": {"loc": 0.0, "scale": 0.15},
    },
    "kernels": {"n_centers": 30, "floor_mag": 0.05, "model_error": 0.1},
    "fit": {"max_steps": 15, "n_prior_starts": 1},
    "sample": {"kind": "nuts", "n_warmup": 200, "n_draws": 300, "min_ess": 400, "n_kept": 400},
    "predictive": {"n_draws": 4},
}
ANY = ["--allow-unconverged", "--allow-misfit"]  # verdicts on small runs are no errors here
VALUES = ["--set", "dust.lg_av=-0.35", "--set", "metallicity.zero_point=0.05"]


def is_table(source: dict) -> bool:
    """Whether a source doesn't tell its cosmology."""
    return str(source.get("path", "")).endswith(".parquet")


def content(source: dict, **changed) -> dict:
    """A run file's content with halos of a simulation."""
    said = {"cosmology": {"H0": 100 * PLANCK15.h, "Om0": PLANCK15.om0}} if is_table(source) else {}
    return {
        **TINY,
        **said,
        "name": "box",
        "halos": {"n_per_slice": 512, "lgm_min": 11.2, "source": source},
        **changed,
    }


@pytest.fixture(scope="module")
def box():
    """Halos in a periodic box."""
    return make_box(11, SIDE)


@pytest.fixture(scope="module")
def files(box, tmp_path_factory) -> dict[str, dict]:
    """The box in formats of users, and the run file's section on each."""
    folder = tmp_path_factory.mktemp("boxes")
    return {
        "table": parquet_of(box, folder / "box.parquet"),
        "opencosmo": opencosmo_of(box, folder / "box.h5"),
        "trees": write_box_trees(box, folder / "tree_0_0_0.dat"),
    }


@pytest.fixture(scope="module")
def run_file(files, tmp_path_factory):
    """A run file on the OpenCosmo box."""
    path = tmp_path_factory.mktemp("run") / "box.yaml"
    path.write_text(yaml.safe_dump(content(files["opencosmo"])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def painted(run_file):
    """A mock with given parameters, and its path."""
    path = run_file.with_name("painted.parquet")
    assert main(["mock", str(run_file), "--on-halos", "--out", str(path), "--quiet", *VALUES]) == 0
    return path, pd.read_parquet(path)


@pytest.mark.parametrize(
    "kind",
    [
        "table",
        pytest.param("opencosmo", marks=pytest.mark.slow),
        pytest.param("trees", marks=pytest.mark.slow),
    ],
)
def test_from_file_to_posterior_and_back(files, kind, tmp_path):
    file, out, mock = tmp_path / "run.yaml", tmp_path / "results", tmp_path / "mock.h5"
    file.write_text(yaml.safe_dump(content(files[kind])), encoding="utf-8")
    assert main(["run", str(file), "--out", str(out), "--quiet", *ANY]) == 0
    options = ["--on-halos", "--draws", "2", "--results", str(out), "--out", str(mock), "--quiet"]
    assert main(["mock", str(file), *options]) == 0
    with h5py.File(mock) as store:
        n = len(store["data/halo_id"])
        assert sorted(set(store["data/draw"][:])) == [0, 1]
        for name in ("mag_g", "mag_r_obs", "lg_mstar", "redshift", "logm0"):
            column = store[f"data/{name}"]
            assert np.isfinite(column[:]).all(), name
            assert column.attrs["description"]
        assert len(np.unique(store["data/halo_id"][:])) == n // 2


def test_the_files_are_one_simulation(files):
    specs = [
        dataclasses.replace(spec, n_halo=2048)
        for spec in lightcones(RunConfig.model_validate(content({"kind": "lightcone"})))
    ]
    weights = {}
    from popinfer.run.simulation import halo_source

    for kind, source in files.items():
        halos = halo_source(RunConfig.model_validate(content(source))).draw([root_key(1)], specs)
        weights[kind] = np.asarray(halos.weight).sum(), np.average(halos.logmp0, weights=halos.weight)
    for density, mass in weights.values():
        assert density == pytest.approx(weights["opencosmo"][0], rel=0.02)
        assert mass == pytest.approx(weights["opencosmo"][1], abs=0.03)


def test_every_halo_has_a_galaxy(box, painted):
    _, mock = painted
    assert sorted(mock["halo_id"]) == sorted(box.columns["halo_id"])
    again = mock.set_index("halo_id").loc[box.columns["halo_id"]]
    np.testing.assert_array_equal(
        again["upid"], np.where(box.columns["upid"] < 0, DISTINCT, box.columns["upid"])
    )
    for name in ("x", "vz", "logm0", "t_peak"):
        np.testing.assert_allclose(again[name], box.columns[name], rtol=1e-6)
    moved = again["redshift_true"] + (1 + again["redshift_true"]) * again["vz"] / 299792.458
    np.testing.assert_allclose(again["redshift"], moved, rtol=1e-6)
    assert np.isfinite(again.to_numpy(float)).all()
    assert 0.1 < mock["is_quenched"].mean() < 0.9


def test_units_and_descriptions_of_all_columns(painted):
    schema = pq.read_schema(painted[0])
    assert all(field.metadata[b"description"] for field in schema)
    assert schema.field("x").metadata[b"unit"] == b"Mpc"
    assert {b"seed", b"run", b"ssp_sha256", b"cosmology", b"popinfer_version"} <= set(schema.metadata)
    assert {b"dust.lg_av", b"sfh.efficiency", b"metallicity.zero_point"} <= set(schema.metadata)


def test_a_galaxy_is_its_halos_own_whatever_the_chunks(run_file, painted, monkeypatch, tmp_path):
    from popinfer.halos import sample
    from popinfer.run import paint

    monkeypatch.setattr(paint, "AT_ONCE", 1000)
    chunks = sample.checked_chunks
    monkeypatch.setattr(
        paint, "checked_chunks", lambda reader, header, spec: chunks(reader, header, spec, 700)
    )
    path, heard = tmp_path / "again.parquet", Listening()
    values = {name: float(value) for name, value in (said.split("=") for said in VALUES[1::2])}
    made = paint.paint(run_file, path, PaintSpec(values=values), heard)
    again = pd.read_parquet(path)
    total, steps = heard.bars["Galaxies on the simulation's halos"]
    assert len(steps) > 3 and steps == sorted(steps) and steps[-1] == total == made.n_halos
    for name in painted[1]:
        np.testing.assert_allclose(again[name], painted[1][name], atol=2e-5, rtol=2e-6, err_msg=name)


def test_stored_magnitudes_are_those_of_the_stored_halos(run_file, painted):
    plan = _plan_of(
        run_file, PaintSpec(values={"dust.lg_av": -0.35, "metallicity.zero_point": 0.05}), Silent()
    )
    mock = painted[1].iloc[:2000]
    survey, key = plan.run.survey, stream(root_key(1), "on_halos")
    n = len(mock)
    ids = mock["halo_id"].to_numpy()
    logmp0 = in_pool(plan, ids, "logmp0")
    halos = Halos(
        z_obs=mock["redshift_true"].to_numpy(),
        t_obs=in_pool(plan, ids, "t_obs"),
        mah_params=DiffmahParams(*(mock[name].to_numpy(float) for name in DiffmahParams._fields)),
        logmp0=logmp0,
        is_central=(mock["upid"] < 0).to_numpy(float),
        lgmu_infall=in_pool(plan, ids, "lgmu_infall"),
        logmhost_infall=in_pool(plan, ids, "logmhost_infall"),
        gyr_since_infall=in_pool(plan, ids, "gyr_since_infall"),
        weight=np.ones(n),
        normals=normals_of_halos(
            stream(key, "normals"), ids, plan.models[0].forward.n_normals(len(survey.bands))
        ),
    )
    uniform = uniforms_of_halos(stream(key, "choices"), ids, 3)[:, 0]
    halos = in_precision(plan.run.config, halos)
    made = paint_halos(
        plan.models[0], dataclasses.replace(survey, features=[]), plan.params[0], halos, uniform
    )
    stored = mock[[f"mag_{band}" for band in survey.bands]].to_numpy()
    np.testing.assert_allclose(np.asarray(made.mag), stored, atol=1e-4)


def in_pool(plan, ids, name):
    """A quantity of the run's own halos, by their names."""
    halos = plan.sample.pools[0].halos
    order = np.argsort(halos.table.halo_id)
    place = order[np.searchsorted(halos.table.halo_id[order], ids)]
    np.testing.assert_array_equal(halos.table.halo_id[place], ids)
    return getattr(halos, name)[place]


def test_as_many_are_listed_as_the_model_expects(run_file, painted):
    run = prepare(run_file)
    specs = [dataclasses.replace(spec, n_halo=4096) for spec in lightcones(run.config)]
    halos = run.source.draw([root_key(i) for i in range(4)], specs, [HaloPart(i, 4) for i in range(4)])
    u = run.model.space.to_unconstrained({"dust.lg_av": -0.35, "metallicity.zero_point": 0.05})
    params = run.model.params_at(jnp.asarray(u))
    z = 0.075  # where the mock's galaxies are seen
    expected = []
    for i in range(4):
        batch = jax.tree.map(lambda x, i=i: np.asarray(x)[i], halos)
        moved = eqx.tree_at(lambda b: b.z_obs, batch, np.full_like(batch.z_obs, z))
        galaxies = predict_galaxies(run.survey_model, params, in_precision(run.config, moved))
        expected.append(np.asarray(galaxies.weight).sum())
    listed = painted[1]["selected"].sum()
    number = np.mean(expected) * SIDE**3
    assert abs(listed - number) < 4 * np.sqrt(number)


@pytest.mark.slow
def test_lines_are_those_of_the_galaxies_histories(run_file, tmp_path, capsys):
    """Luminosities from columns of the file alone, through diffstar itself."""
    file, path = run_file.with_name("smooth.yaml"), tmp_path / "lines.parquet"
    raw = yaml.safe_load(run_file.read_text(encoding="utf-8"))
    gas = {"nebular.logu": -2.8, "nebular.f_esc": 0.1}
    raw["model"] = {"burstiness": {"kind": "none"}, "fixed": gas}
    file.write_text(yaml.safe_dump(raw), encoding="utf-8")
    command = ["mock", str(file), "--on-halos", "--out", str(path), "--quiet", *VALUES, "--lines"]
    assert main([*command, "H1_6562.80A,O3_5006.84A"]) == 0
    mock = pd.read_parquet(path)
    columns = ["lum_H1_6562.80A", "lum_O3_5006.84A"]
    assert [name for name in mock if name.startswith("lum_")] == columns
    import pyarrow.parquet as pq

    said = pq.read_schema(path).field(columns[0]).metadata
    assert said[b"unit"] == b"solLum" and b"H1 6562.80A without dust" in said[b"description"]
    rows = mock.sample(12, random_state=1)
    run = prepare(file)
    expected = [lines_by_hand(run, row, gas) for _, row in rows.iterrows()]
    np.testing.assert_allclose(rows[columns], expected, rtol=0.02, atol=1.0)
    assert (rows[columns[0]] > 1e5).sum() > 3
    assert main([*command, "Halpha"]) == 2
    assert "no line is called 'Halpha'" in capsys.readouterr().err


def lines_by_hand(run, row: pd.Series, gas: dict[str, float]) -> list[float]:
    """H alpha and [O III] of one galaxy of a file."""
    from diffstar import DiffstarParams, calc_sfh_singlegal

    from popinfer.cosmology import age
    from popinfer.data import load_nebular
    from popinfer.sps import age_weights, line_luminosities
    from popinfer.sps.metallicity import lgmet_weights

    cosmology, ssp, grid = run.model.forward.cosmology, run.light.ssp, load_nebular()
    z = 0.075
    t_obs, logt0 = float(age(cosmology, z)), float(np.log10(age(cosmology, 0.0)))
    t = np.linspace(0.05, t_obs, 2000)
    mah = DiffmahParams(*(float(row[name]) for name in DiffmahParams._fields))
    names = ("lgmcrit", "lgy_at_mcrit", "indx_lo", "indx_hi", "lg_qt", "qlglgdt", "lg_drop", "lg_rejuv")
    made = DiffstarParams(*(float(row[name]) for name in names))
    sfr = calc_sfh_singlegal(made, mah, jnp.asarray(t), lgt0=logt0, fb=cosmology.fb)
    weights = age_weights(jnp.asarray(t), sfr, t_obs, ssp.ssp_lg_age_gyr)
    scatter = run.model.params.metallicity.mdf_scatter
    shares = lgmet_weights(float(row["lgmet"]), scatter, jnp.asarray(ssp.ssp_lgmet))
    lum = line_luminosities(
        ssp, grid, shares[:, None] * weights, gas["nebular.logu"], None, gas["nebular.f_esc"]
    )
    places = [grid.line_name.index(name) for name in ("H  1  6562.80A", "O  3  5006.84A")]
    return [float(lum[i]) for i in places]


def test_fits_and_hdf5_hold_the_same(run_file, painted, tmp_path):
    for suffix in (".fits", ".h5"):
        path = tmp_path / f"mock{suffix}"
        assert main(["mock", str(run_file), "--on-halos", "--out", str(path), "--quiet", *VALUES]) == 0
        if suffix == ".fits":
            table = Table.read(path)
            assert str(table["x"].unit) == "Mpc"
            header, fields = fits.getheader(path, 1), pq.read_schema(painted[0])
            notes = {header[f"TTYPE{i}"]: header[f"TCOMM{i}"] for i in range(1, header["TFIELDS"] + 1)}
            assert notes == {field.name: field.metadata[b"description"].decode() for field in fields}
            read = {name: np.asarray(table[name]) for name in table.colnames}
        else:
            with h5py.File(path) as store:
                read = {name: store[f"data/{name}"][:] for name in store["data"]}
                assert store["header/file"].attrs["data_type"] == "synthetic_galaxies"
        assert set(read) == set(painted[1])
        for name in ("halo_id", "mag_r", "selected"):
            np.testing.assert_array_equal(read[name], painted[1][name])


def test_a_mock_is_itself_a_simulation(files, painted, tmp_path, run_file):
    path = tmp_path / "mock.h5"
    assert main(["mock", str(run_file), "--on-halos", "--out", str(path), "--quiet", *VALUES]) == 0
    source = {"kind": "catalog", "path": str(path), "geometry": {"kind": "box"}}
    lines = describe(RunConfig.model_validate(content(source)))
    assert any("given" in line for line in lines)


def test_fits_of_trees_are_a_catalog(files, tmp_path, capsys):
    out = tmp_path / "fits.h5"
    assert main(["halos", "fit-trees", files["trees"]["path"], str(out)]) == 0
    assert "halos fitted" in capsys.readouterr().out
    assert not list(tmp_path.glob(".*"))  # parts are gone
    source = {"kind": "catalog", "path": str(out), "geometry": {"kind": "box"}}
    text = "\n".join(describe(RunConfig.model_validate(content(source))))
    assert "given" in text
    assert "still growing" in text
    assert "infall known" in text


def test_trees_without_a_cosmology_are_given_one(tmp_path, capsys):
    trees, out = tmp_path / "tree_extended.0.hdf5", tmp_path / "fits.h5"
    write_sublink(trees)
    with h5py.File(trees, "r+") as file:
        del file["Header"]
    command = ["halos", "fit-trees", str(trees), str(out), "--quiet"]
    assert main(command) == 2
    assert "has no cosmology" in capsys.readouterr().err
    assert main([*command, "--h0", "70"]) == 2
    assert "both --h0 and --om0" in capsys.readouterr().err
    assert main([*command, "--h0", "70", "--om0", "0.3"]) == 0
    with h5py.File(out) as file:
        assert file["header/simulation/cosmology"].attrs["h"] == pytest.approx(0.7)
        np.testing.assert_allclose(10 ** file["data/logmp_obs"][:], [1e13 / 0.7, 5e11 / 0.7], rtol=1e-4)


def test_fits_of_trees_go_on_where_they_stopped(files, tmp_path, monkeypatch):
    from popinfer.halos import fitted_file
    from popinfer.halos.formats import open_halos

    reader = open_halos([files["trees"]["path"]])
    out = tmp_path / "fits.h5"
    gathered = fitted_file._gather_parts
    monkeypatch.setattr(fitted_file, "_gather_parts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fitted_file.fit_trees(reader, out)
    assert not out.exists()
    monkeypatch.setattr(fitted_file, "_gather_parts", gathered)
    monkeypatch.setattr(fitted_file, "fit_histories", None)  # nothing is left to fit
    made = fitted_file.fit_trees(reader, out)
    assert made.n_resumed >= 1
    assert out.is_file()


def test_a_simulation_is_described(run_file, capsys, tmp_path):
    assert main(["halos", str(run_file), "--out", str(tmp_path / "none")]) == 0
    text = capsys.readouterr().out
    for words in ("box of 70 Mpc", "times diffhalos'", "t_peak of centrals", "GiB of memory"):
        assert words in text
    kept, centrals, satellites = (
        int(x.replace(",", ""))
        for x in re.search(
            r"kept: ([\d,]+) halos .* ([\d,]+) centrals and ([\d,]+) satellites", text
        ).groups()
    )
    assert kept == centrals + satellites and satellites > 0


@pytest.mark.parametrize(
    ("said", "header_mass", "expected"),
    [
        (None, None, 0.0),
        (None, 1e8, np.log10(3e10)),
        ({"particle_mass_msun": 2e8, "min_particles": 100}, 1e8, np.log10(2e10)),
        ({"min_particles": 100}, 1e8, 10.0),
        ({"lgm_min": 11.2, "particle_mass_msun": 2e8}, None, 11.2),
    ],
)
def test_resolution_is_a_mass_or_a_number_of_particles(files, said, header_mass, expected):
    source = files["opencosmo"] | ({} if said is None else {"resolution": said})
    config = RunConfig.model_validate(content(source)).halos.source
    header = HaloHeader("box", "table", PLANCK15, 70.0, particle_mass=header_mass)
    assert resolution_limit(config, header) == pytest.approx(expected)


def test_a_cosmology_other_than_the_files_is_refused(files, tmp_path, capsys):
    path, other = tmp_path / "run.yaml", {"H0": 67, "Om0": 0.3}
    path.write_text(yaml.safe_dump(content(files["opencosmo"], cosmology=other)), encoding="utf-8")
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "cosmology.H0: is 67 in the run file and" in capsys.readouterr().err


def test_the_run_files_cosmology_is_the_runs(files):
    config = RunConfig.model_validate(content(files["table"], cosmology={"H0": 70, "Om0": 0.29}))
    assert cosmology_of(config).om0 == 0.29
    assert build_forward(config).cosmology.h == 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"free": {**TINY["free"], "satellites.survival": {}}}, "satellites.survival can't be free"),
        ({"model": {"fixed": {"satellites.survival": 0.5}}}, "satellites.survival has to be 1"),
    ],
)
def test_survival_is_no_parameter_of_a_simulation(files, tmp_path, change, message, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content(files["table"], **change)), encoding="utf-8")
    assert main(["run", str(path), "--quiet"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--on-halos"], []])
def test_no_mock_is_made_with_another_survival(files, tmp_path, options, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content(files["table"])), encoding="utf-8")
    out = ["--out", str(tmp_path / "mock.parquet")]
    assert main(["mock", str(path), *options, *out, "--set", "satellites.survival=0.5", "--quiet"]) == 2
    assert "satellites.survival has to be 1" in capsys.readouterr().err
    assert main(["params", str(path)]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("satellites.survival"))
    assert line.split()[1:3] == ["fixed", "1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "/nowhere/halos.h5"}, "is no file"),
        ({"format": "gadget"}, "is unknown"),
        ({"columns": {"id": "halo_id", "spin": "s"}}, "'spin' is no quantity"),
        ({"units": {"mass": "apples"}}, "no unit of mass"),
        ({"geometry": {"kind": "lightcone", "area_deg2": 100.0}}, "redshift"),
        ({"kind": "trees"}, "has no mass histories"),
        ({"resolution": {"lgm_min": 14.2}}, "Msun or more"),
    ],
)
def test_sections_that_are_refused(files, tmp_path, change, message, capsys):
    source = dict(files["table"])
    source |= change
    if source["kind"] == "trees":
        source.pop("histories", None)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content(source)), encoding="utf-8")
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_on_halos_needs_a_simulation_and_results(files, tmp_path, capsys, write_config):
    assert (
        main(["mock", str(write_config()), "--on-halos", "--out", str(tmp_path / "m.parquet"), "--quiet"])
        == 2
    )
    assert "kind catalog or trees" in capsys.readouterr().err
    path = tmp_path / "box.yaml"
    path.write_text(yaml.safe_dump(content(files["opencosmo"])), encoding="utf-8")
    options = ["--on-halos", "--results", str(tmp_path / "none"), "--quiet"]
    assert main(["mock", str(path), *options, "--out", str(tmp_path / "m.parquet")]) == 2
    assert "not there yet" in capsys.readouterr().err
    assert main(["mock", str(path), *options, "--out", str(tmp_path / "m.csv")]) == 2
    assert "suffix" in capsys.readouterr().err


@pytest.mark.parametrize("n_step", [2, 4])  # no branch has a fit, and a part of them
def test_unfit_trees_are_refused(tmp_path, box, n_step):
    source = write_box_trees(box, tmp_path / "tree_0_0_0.dat", n_step)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content(source)), encoding="utf-8")
    with pytest.raises(InputError, match="too few points"):
        prepare(path)
