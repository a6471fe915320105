"""What to cite is what a run used: no more, and nothing in silence."""

import re

import arviz as az
import pytest
import synthetic
import yaml

from popinfer.components import ROLES
from popinfer.population.sfh import CALIBRATIONS
from popinfer.report import RunSummary, citations
from popinfer.report.citations import citations_of

MODEL = {
    "sfh": {"kind": "diffstarpop", "calibration": "smdpl_dr1"},
    "metallicity": {"kind": "mass_metallicity"},
    "dust": {"kind": "mass_ssfr"},
    "dust_law": {"kind": "kriek_conroy13"},
    "birth_cloud": {"kind": "equal"},
    "nebular": {"kind": "uniform"},
    "burstiness": {"kind": "flicker"},
    "satellites": {"kind": "survival"},
    "template": {"kind": "knots"},
    "zero_point": {"kind": "none"},
    "ssp": None,
}
CONFIG = {
    "catalog": {"path": "sdss_mgs"},
    "slices": [[0.06, 0.09]],
    "halos": {"source": {"kind": "lightcone"}},
    "model": MODEL,
    "sample": {"kind": "nuts"},
    "joint": [],
    "cosmology": None,
}
HASHES = {"filter sdss_g0": "ab" * 32, "filter sdss_r0": "cd" * 32}


def cited(config: dict, hashes: dict | None = None, idata: az.InferenceData | None = None):
    summary = RunSummary(
        "x",
        config_text=yaml.safe_dump(config),
        hashes=HASHES if hashes is None else hashes,
        versions={"popinfer": "0.1.0"},
    )
    return citations_of(synthetic.chains() if idata is None else idata, summary)


def keys(config: dict, **changed) -> set[str]:
    return {reference.key for reference in cited(config, **changed).references}


def test_an_embedded_run_cites_data_filters_spectra_calibration_and_halos():
    found = keys(CONFIG)
    assert found >= {
        *(
            "popinfer",
            "Strauss2002mgs",
            "Doi2010sdss",
            "Johnson2021sedpy",
            "Bruzual2003",
            "Carnall2018bagpipes",
        ),
        *(
            "Chatzikos2023cloudy",
            "Behroozi2019universemachine",
            "diffhalos",
            "Kriek2013dust",
            "Cabezas2024blackjax",
        ),
    }
    assert not found & {
        "Inoue2014igm",
        "speclite",
        "Moster2013smhm",
        "Baldry2012massfunction",
        "Buchholz2021smc",
    }
    assert cited(CONFIG).own == ()


@pytest.mark.parametrize(
    ("section", "value", "gained", "lost"),
    [
        ("model", {**MODEL, "nebular": {"kind": "none"}}, set(), {"Byler2017nebular", "Chatzikos2023cloudy"}),
        (
            "model",
            {**MODEL, "dust_law": {"kind": "cardelli89"}},
            {"Cardelli1989dust"},
            {"Kriek2013dust", "Noll2009dust"},
        ),
        (
            "model",
            {**MODEL, "sfh": {"kind": "diffstarpop", "calibration": "tng"}},
            {"Pillepich2018tng", "Nelson2019tng"},
            {"Behroozi2019universemachine"},
        ),
        ("slices", [[2.5, 3.0]], {"Inoue2014igm"}, set()),
        ("joint", [{"kind": "mass_function", "published": "baldry12"}], {"Baldry2012massfunction"}, set()),
        ("sample", {"kind": "smc"}, {"Buchholz2021smc"}, {"Hoffman2014nuts", "Vehtari2024psis"}),
        ("cosmology", {"H0": 70, "Om0": 0.3}, set(), {"Planck2016cosmology"}),
    ],
)
def test_another_choice_is_cited_in_its_place(section, value, gained, lost):
    before, after = keys(CONFIG), keys({**CONFIG, section: value})
    assert after - before == gained and before - after == lost


