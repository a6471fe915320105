import copy
from pathlib import Path
from typing import get_args

import pytest
import yaml

from popinfer.components import PLUG_INS
from popinfer.config import RunConfig, load_config
from popinfer.config.inference import LossConfig, NutsConfig, SampleConfig
from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError
from popinfer.run.build import build_forward
from popinfer.run.posterior import SPECS, TITLES
from popinfer.run.simulation import cosmology_of, halo_source

BASE = {
    "name": "test",
    "catalog": {
        "path": "sdss_mgs",
        "redshift": "zs",
        "bands": {b: {"filter": f"sdss_{b}0", "value": b, "error": f"e{b}"} for b in "gr"},
        "selection": {"band": "r", "bright_mag": 14.0, "faint_mag": 17.5},
    },
    "slices": [[0.03, 0.06], [0.06, 0.1]],
    "features": ["g-r", "r"],
    "free": {"dust.lg_av": {"loc": -0.4, "scale": 0.2}},
    "sample": {"kind": "nuts"},
}


@pytest.fixture
def load(tmp_path):
    def read(change) -> RunConfig:
        raw = copy.deepcopy(BASE)
        change(raw)
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(raw))
        return load_config(path)

    return read


def put(dotted: str, value):
    """Set one key, or drop it when the value is None."""

    def change(raw: dict) -> None:
        *parents, last = dotted.split("/")
        for key in parents:
            raw = raw.setdefault(key, {})
        if value is None:
            del raw[last]
        else:
            raw[last] = value

    return change


def test_defaults_and_round_trip(load, tmp_path):
    config = load(lambda raw: None)
    assert isinstance(config.sample, NutsConfig)
    assert config.lgm_min_of(1) == config.halos.lgm_min
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_config(again) == config


KINDS = {get_args(section.model_fields["kind"].annotation)[0]: section for section in get_args(SampleConfig)}
del KINDS["own"]  # which names a class


@pytest.mark.parametrize("kind", KINDS)
def test_sampler_is_chosen_by_kind_and_built_from_its_section(load, kind):
    section = load(put("sample", {"kind": kind})).sample
    assert isinstance(section, KINDS[kind])
    spec, defaults = SPECS[kind](**section.model_dump(exclude={"kind"})), SPECS[kind]()
    assert spec == defaults and spec.n_steps > 0  # one default, wherever the sampler is called from


def test_a_run_file_without_a_sampler_gets_nuts_on_the_surrogate(load):
    assert load(put("sample", None)) == load(lambda raw: None)


LOSS_KINDS = {get_args(one.model_fields["kind"].annotation)[0] for one in get_args(LossConfig)} - {"own"}


@pytest.mark.parametrize("kind", sorted(LOSS_KINDS))
def test_loss_is_chosen_by_kind_and_gets_an_optimiser_that_can_climb_it(load, kind, tmp_path):
    config = load(put("fit", {"loss": {"kind": kind}}))
    assert config.fit.optimiser == ("levenberg_marquardt" if kind == "soft_counts" else "lbfgs")
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_config(again) == config


def test_every_loss_has_a_section():
    assert LOSS_KINDS - {"soft_counts"} == set(PLUG_INS["loss"].kinds)


OWN = """
import popinfer

class Walk(popinfer.Sampler):
    n_draws: int = 100

    @property
    def n_steps(self):
        return self.n_draws

    def __call__(self, key, log_density, start, progress):
        raise NotImplementedError

class Unfinished(popinfer.Sampler):
    pass

class Distance(popinfer.Loss):
    pass
"""


