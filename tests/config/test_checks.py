"""Numbers, names and priors: refused with the key, the value, and what would be right."""

import dataclasses
import math

import pytest
import yaml

from popinfer.config import load_config
from popinfer.config.model import PriorConfig
from popinfer.errors import InputError
from popinfer.params import Declaration
from popinfer.population.parameters import declared_parameters

FREE = "  dust.lg_av: {loc: -0.4, scale: 0.2}"
FIXED, HALOS, SLICES = "{dust.scatter: 0.3}", "{n_per_slice: 1024}", "[[0.03, 0.06], [0.06, 0.1]]"
FRACTION = Declaration("", "a fraction", 0, 1, "it is a fraction")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("seed: 1", "seed: -1"), ":2: seed: has to be greater than or equal to 0 (given: -1)"),
        (("seed: 1", f"seed: {2**63}"), ":2: seed: has to be less than 9223372036854775808"),
        (("seed: 1", "seed: 1.5"), ":2: seed: "),
        (("seed: 1", "seed: true"), ":2: seed: has to be a valid integer (given: true)"),
        (("seed: 1", "seed: one"), ":2: seed: "),
        (("seed: 1", "seed:"), ":2: seed: has to be a valid integer (given: None); leave the key out"),
        (("name: test", "name: ."), ":1: name: '.' can't be the name of a folder"),
        (("name: test", "name: .."), ":1: name: '..' can't be the name of a folder"),
        (("name: test", "name: CON"), ":1: name: 'CON' can't be the name of a folder"),
        (("name: test", "name: nul.txt"), ":1: name: 'nul.txt' can't be the name"),
        (("name: test", "name: -rf"), ":1: name: '-rf' can't be the name"),
        (("name: test", "name: ../x"), ":1: name: "),
        (("name: test", "name: a b"), ":1: name: "),
        (("name: test", f"name: {'x' * 300}"), ":1: name: has 300 characters; at most 100"),
        (("name: test", "name: 2024"), "name: has to be a valid string (given: 2024); a name or a text"),
        (
            ("faint_mag: 17.5", "faint_mag: .nan"),
            ":9: catalog.selection.faint_mag: has to be a finite number",
        ),
        (
            ("faint_mag: 17.5", "faint_mag: .inf"),
            ":9: catalog.selection.faint_mag: has to be a finite number",
        ),
        (("faint_mag: 17.5", "faint_mag: nan"), ":9: catalog.selection.faint_mag: has to be a finite number"),
        (("faint_mag: 17.5", "faint_mag: true"), "faint_mag: has to be a valid number (given: true)"),
        (("faint_mag: 17.5", "faint_mag: '17,5'"), "given: '17,5'); the decimal mark is a point"),
        (("faint_mag: 17.5", "faint_mag: 17:30"), "write the number without colons"),
        (("value: g", "value: 3"), ":7: catalog.bands.g.value: has to be a valid string (given: 3); a name"),
        ((SLICES, "[[1.0e-300, 0.06]]"), "has to lie between redshifts 0.001"),
        ((SLICES, "[[0.03, .inf]]"), ":10: slices.0.1: has to be a finite number (given: inf)"),
        ((SLICES, "[[0.03, 200]]"), "and 20 (before, there are no surveys)"),
        ((SLICES, "[[0.03, 0.0300000001]]"), "1e-05 wide at least"),
        ((SLICES, "[[0.03, 0.06, 0.09]]"), ":10: slices.0: "),
        ((SLICES, "[0.03, 0.06]"), ":10: slices: has to be a list of pairs, low and high, such as"),
        ((SLICES, f"{[[0.01 + i / 1000, 0.011 + i / 1000] for i in range(201)]}"), "slices: 201 of them"),
        (("features: [g-r, r]", "features: g-r"), ":11: features: has to be a valid list (given: 'g-r')"),
        (("    g: {", "    g-h: {"), "catalog.bands: 'g-h' can't name a band"),
        (("    g: {", "    g/h: {"), "catalog.bands: 'g/h' can't name a band"),
        ((HALOS, "{n_per_slice: 1000000000000}"), ":12: halos.n_per_slice: has to be less than or equal to"),
        ((HALOS, "{n_per_slice: 1024.5}"), "halos.n_per_slice: "),
        ((HALOS, "{n_per_slice: 63}"), ":12: halos.n_per_slice: has to be greater than or equal to 64"),
        (
            (HALOS, "{n_replicates: 40}"),
            ":12: unknown key 'halos.n_replicates'; did you mean 'n_per_slice'?",
        ),
        ((HALOS, "{flatten: 1.0e-300}"), ":12: halos.flatten: has to be greater than or equal to 0.01"),
        ((HALOS, "{lgm_min: 7}"), ":12: halos.lgm_min: has to be greater than or equal to 9 (given: 7)"),
        ((HALOS, "{lgm_min: [11, 17]}"), ":12: halos.lgm_min.1: has to be less than 14.3 (given: 17)"),
        ((HALOS, "{lgm_min: 1.0e+11}"), "halos.lgm_min: has to be less than 14.3"),
        ((HALOS, "{pilot: {sfh.efficiency: .nan}}"), "halos.pilot.sfh.efficiency: has to be a finite number"),
        ((HALOS, "{pilot: {sfh.efficiency: 1.0e+30}}"), "halos.pilot: sfh.efficiency is 1e+30, outside its"),
        (
            (HALOS, "{pilot: {sfh.eficiency: 0.5}}"),
            "halos.pilot: unknown parameter 'sfh.eficiency'; did you mean",
        ),
        ((HALOS, "{pilot: {sfh.efficiency: true}}"), "has to be a valid number (given: true)"),
        (
            (FIXED, "{metallicity.scatter: -1}"),
            ":13: model.fixed: metallicity.scatter is -1, outside its domain",
        ),
        (
            (FIXED, "{satellites.survival: -0.2}"),
            "is -0.2, outside its domain, 0 to 1: it is a fraction",
        ),
        ((FIXED, "{dust.f_unobscured: 1.3}"), "is 1.3, outside its domain, 0 to 1: it is a fraction"),
        ((FIXED, "{metallicity.mdf_scatter: 0}"), "outside its domain, 0.01 to 2 dex: a width is positive"),
        (
            (FIXED, "{dust.lg_av: .inf}"),
            ":13: model.fixed.dust.lg_av: has to be a finite number (given: inf)",
        ),
        ((FIXED, "{sfh.std_uqt_int: 0.6}"), "outside its domain, 0.01 to 0.5: diffstarpop was fitted inside"),
        ((FIXED, "{zero_point.q: 0}"), "unknown parameter 'zero_point.q': bands are g, r"),
        ((FIXED, "{zero_point.g: 5}"), "zero_point.g is 5, outside its domain, -1 to 1 mag"),
        (
            (FIXED, "{template.5000: 0}"),
            "'template.5000': knots are 3200, 4300, 5700, 6900",
        ),
        ((FIXED, "{dust.lg_av: 0}"), ":13: parameter 'dust.lg_av' is both free and fixed: keep one"),
        ((FIXED, "{nonsense: 0}"), ":13: model.fixed: unknown parameter 'nonsense'"),
        (
            (FIXED, "{birth_cloud.av: .inf}"),
            "model.fixed.birth_cloud.av: has to be a finite number",
        ),
        ((FIXED, "{birth_cloud.av: 1.0e+9}"), "birth_cloud.av is 1e+09, outside its domain, 0 to 10 mag"),
        (
            ("{fixed", "{template: {kind: knots, knots_angstrom: [1, 4000]}, fixed"),
            "knots_angstrom: from 500 to 100000 Angstrom",
        ),
        (
            ("{fixed", "{template: {kind: knots, knots_angstrom: [4000.001, 4000.002]}, fixed"),
            "differ in their first six",
        ),
        (
            ("{fixed", "{sfh: {kind: diffstarpop, calibration: smdpl}, fixed"),
            "unknown SFH calibration 'smdpl'",
        ),
        (("{fixed", "{dust_law: salim81, fixed"), "unknown kind 'salim81'; did you mean 'salim18'?"),
        (("{fixed", "{dust: none, fixed"), "model.dust: unknown kind 'none'"),
        (
            ("{fixed", "{sfh: {kind: diffstarpop, calibratoin: tng}, fixed"),
            "DiffstarPop has no setting 'calibratoin'; its settings: calibration",
        ),
        (("{fixed", "{nebular: {kind: none, logu: -3}, fixed"), "kind none takes no settings (logu)"),
        (("{fixed", "{dust_law: missing.py:Law, fixed"), "missing.py: no such Python file"),
        (("{fixed", "{dust_law: 'no_such_module:Law', fixed"), "no module 'no_such_module' is installed"),
        (
            ("{fixed", "{dust_law: 'popinfer.population.dust:DustPopulation', fixed"),
            "DustPopulation of popinfer.population.dust is no DustLaw",
        ),
        (("free:", "kernels: {bandwidth: 1.0e+300}\nfree:"), ":14: kernels.bandwidth: has to be less than"),
        (
            ("free:", "kernels: {bandwidth: 1.0e-300}\nfree:"),
            ":14: kernels.bandwidth: has to be greater than",
        ),
        (("free:", "kernels: {floor_mag: 50}\nfree:"), ":14: kernels.floor_mag: "),
        (("free:", "kernels: {model_error: 1}\nfree:"), ":14: kernels.model_error: "),
        (("free:", "kernels: {n_centers: 1000000}\nfree:"), ":14: kernels.n_centers: "),
        (("free:", "predictive: {n_draws: 1.0e+9}\nfree:"), ":14: predictive.n_draws: "),
        (("{kind: nuts}", "{kind: nuts, n_chains: 1000000}"), ":16: sample.n_chains: "),
        (("{kind: nuts}", "{kind: nuts, n_draws: 1000000000000}"), ":16: sample.n_draws: "),
        (("{kind: nuts}", "{kind: nutz}"), ":16: sample.kind: 'nutz' is not one of 'nuts', "),
        (("{kind: nuts}", "{n_chains: 4}"), "key 'sample.kind' is missing"),
        (("{kind: nuts}", "nuts"), ":16: sample: has to be a mapping of keys"),
        (
            (FREE, "  dust.lg_aw: {loc: -0.4, scale: 0.2}"),
            ":15: free: unknown parameter 'dust.lg_aw'; did you",
        ),
        ((FREE, "  sfh.mean_uqt_ypt: {loc: 1, scale: 0.1}"), "did you mean 'sfh.mean_uqt_ytp'?"),
        (
            (FREE, "  dust.lg_av: {loc: .inf, scale: 0.2}"),
            ":15: free.dust.lg_av.loc: has to be a finite number",
        ),
        (
            (FREE, "  dust.lg_av: {loc: 0, scale: 1.0e+300}"),
            ":15: free.dust.lg_av: 100 % of this prior lies out",
        ),
        ((FREE, "  dust.lg_av: {loc: 0, scale: 1.0e-300}"), "hold the parameter in model.fixed"),
        ((FREE, "  dust.lg_av: {loc: 0, scale: 0}"), "scale is 0, must be > 0"),
        ((FREE, "  dust.lg_av: 0.3"), ":15: free.dust.lg_av: "),
        ((FREE, "  photoz.scatter: {loc: 0.03, scale: 0.001}"), ":15: 'photoz.scatter' needs the section"),
    ],
)
def test_refusals_name_key_line_and_remedy(refused, change, says):
    lines = refused(change)
    assert lines[0].startswith("run.yaml:") and says in lines[0]
    assert len(lines) == 1 or all(line.startswith("run.yaml") for line in lines)


