import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import yaml

from popinfer.cli import main
from popinfer.config import load_config
from popinfer.errors import InputError
from popinfer.halos.source import drawn_slices
from popinfer.random import root_key
from popinfer.run import simulate
from popinfer.run.mock import _as_measured, _of_mock, parse_values
from popinfer.run.progress import Silent
from popinfer.run.simulate import _model_galaxies, _Numbers, _one_a_halo, _pick, _readiness, draw_survey
from popinfer.run.truth import truth_path

pytestmark = pytest.mark.xdist_group("the tiny run")  # made once


@pytest.fixture(scope="module")
def made(tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("mock") / "catalog.parquet"
    arguments = ["mock", str(tiny_run[0]), "--out", str(out), "--set", "dust.lg_av=-0.3"]
    code = main([*arguments, "--set", "dust_law.delta=-0.1", "--n-galaxies", "700", "--seed", "4", "--quiet"])
    assert code == 0
    return out


def test_mock_has_the_run_files_columns(made):
    table = pd.read_parquet(made)
    assert set(table.columns) == {"zs", "g", "eg", "r", "er"}
    assert len(table) == 700
    assert table["zs"].between(0.06, 0.09).all()
    assert table["r"].between(14.0, 17.5).all()
    assert (table[["eg", "er"]] > 0).all().all()
    assert 0.4 < (table["g"] - table["r"]).median() < 1.0
    assert table["r"].duplicated().sum() < 0.02 * len(table)


def test_truth_and_run_file_beside_it(made):
    truth = json.loads((made.parent / "catalog.truth.json").read_text())
    assert truth.pop("seal").startswith("popinfer")
    assert truth == {"dust.lg_av": -0.3, "dust_law.delta": -0.1, "metallicity.zero_point": 0.0}
    config = load_config(made.with_suffix(".yaml"))
    assert config.catalog.path == str(made)
    assert config.model.fixed["dust_law.delta"] == -0.1  # not free: a fit of the mock has to know it
    assert yaml.safe_load(made.with_suffix(".yaml").read_text())["name"] == "tiny-catalog"


def test_misspelled_parameter(tiny_run, tmp_path, capsys):
    out = tmp_path / "m.parquet"
    assert main(["mock", str(tiny_run[0]), "--out", str(out), "--set", "dust.lg_aw=1", "--quiet"]) == 2
    assert "did you mean 'dust.lg_av'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", ["dust.lg_av", "dust.lg_av=high", "="])
def test_values_that_are_no_numbers(setting):
    with pytest.raises(InputError, match="name=number"):
        parse_values([setting])


def test_picked_galaxies_are_distributed_as_independent_draws():
    """Pools of twice as many candidates: numbers in three classes scatter as binomial ones."""
    rng, n, shares, counts = np.random.default_rng(1), 400, np.array([0.2, 0.3, 0.5]), []
    for i in range(3000):
        kind = rng.choice(3, 1000)
        # candidates of a class are proposed equally often and weigh as much as the class should hold
        weight = shares[kind] * rng.uniform(0.5, 1.5, kind.size)
        counts.append(np.bincount(kind[_pick(root_key(i), weight, n)], minlength=3))
    np.testing.assert_allclose(np.mean(counts, axis=0), n * shares, atol=1.0)
    binomial = np.sqrt(n * shares * (1 - shares))
    np.testing.assert_allclose(np.std(counts, axis=0), binomial, rtol=0.05)


def test_a_halo_holds_one_galaxy():
    """Of the two kinds that the model has there; on average as often as they weigh."""
    kinds = np.array([[3.0, 0.0, 0.0, 2.0], [1.0, 5.0, 0.0, 2.0]])  # [kind, halo]
    chosen = np.stack([_one_a_halo(root_key(i), kinds.reshape(1, -1)).reshape(2, 4) for i in range(4000)])
    assert (np.count_nonzero(chosen, axis=1) == [1, 1, 0, 1]).all()
    np.testing.assert_allclose(chosen.sum(axis=1), np.broadcast_to(kinds.sum(axis=0), (4000, 4)))
    np.testing.assert_allclose(chosen.mean(axis=0), kinds, atol=0.15)