def test_what_the_user_brought_along_is_named():
    config = {
        **CONFIG,
        "catalog": {"path": "my catalog.fits"},
        "halos": {"source": {"kind": "trees", "path": ["a.h5", "b.h5"], "format": "sublink"}},
        "model": {**MODEL, "ssp": "my_ssp.h5", "dust": {"kind": "mine.py:Dust"}},
        "sample": {"kind": "own", "component": "mine:Sampler"},
        "joint": [{"kind": "mass_function", "path": "smf.csv"}],
    }
    found = cited(config, {"filter curves/g.dat": "ab" * 32, "filter herschel_pacs_70": "cd" * 32})
    told = " | ".join(found.own)
    for one in (
        "my catalog.fits",
        "a.h5, b.h5",
        "my_ssp.h5",
        "mine.py:Dust",
        "mine:Sampler",
        "smf.csv",
        "g.dat",
    ):
        assert one in told, one
    assert "camera of the filter curve herschel_pacs_70" in told
    used = {reference.key for reference in found.references}
    assert "RodriguezGomez2015sublink" in used and not used & {"Bruzual2003", "diffhalos", "Strauss2002mgs"}


def test_published_relations_are_cited_where_they_are_shown():
    shown = keys(CONFIG, idata=synthetic.run())
    assert {"Moster2013smhm", "Moustakas2013quenched", "Bauer2013ssfr", "Enia2022csfrd"} <= shown


def test_every_component_and_calibration_says_what_to_cite():
    """A new kind has to be entered, if only with nothing."""
    assert {role: set(kinds) for role, kinds in citations.COMPONENTS.items()} == {
        role: set(place.kinds) for role, place in ROLES.items()
    }
    assert all(any(name.startswith(start) for start in citations.CALIBRATIONS) for name in CALIBRATIONS)


def test_entries_are_whole_and_all_are_used():
    entries = citations._entries()
    named = set()
    for table in (citations.COMPONENTS | {}, *()):
        named |= {key for kinds in table.values() for given in kinds.values() for key in given}
    for table in (
        *(
            citations.CALIBRATIONS,
            citations._TELESCOPES,
            citations._HALO_FORMATS,
            citations._EMBEDDED_CATALOGS,
        ),
        *(citations._SAMPLERS, citations._PUBLISHED),
    ):
        named |= {key for given in table.values() for key in given}
    named |= {*citations._ABUNDANCES.values(), *citations._SSP, *keys({**CONFIG, "slices": [[3, 4]]})}
    assert named - {"popinfer"} <= set(entries)
    assert set(entries) - named == {"speclite"}  # of its curves
    for key, entry in entries.items():
        assert entry.count("{") == entry.count("}") and entry.endswith("}"), key
        fields = dict(citations._fields(entry))
        assert {"author", "title"} <= set(fields), key
        assert ("journal" in fields) == entry.startswith("@article"), key
        assert not entry.startswith("@article") or {"year", "volume"} <= set(fields), key


def test_references_are_written_for_people():
    texts = {reference.key: reference.text for reference in cited(CONFIG).references}
    assert texts["Kroupa2001imf"] == "Kroupa 2001, MNRAS 322, 231"
    assert texts["Bruzual2003"] == "Bruzual & Charlot 2003, MNRAS 344, 1000"
    assert texts["SanchezBlazquez2006miles"] == "Sánchez-Blázquez et al. 2006, MNRAS 371, 703"
    assert texts["FalconBarroso2011miles"] == "Falcón-Barroso et al. 2011, A&A 532, A95"
    assert texts["Cabezas2024blackjax"].endswith("arXiv:2402.10797")
    assert not any(character in text for text in texts.values() for character in "{}\\")


def test_the_file_is_bibtex_whatever_names_hold():
    config = {**CONFIG, "catalog": {"path": "a@article{b,\n@misc{c}"}}
    text = cited(config).bibtex()
    outside = re.sub(r"^@\w+\{.*?^\}$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "@" not in outside  # the head's lines can't begin an entry
    assert text.count("\n@") == len(cited(config).references)
    assert "@misc{popinfer" in text and "version = {0.1.0}" in text


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "a: [", "catalog: 3\nmodel: x\nhalos: []\njoint: [1]\nslices: 3\n"]
)
def test_a_summary_without_a_run_file_cites_the_program(text):
    found = citations_of(synthetic.chains(), RunSummary("x", config_text=text))
    assert "popinfer" in {reference.key for reference in found.references}