def test_single_problems_are_one_line_and_several_one_each_with_their_number(refused):
    lines = refused(
        ("seed: 1", "seed: -1"),
        ("filter: sdss_g0, ", ""),
        ("features:", "featuress:"),
        (FIXED, "{metallicity.scatter: -1, template.1: 0}"),
        (FREE, "  dust.f_unobscured: {loc: 0.1, scale: 0.2}"),
        ("{kind: nuts}", "{kind: nuts, n_chain: 4}"),
    )
    assert [line.split(": ")[0] for line in lines] == [
        *(f"run.yaml:{n}" for n in (2, 7, 11, 13, 13, 15, 16)),
        "run.yaml",
    ]
    assert "key 'catalog.bands.g.filter' is missing" in lines[1]
    assert "unknown key 'featuress'; did you mean 'features' (which is missing)?" in lines[2]
    assert "use {prior: truncnormal, loc: 0.1, scale: 0.2, low: 0, high: 1}" in lines[5]
    assert lines[-1] == "run.yaml: 7 things have to be put right"


def test_a_mistake_in_a_section_hides_none_in_another(refused):
    """Names of parameters are checked though the sections of bands, of fixed values and of priors fail."""
    lines = refused(
        ("error: eg", "eror: eg"),
        (FIXED, "{zero_point.q: .nan, dust_law.delta: 9, dust.lg_av: 0}"),
        (FREE, f"{FREE}\n  dust.scatter: {{loc: 0, scale: 0.5}}\n  sfh.efficiency: {{loc: 1}}"),
    )
    text = "\n".join(lines)
    for says in (
        "'error' (which is missing)",
        "zero_point.q: has to be a finite",
        "dust_law.delta is 9, outside",
    ):
        assert says in text
    for says in (
        "'dust.lg_av' is both free and fixed",
        "50 % of this prior",
        "prior normal takes loc, scale",
    ):
        assert says in text
    assert "'zero_point.q': bands are g, r" in text