def test_model_galaxies_are_of_different_halos(run):
    """Both kinds of a halo have its redshift, which hardly any other halo has in single precision."""
    n = 300
    params = run.model.params_at(jnp.zeros(run.model.space.size))
    numbers = _Numbers(root_key(1), run, n)
    (z, mag, weight), *_ = _model_galaxies(root_key(5), run, params, numbers, Silent())
    assert len(z) == len(mag) == len(weight) > 2 * n
    assert (weight > 0).all()
    assert len(np.unique(z)) > 0.99 * len(z)


def test_a_slice_without_galaxies_is_not_ready():
    none, some = ((np.zeros(0), np.zeros((0, 2)), w) for w in (np.zeros(0), np.ones(1000)))
    assert _readiness((none,), 100) == 0.0
    assert _readiness((none, some), 100) >= 1.0
    assert _readiness((some,), 600) < 1.0  # too few
    light, one_heavy = np.ones(20_325), np.append(np.ones(20_000), 325.0)
    assert _readiness(((*none[:2], light),), 500) >= 1.0
    assert _readiness(((*none[:2], one_heavy),), 500) < 1.0  # the last would be picked eight times


def test_mocks_are_made_of_independent_halos(run, monkeypatch):
    """A pool of Sobol halos would leave a tenth of the counting noise out."""
    asked = []

    def drawn(source, key, specs):
        asked.extend(spec.independent for spec in specs)
        return drawn_slices(source, key, specs)

    monkeypatch.setattr(simulate, "drawn_slices", drawn)
    draw_survey(root_key(1), run, np.zeros(run.model.space.size), 300, Silent())
    assert asked
    assert all(asked)


def test_more_galaxies_than_halos_make_are_refused(run, monkeypatch):
    monkeypatch.setattr(simulate, "_MAX_CHUNKS", 1)
    with pytest.raises(InputError, match="1000000 galaxies need 2 times as many model galaxies"):
        draw_survey(root_key(1), run, np.zeros(run.model.space.size), 1_000_000, Silent())


def test_no_galaxy_is_picked_twice_where_weights_allow():
    rng = np.random.default_rng(2)
    picked = _pick(root_key(2), rng.uniform(0.5, 1.5, 1000), 300)
    assert len(np.unique(picked)) == 300