def test_a_sampler_of_the_users_own_is_named_by_its_class(load, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    config = load(put("sample", {"kind": f"{file}:Walk", "n_draws": 50}))
    assert config.sample.component == config.own_code["sample"] == f"{file}:Walk"
    assert config.sample.settings == {"n_draws": 50}
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_config(again) == config


@pytest.mark.parametrize(
    ("section", "content", "says"),
    [
        ("sample", {"kind": "own.py:Walk", "n_draw": 50}, "sample: sampler: Walk has no setting 'n_draw'"),
        (
            "sample",
            {"kind": "own.py:Walk", "n_draws": "many"},
            "sampler.n_draws: Input should be a",
        ),
        ("sample", {"kind": "own.py:Unfinished"}, "sample: sampler: Unfinished has no __call__"),
        ("sample", {"kind": "own.py:Distance"}, "Distance of .* is no Sampler"),
        ("sample", {"kind": "none.py:Walk"}, "none.py: no such Python file"),
        ("fit", {"loss": {"kind": "own.py:Distance"}}, "fit.loss: loss: Distance has no build"),
        ("fit", {"loss": {"kind": "own.py:Walk"}}, "Walk of .* is no Loss"),
    ],
)
def test_what_is_wrong_with_classes_of_the_users_own(load, tmp_path, monkeypatch, section, content, says):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        load(put(section, content))


def test_every_sampler_has_a_section():
    assert set(KINDS) == set(SPECS) == set(TITLES)


def test_frozen(load):
    with pytest.raises(ValueError, match="frozen"):
        load(lambda raw: None).seed = 2


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("featurs", ["r"], "unknown key 'featurs'; did you mean 'features'"),
        ("kernels/n_centres", 20, "unknown key 'kernels.n_centres'; did you mean 'n_centers'"),
        ("catalog/bands/g/filtre", "x", "unknown key 'catalog.bands.g.filtre'; did you mean 'filter'"),
        ("catalog/selection/faint", 17, "did you mean 'faint_mag'"),
        ("free/dust.lg_av/locc", 1, "did you mean 'loc'"),
        ("sample/n_chain", 4, "unknown key 'sample.n_chain'; did you mean 'n_chains'"),
        ("sample", {"kind": "smc", "n_draws": 4}, "unknown key 'sample.n_draws'; known: kind, n_particles"),
        ("sample", {"kind": "nuts_exact", "max_tree_depth": 1}, "sample.max_tree_depth: "),
        ("sample", {"kind": "nuts_exact", "chains": "parallel"}, "sample.chains: "),
        (
            "sample",
            {"kind": "nuts", "chains": "vmap"},
            "unknown key 'sample.chains'; did you mean 'n_chains'",
        ),
        ("sample", {"kind": "psis_laplace"}, "sample.kind"),
        ("model/nebular", {"kind": "uniform", "logu": 1}, "UniformGas has no setting 'logu'"),
        ("slices", None, "key 'slices' is missing"),
        ("catalog/bands/g/value", None, "key 'catalog.bands.g.value' is missing"),
        ("features", ["g-x"], "needs band 'x'"),
        ("catalog/selection/band", "q", "'q' is not one of"),
        ("slices", [[0.1, 0.05]], "0 < low < high"),
        ("slices", [[0.0, 0.05]], "0 < low < high"),
        ("slices", [], "slices"),
        ("slices", [[0.05, 0.1], [0.03, 0.06]], "[0.03, 0.06] overlaps the next, which begins at 0.05"),
        ("features", ["g-r", "g-g"], "'g-g' has to be a band, or two different ones"),
        ("features", ["g-r-r"], "'g-r-r' has to be a band, or two different ones"),
        ("features", ["g-r", "r", "g-r"], "names one of them twice"),
        ("halos/lgm_min", [11.0], "as many as slices"),
        ("halos/n_per_slice", 3, "halos.n_per_slice"),
        ("fit/loss", {"kind": "emd"}, "fit.loss.kind: 'emd' is not one of 'soft_counts'"),
        ("fit/loss", {"kind": "energy", "width": 1}, "unknown key 'fit.loss.width'"),
        ("fit", {"loss": {"kind": "energy"}, "kind": "levenberg_marquardt"}, "use lbfgs or adam"),
        ("fit", {"loss": {"kind": "energy"}, "bandwidths": [2.0, 1.0]}, "fit: bandwidths are of loss"),
        ("fit/bandwidths", [1.0, 2.0], "fit: bandwidths [1.0, 2.0]: have to decrease and end with 1.0"),
        ("fit/bandwidths", [3.0, 2.0], "end with 1.0"),
        ("fit/bandwidths", [], "fit.bandwidths: "),
        ("sample", {"kind": "magic"}, "sample"),
        ("precision", "half", "precision"),
        ("model/template", {"kind": "knots", "knots_angstrom": [5000.0, 4000.0]}, "increasing"),
        ("name", "a/b", "name"),
        ("free", {}, "free"),
    ],
)
def test_refusals_are_one_line_that_names_the_key(load, key, value, message):
    with pytest.raises(InputError) as refused:
        load(put(key, value))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such run file"):
        load_config(tmp_path / "none.yaml")


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,", "bad.yaml:1: not valid YAML: "),
        ("- 1\n- 2\n", "mapping"),
        ("a: 1\nb: 2\na: 3\n", "bad.yaml:3: key 'a' is given twice, first on line 1"),
        ("[a, b]: 1\n", "bad.yaml:1: a key has to be a name"),
    ],
)
def test_not_a_run_file(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("configs/*.yaml")), ids=lambda p: p.name
)
def test_shipped_run_files_parse(path):
    config = load_config(path)
    assert config.name == path.stem


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"H0": 0.7, "Om0": 0.3}, "cosmology.H0"),
        ({"h": 0.7, "Om0": 0.3}, "cosmology.h"),
        ({"H0": 70.0}, "cosmology.Om0"),
        ({"H0": 70.0, "Om0": 0.1, "Ob0": 0.15}, "has to be less than Om0"),
        ({"H0": 70.0, "Om0": 0.3, "w0": 1.0}, "cosmology.w0"),
    ],
)
def test_cosmologies_that_cant_be_are_refused(load, section, message):
    with pytest.raises(InputError, match=message):
        load(put("cosmology", section))


def test_the_run_files_cosmology_goes_everywhere(load):
    given = {"H0": 70.0, "Om0": 0.28, "w0": -0.9, "wa": 0.1, "Ob0": 0.042}
    config = load(put("cosmology", given))
    expected = Cosmology(om0=0.28, w0=-0.9, wa=0.1, h=0.7, fb=0.15)
    assert cosmology_of(config) == pytest.approx(expected)
    assert build_forward(config).cosmology == cosmology_of(config)
    assert halo_source(config).cosmology == cosmology_of(config)
    assert cosmology_of(load(lambda raw: None)) == PLANCK15