def test_misspelled_section_with_wrong_content(refused):
    """Keys that are right elsewhere are still told by the section that they are in."""
    (line,) = refused(("halos: {n_per_slice", "halos: {n_per_slic"))
    assert "unknown key 'halos.n_per_slic'; did you mean 'n_per_slice'?" in line


def normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize(
    ("prior", "share"),
    [
        ({"loc": 0.5, "scale": 0.2}, 2 * normal_cdf(-2.5)),
        ({"loc": -0.2, "scale": 0.1}, 1 - (normal_cdf(12) - normal_cdf(2))),
        ({"prior": "uniform", "low": -0.1, "high": 0.9}, 0.1),
        ({"prior": "lognormal", "loc": 0.5, "scale": 0.5}, normal_cdf(-math.log(2) / 0.5)),
        ({"prior": "truncnormal", "loc": 0, "scale": 1, "low": -1, "high": 1}, 0.5),
        (
            {"prior": "truncnormal", "loc": 0.5, "scale": 0.5, "low": 0, "high": 2},
            (normal_cdf(3) - normal_cdf(1)) / (normal_cdf(3) - normal_cdf(-1)),
        ),
    ],
)
def test_share_of_priors_outside_a_domain(prior, share):
    message = PriorConfig(**prior).outside(FRACTION)
    assert message.startswith(
        f"{100 * share:.2g} % of this prior lies outside the domain, 0 to 1 (it is a fr"
    )


