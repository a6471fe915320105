"""Halos that a simulation doesn't resolve: what is missing is said, or drawn."""

import jax
import numpy as np
import pytest
from halo_boxes import make_box, opencosmo_of

from popinfer.cli import main
from popinfer.config import RunConfig
from popinfer.errors import InputError
from popinfer.halos.filled import FilledHalos
from popinfer.model import predict_galaxies
from popinfer.population.parameters import with_values
from popinfer.random import root_key
from popinfer.run.build import in_precision, lightcones
from popinfer.run.prepare import prepare
from popinfer.run.resolution import galaxies_missing, shares_below
from popinfer.run.simulation import drawn_beside, halo_source, sentences_on, simulation_in

LIMIT = 12.0


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> dict:
    """A box on which halos of 10^12 Msun are resolved."""
    path = tmp_path_factory.mktemp("box") / "box.h5"
    return {**opencosmo_of(make_box(11, 70.0), path), "resolution": {"lgm_min": LIMIT}}


@pytest.fixture(scope="module")
def config_of(tiny_config, source):
    """The tiny run file on the box."""

    def config(lgm_min: float = 11.2, **changed) -> RunConfig:
        halos = {"n_per_slice": 1024, "lgm_min": lgm_min, "source": {**source, **changed}}
        return RunConfig.model_validate({**tiny_config, "halos": halos})

    return config


@pytest.fixture(scope="module")
def run(config_of, tmp_path_factory):
    return prepare(config_of(), tmp_path_factory.mktemp("out"))


def test_galaxies_in_halos_that_arent_resolved_are_a_warning(run, config_of):
    params = with_values(run.model.params, {"sfh.efficiency": 0.5})
    (line,) = galaxies_missing(run, params)
    assert "of the galaxies that the survey sees at z = 0.06 to 0.09" in line
    assert "below 10^12.00 Msun" in line and "below_resolution to lightcone" in line
    shares = [shares_below(run, params, (limit,))[0] for limit in (11.0, 12.0, 15.4)]
    assert shares[0] == 0 and 0.05 < shares[1] < 0.95 and shares[2] == 1
    # of the galaxies of the whole lightcone, those that halos above the limit leave
    spec = lightcones(run.config)[0]
    halos = halo_source(config_of(below_resolution="lightcone")).draw([root_key(1)], [spec])
    halos = in_precision(run.config, jax.tree.map(lambda x: x[0], halos))
    galaxies = predict_galaxies(run.survey_model, params, halos)
    seen = np.asarray(galaxies.weight).reshape(2, -1).sum(axis=0)
    n_simulated = simulated_first(np.asarray(halos.logmp0)[0], run)
    assert seen[n_simulated:].sum() / seen.sum() == pytest.approx(shares[1], abs=0.12)


def simulated_first(logmp0: np.ndarray, run) -> int:
    """How many halos, from the first on, are the simulation's."""
    names = np.float32(simulation_in(run.source).pools[0].halos.logmp0)
    return int(np.isin(np.float32(logmp0), names).sum())


def test_nothing_is_missing_where_all_halos_that_are_wanted_are_resolved(run, config_of, tmp_path):
    assert galaxies_missing(prepare(config_of(lgm_min=12.1), tmp_path), run.model.params) == []


def test_drawn_halos_stand_below(run, config_of):
    source = halo_source(config_of(below_resolution="lightcone"))
    assert isinstance(source, FilledHalos) and source.survival == 0.4
    assert any("Halos below 10^12.00 Msun" in text for text in sentences_on(source))
    assert not any("are drawn from diffhalos" in text for text in sentences_on(run.source))
    halos = source.draw([root_key(1)], lightcones(config_of()))
    lowest = simulation_in(source).pools[0].halos.logmp0.min()
    assert (halos.logmp0 < lowest).any()


def test_a_resolution_that_isnt_known_is_refused(config_of):
    with pytest.raises(InputError, match=r"below_resolution: .* doesn't say which halos it resolves"):
        halo_source(config_of(below_resolution="lightcone", resolution=None))


def test_sfr_densities_are_of_drawn_halos_whose_subhalos_survive(config_of, tiny_config, tmp_path):
    joint = [{"kind": "sfr_density", "redshifts": [0.0, 1.0]}]
    on_box = RunConfig.model_validate({**config_of().model_dump(mode="json"), "joint": joint})
    (line,) = drawn_beside(on_box)
    assert "SFR density at z = 0, 1 is that of halos drawn from diffhalos" in line
    assert drawn_beside(config_of()) == []
    drawn = RunConfig.model_validate({**tiny_config, "joint": joint})
    assert drawn_beside(drawn) == []
    (here,), (there,) = (prepare(config, tmp_path).survey.abundances for config in (on_box, drawn))
    central = there.shells.is_central > 0.5
    ratio = here.shells.weight / there.shells.weight
    np.testing.assert_allclose(ratio[central], 1.0, rtol=1e-3)  # the file's baryon density is rounded
    np.testing.assert_allclose(ratio[~central], 0.4, rtol=1e-3)


@pytest.mark.slow
def test_a_run_with_drawn_halos_below(config_of, tmp_path):
    file, out = tmp_path / "run.yaml", tmp_path / "out"
    file.write_text(config_of(below_resolution="lightcone").to_yaml(), encoding="utf-8")
    allowed = ["--allow-unconverged", "--allow-misfit"]
    assert main(["run", str(file), "--out", str(out), "--quiet", *allowed]) == 0
    assert "are drawn from diffhalos" in (out / "report.html").read_text(encoding="utf-8")