def test_run_file_is_not_overwritten(tiny_run, capsys):
    path = tiny_run[0]
    before = path.read_text()
    assert main(["mock", str(path), "--out", str(path.with_suffix(".parquet")), "--quiet"]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert path.read_text() == before


def test_the_surveys_own_catalog_is_not_overwritten(write_config, tiny_config, made, tmp_path, capsys):
    own = tmp_path / "survey.parquet"
    own.write_bytes(made.read_bytes())
    file = write_config(catalog={**tiny_config["catalog"], "path": str(own)})
    assert main(["mock", str(file), "--out", str(own), "--quiet"]) == 2
    assert "the survey's own catalog" in capsys.readouterr().err
    assert own.read_bytes() == made.read_bytes()


def test_names_with_dots_keep_their_truths_apart():
    assert truth_path("m.v1.fits") != truth_path("m.v2.fits")


@pytest.mark.parametrize("unit", ["mag", "nmgy", "Jy", "uJy", "nJy", "cgs"])
@pytest.mark.parametrize("kind", ["sigma", "ivar"])
def test_measured_columns_read_back(unit, kind, tmp_path):
    from popinfer.config.survey import BandConfig
    from popinfer.data.photometry_columns import BandColumns, convert
    from popinfer.data.tables.request import Column

    band = BandConfig(
        filter="sdss_r0",
        value="v",
        error="e",
        unit=unit,
        error_kind=kind,
        zero_point_mag=0.03,
        error_floor_mag=0.02,
    )
    mag, sigma = np.linspace(15, 18, 50), np.full(50, 0.03)
    value, error = _as_measured(mag, sigma, band)
    columns = BandColumns("sdss_r0", "v", "e", zero_point=0.03, unit=unit, error_kind=kind, error_floor=0.02)
    read = convert(tmp_path, "r", columns, {"v": Column(value), "e": Column(error)})
    np.testing.assert_allclose(read.mag, mag, atol=1e-4)
    np.testing.assert_allclose(read.err, sigma, rtol=1e-3)


@pytest.mark.parametrize(
    "keys",
    [
        {"unit": None},
        {"system": "vega"},
        {"unit": "luptitude", "softening": 1.2e-10},
        {"unit": "nmgy", "error": 0.5},
        {"unit": "nJy", "error_unit": "uJy"},
        {"error": 0.03},
    ],
)
def test_bands_of_a_mock_read_back(keys, tmp_path):
    """A mock is written in the run file's magnitudes or fluxes, and its own run file says so."""
    from popinfer.config.survey import BandConfig
    from popinfer.data.photometry_columns import convert
    from popinfer.data.tables.request import Column
    from popinfer.run.catalog import _columns

    band = _of_mock(BandConfig.model_validate({"filter": "sdss_r0", "value": "v[1]", "error": "e", **keys}))
    band = BandConfig.model_validate(band.model_dump(mode="json"))
    mag, sigma = np.linspace(15, 18, 50), np.full(50, 0.03)
    value, error = _as_measured(mag, sigma, band)
    table = {"v_1": Column(value), str(band.error): Column(error)}
    read = convert(tmp_path, "r", _columns(band), table)
    np.testing.assert_allclose(read.mag, mag, rtol=1e-12)
    np.testing.assert_allclose(read.err, sigma, rtol=1e-9)
    assert band.system == keys.get("system", "ab")
    if band.system == "vega":  # r of Vega is 0.15 in AB magnitudes
        np.testing.assert_allclose(value, mag - 0.15, atol=0.02)


def test_bands_that_share_a_column_of_errors_get_their_own():
    from popinfer.config.survey import BandConfig

    said = {"filter": "sdss_r0", "error": "e"}
    g, r = (BandConfig.model_validate({**said, "value": value}) for value in "gr")
    first = _of_mock(g, ("z",))
    second = _of_mock(r, ("z", first.value, str(first.error)))
    assert (first.error, second.error) == ("e", "r_error")


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".hdf5", ".ecsv"])
@pytest.mark.parametrize("kind", ["sigma", "ivar"])
@pytest.mark.parametrize("unit", ["mag", "maggy", "nmgy", "Jy", "mJy", "uJy", "nJy", "cgs"])
def test_units_stand_in_the_files(unit, kind, suffix, tmp_path):
    """What a file says of its columns' units is what they hold: read without the run file's word for it."""
    from popinfer.config.survey import CatalogConfig
    from popinfer.data.catalog_io import SUFFIXES, read_columns
    from popinfer.data.photometry_columns import BandColumns, convert
    from popinfer.run.mock import _table_file, _units

    band = {"filter": "sdss_r0", "value": "v", "error": "e", "unit": unit, "error_kind": kind}
    selection = {"band": "r", "bright_mag": 14, "faint_mag": 18, "width_mag": 0.05}
    said = {"path": "m", "redshift": "z", "bands": {"r": band}, "selection": selection}
    catalog = CatalogConfig.model_validate(said)
    mag, sigma = np.linspace(15, 18, 50), np.full(50, 0.03)
    value, error = _as_measured(mag, sigma, catalog.bands["r"])
    path = tmp_path / f"mock{suffix}"
    columns = {"z": np.full(50, 0.1), "v": value, "e": error}
    path.write_bytes(_table_file(columns, _units(catalog), SUFFIXES[suffix]))
    columns = read_columns(path, ["z", "v", "e"])
    assert columns["z"].unit in (None, "")
    assert columns["v"].unit and columns["e"].unit
    read = convert(path, "r", BandColumns("sdss_r0", "v", "e", unit=None, error_kind=kind), columns)
    np.testing.assert_allclose(read.mag, mag, atol=1e-4)
    np.testing.assert_allclose(read.err, sigma, rtol=1e-3)