@pytest.mark.parametrize(
    "prior",
    [
        {"loc": 0.5, "scale": 0.2},
        {"loc": -3.0, "scale": 0.1},
        {"loc": 1e300, "scale": 1e300},
        {"loc": 0.5, "scale": 1e308},
        {"prior": "uniform", "low": -0.1, "high": 0.9},
        {"prior": "uniform", "low": -2, "high": -1},
        {"prior": "uniform", "low": -1e308, "high": 1e308},
        {"prior": "lognormal", "loc": 0.5, "scale": 0.5},
        {"prior": "lognormal", "loc": 50, "scale": 1e300},
        {"prior": "truncnormal", "loc": 0, "scale": 1, "low": -1, "high": 3},
    ],
)
def test_the_prior_that_is_suggested_is_accepted(prior):
    message = PriorConfig(**prior).outside(FRACTION)
    suggested = yaml.safe_load(message.rpartition("; use ")[2])
    assert PriorConfig(**suggested).outside(FRACTION) == ""


@pytest.mark.parametrize(
    "prior",
    [
        {"loc": 0.5, "scale": 0.15},  # 8.6e-4 outside
        {"prior": "uniform", "low": 0, "high": 1},
        {"prior": "lognormal", "loc": 0.32, "scale": 0.3},
        {"prior": "truncnormal", "loc": -0.1, "scale": 0.1, "low": 0, "high": 1},
    ],
)
def test_priors_inside_their_domain(prior):
    assert PriorConfig(**prior).outside(FRACTION) == ""


