"""Names of the filter curves that come with sedpy and speclite: which there are, and which one is meant.

The module reads folders and nothing else, so that a run file is checked within a second. Curves themselves
are read by `popinfer.data.filters`.
"""

import difflib
import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from popinfer.errors import InputError

SOURCES = {"sedpy": ("data/filters", ".par"), "speclite": ("data/filters", ".ecsv")}  # folder, suffix
_HOW_TO_LIST = "'popinfer filters{}' lists the names"
_LEGACY, _HUBBLE, _VISTA, _WEBB = ("decam", "bass", "mzls"), ("acs_wfc", "wfc3"), ("vista",), ("jwst",)
# surveys and telescopes whose curves go by the name of a camera or by another spelling: parts of those names
_SURVEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("desi", "legacy", "legacysurvey", "desils"), _LEGACY),
    **dict.fromkeys(("des", "decals", "delve"), ("decam",)),
    **dict.fromkeys(("hst", "hubble", "candels"), _HUBBLE),
    **dict.fromkeys(("viking", "video", "vhs", "ultravista", "uvista"), _VISTA),
    **dict.fromkeys(("webb", "nircam", "miri"), _WEBB),
    **dict.fromkeys(("ps1", "pan-starrs"), ("panstarrs",)),
    **dict.fromkeys(("cfhtls", "unions"), ("cfht",)),
    **{"2mass": ("twomass",), "unwise": ("wise",), "ukidss": ("ukirt",), "rubin": ("lsst",)},
    "johnson": ("bessell",),
}


def named_curve(name: str, path: Path, *, described: bool = False) -> str | None:
    """Full name of the known curve that `name` means; None where it is a file.

    Parameters
    ----------
    name : str
        What the run file says.
    path : Path
        The same as a path, with ``~`` expanded.
    described : bool
        Whether columns or a unit are said too, which only files need.

    Raises
    ------
    InputError
        There is neither such a file nor such a curve (the message says which are near it).
    """
    if path.is_file():
        return None
    if path.is_dir():
        _refuse(name, "is a folder; name a file in it")
    if is_path(name):
        _refuse(name, f"no such file, and no filter has that name{suggestion(name)}")
    full = resolve_name(name)
    if described:
        _refuse(name, "columns and unit are for files; this is a known curve's name")
    return full


def is_path(name: str) -> bool:
    """Whether `name` can only be a file's: names of curves have no folder and no suffix."""
    return bool(Path(name).suffix) or "/" in name


def resolve_name(name: str) -> str:
    """The known name meant by `name`, which may be short: ``sdss_u`` for ``sdss_u0``.

    A package's name may come first: ``speclite:decam2014-g``.

    Raises
    ------
    InputError
        Nothing or more than one curve fits; the message lists the nearest names.
    """
    source, colon, rest = name.partition(":")
    if colon and source in SOURCES:
        if rest in known_filters(source):
            return rest
        _refuse(name, f"{source} has no such filter{suggestion(rest)}")
    if name in known_filters():
        return name
    matches = _short_matches(name)
    if len(matches) == 1:
        return matches[0]
    if matches:
        _refuse(name, f"could be any of {', '.join(matches)}; write one of these in full")
    _refuse(name, f"is no known filter and no file{suggestion(name)}")


@functools.cache
def known_filters(source: str | None = None) -> tuple[str, ...]:
    """Names of all curves that come with sedpy and speclite, or with one of them, sorted."""
    sources = SOURCES if source is None else (source,)
    return tuple(sorted(file.stem for name in sources for file in curve_files(name)))


def parts_of_names(survey: str) -> tuple[str, ...]:
    """Openings of the names, in lower case, of a survey's curves; () where the survey isn't known."""
    return _SURVEYS.get(survey.lower(), ())


def curve_files(source: str) -> Iterator[Path]:
    """Files of all curves of a package."""
    return curve_folder(source).glob(f"*{SOURCES[source][1]}")


def curve_folder(source: str) -> Path:
    """Folder of a package's curves."""
    return package_folder(source) / SOURCES[source][0]


@functools.cache
def package_folder(name: str) -> Path:
    """Where an installed package lies; it isn't imported, as speclite brings much along."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {name}, which filter curves come from, is not installed")
    return Path(spec.origin).parent


def _short_matches(name: str) -> list[str]:
    """Full names that `name` abbreviates: same survey, same band, anything between; band case counts last.

    ``sdss_u`` fits ``sdss_u0``; ``lsst_u`` fits ``lsst_baseline_u``; ``vista_ks`` fits ``vista_vircam_Ks``.
    """
    survey, _, band = name.partition("_")
    if not band:
        return []
    for flags in (re.NOFLAG, re.IGNORECASE):
        tail = "0?" if len(band) == 1 else ""  # sdss_u is sdss_u0, but spitzer_16 is not spitzer_mips_160
        pattern = re.compile(rf"{re.escape(survey)}_(?:\w+_)?{re.escape(band)}{tail}", flags)
        matches = [known for known in known_filters("sedpy") if pattern.fullmatch(known)]
        if matches:
            return matches
    return []


def suggestion(name: str) -> str:
    """'; did you mean ...?' with the nearest known names, and how to list all."""
    stem = Path(name).stem
    survey = re.split("[_-]", stem)[0].lower()
    near = _of_survey(survey, band=stem[len(survey) + 1 :])
    near += difflib.get_close_matches(stem, known_filters(), n=4, cutoff=0.5) if not near else []
    near += [
        known
        for known in known_filters()
        if re.split("[_-]", known)[0].lower() == survey and known not in near
    ]
    hint = f"; did you mean {', '.join(near[:6])}?" if near else ";"
    listed = bool(near) and (survey in _SURVEYS or any(survey in known.lower() for known in known_filters()))
    return f"{hint} {_HOW_TO_LIST.format(f' {survey}' if listed and survey else '')}"


def _of_survey(survey: str, band: str) -> list[str]:
    """Curves of a survey's cameras, in a band where it is said and they have it."""
    names = [known for known in known_filters() if known.lower().startswith(parts_of_names(survey) or ("?",))]
    in_band = [name for name in names if band and re.split("[_-]", name)[-1].lower() == band.lower()]
    return in_band or names


def _refuse(name: str | Path, why: str) -> NoReturn:
    raise InputError(f"filter {name}: {why}")