@pytest.mark.parametrize(
    ("loc", "low", "high", "refused"), [(0.0, 4, 5, True), (0.0, -9, -4, True), (0.0, 3, 5, False)]
)
def test_truncated_far_out_in_the_tail(loc, low, high, refused):
    prior = PriorConfig(prior="truncnormal", loc=loc, scale=1, low=low, high=high)
    message = prior.outside(Declaration("", "", -10, 10))
    assert message.startswith("prior truncnormal: only ") is refused
    assert ("move loc into the range" in message) is refused


def test_every_declared_parameter_can_be_freed_with_a_flat_prior_over_its_domain(read, tmp_path):
    config = read()
    every = declared_parameters(config.model.components(tuple(config.catalog.bands)))
    for name, declared in every.items():
        prior = PriorConfig(prior="uniform", low=declared.low, high=declared.high)
        assert prior.outside(declared) == "", name
    names = [name for name in every if not name.startswith("photoz.") and name != "dust.scatter"]
    free = {name: {"prior": "uniform", "low": every[name].low, "high": every[name].high} for name in names}
    raw = {**config.model_dump(mode="json"), "free": free}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert len(load_config(tmp_path / "all.yaml").free) == len(names) > 100


def test_default_priors_lie_inside_their_domains_and_can_be_asked_for(read, tmp_path):
    config = read()
    every = declared_parameters(config.model.components(tuple(config.catalog.bands)))
    for name, declared in every.items():
        if declared.prior is not None:
            given = dataclasses.asdict(declared.prior)
            wanted = {"uniform": ("low", "high"), "truncnormal": ("loc", "scale", "low", "high")}
            numbers = {key: given[key] for key in wanted.get(declared.prior.kind, ("loc", "scale"))}
            assert PriorConfig(prior=declared.prior.kind, **numbers).outside(declared) == "", name
    for stated in ("", "{}", "default"):
        text = yaml.safe_dump({**config.model_dump(mode="json"), "free": {"sfh.efficiency": "HERE"}})
        (tmp_path / "default.yaml").write_text(text.replace("HERE", stated), encoding="utf-8")
        free = load_config(tmp_path / "default.yaml").free["sfh.efficiency"]
        assert free.prior_of() is None
    (tmp_path / "none.yaml").write_text(
        text.replace("sfh.efficiency", "sfh.mean_uqt_ytp").replace("HERE", "{}"), encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"free\.sfh\.mean_uqt_ytp: has no default prior; give one"):
        load_config(tmp_path / "none.yaml")


def test_python_configurations_are_checked_alike(read):
    config = read()
    raw = config.model_dump(mode="json")
    raw["model"]["fixed"] = {"metallicity.scatter": -1}
    with pytest.raises(ValueError, match=r"metallicity.scatter is -1, outside its domain"):
        type(config).model_validate(raw)


def test_long_values_are_cut(refused):
    (line,) = refused(("faint_mag: 17.5", f"faint_mag: {'x' * 3000}"))
    assert len(line) < 300 and "(3,002 characters)" in line


def test_errors_keep_their_lines_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(InputError.of_lines(["a", "b"])))
    assert error.lines == ("a", "b") and str(error) == "a\nb"


def test_quenching_by_infall_can_be_switched_off(read, refused):
    name, model = "sfh.satellite_quenching", "model: {fixed: {dust.scatter: 0.3}}"
    assert name not in read().model.fixed
    off = (model, "model: {satellite_quenching: off, fixed: {dust.scatter: 0.3}}")
    config = read(off)
    assert config.model.fixed == {"dust.scatter": 0.3, name: 0.0}
    assert type(config).model_validate(yaml.safe_load(config.to_yaml())) == config
    free = (FREE, f"{FREE}\n  {name}:")
    assert read(free).free[name].prior_of() is None  # the declared one
    assert f"parameter '{name}' is both free and fixed" in refused(off, free)[0]
    both = (model, f"model: {{satellite_quenching: off, fixed: {{{name}: 0.5}}}}")
    assert f"satellite_quenching is off, and fixed has {name}" in refused(both)[0]
    assert "model.satellite_quenching" in refused((model, "model: {satellite_quenching: on}"))[0]
