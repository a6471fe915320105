"""What the names of a catalog's columns say: which band, whether magnitude, flux, error or extinction.

A name is cut into words at signs, changes of case and known words: ``petroMagErr_r`` says petro, mag, err and
r. It is a column of a band when it holds one band and otherwise known words alone. The band's filter follows
from a survey that the names or the file's own name speak of, and else from the bands that there are.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

_BANDS = ("fuv", "nuv", "u", "b", "v", "g", "r", "i", "z", "y", "j", "h", "ks", "k", "w1", "w2", "w3", "w4")
_ERRORS = ("e", "err", "error", "sigma", "sig", "rms", "unc", "ivar", "invvar")
_EXTINCTIONS = ("ext", "extinction")
_FLUXES = ("flux", "flx", "fnu", "maggies")
# by preference: total magnitudes of galaxies, and then what leaves out light; nothing else stands before all
_VARIANTS = ("cmodel", "model", "auto", "kron", "petro", "tot", "total", "iso", "aper", "fiber", "psf")
_SYSTEMS = ("vega", "ab")
_REDSHIFTS = (
    *("z_spec", "zspec", "specz", "spec_z", "zpec", "redshift", "z_best", "zbest", "zs", "z_helio", "zhelio"),
    *("z_phot", "zphot", "photoz", "photo_z", "z"),
)
# curves by the survey that a catalog's or a column's name speaks of
_SURVEYS = {
    "cosmos": {
        **{"u": "cfht_megacam_us_9301", "b": "subaru_suprimecam_B", "v": "subaru_suprimecam_V"},
        **{"r": "subaru_suprimecam_rp", "i": "subaru_suprimecam_ip", "z": "subaru_suprimecam_zp"},
        **{"y": "vista_vircam_Y", "j": "vista_vircam_J", "h": "vista_vircam_H"},
        **{"k": "vista_vircam_Ks", "ks": "vista_vircam_Ks"},
    },
    "sdss": {band: f"sdss_{band}0" for band in "ugriz"},
    "lsst": {band: f"lsst2023-{band}" for band in "ugrizy"},
    "hsc": {band: f"hsc_{band}" for band in "grizy"},
    "decam": {band: f"decam_{band}" for band in "ugriz"} | {"y": "decam_Y"},
    "panstarrs": {band: f"panstarrs_{band}" for band in "grizy"},
    "bessell": {band: f"bessell_{band.upper()}" for band in "ubvri"},
    "twomass": {"j": "twomass_J", "h": "twomass_H", "k": "twomass_Ks", "ks": "twomass_Ks"},
    "wise": {f"w{i}": f"wise_w{i}" for i in range(1, 5)},
    "galex": {"fuv": "galex_FUV", "nuv": "galex_NUV"},
}
_CALLED: dict[str, str] = {  # other words for these surveys
    "rubin": "lsst",
    **dict.fromkeys(("des", "decals", "legacy", "desi", "delve"), "decam"),
    **dict.fromkeys(("ps1", "panstarrs1"), "panstarrs"),
    "zcosmos": "cosmos",
    "2mass": "twomass",
    "unwise": "wise",
}
_USUAL = ("sdss", "bessell", "twomass", "wise", "galex")  # of bands whose survey nobody names
_NAMED = frozenset((*_SURVEYS, *_CALLED))
_PIECE = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+[a-z]*")


class BandName(NamedTuple):
    """What a column's name says.

    Attributes
    ----------
    column : its name.
    band : one of the known bands, in lower case.
    kind : "value", "error" or "extinction".
    is_flux : of a flux or its error.
    is_inverse : an inverse variance.
    is_vega : in Vega magnitudes.
    variant : how the light was gathered, such as "petro"; "" where the name doesn't say.
    survey : that the name speaks of; "" where it speaks of none.
    """

    column: str
    band: str
    kind: str
    is_flux: bool
    is_inverse: bool
    is_vega: bool
    variant: str
    survey: str

    @property
    def rank(self) -> int:
        """Which of a band's columns is preferred: the lowest."""
        return 0 if not self.variant else 1 + _VARIANTS.index(self.variant)


_WORDS = frozenset((*_BANDS, *_ERRORS, *_EXTINCTIONS, *_FLUXES, *_VARIANTS, *_SYSTEMS, "mag", "m", *_NAMED))


def band_name(column: str) -> BandName | None:
    """What a column's name says of a band; None where it is no band's."""
    words = [word for piece in _PIECE.findall(column) for word in _known_words(piece.lower())]
    bands = [word for word in words if word in _BANDS]
    if len(bands) != 1 or not set(words) <= _WORDS or "".join(words) != _letters(column):
        return None
    said = set(words)
    error = said & set(_ERRORS)
    kind = "error" if error else "extinction" if said & set(_EXTINCTIONS) else "value"
    surveys = [_CALLED.get(word, word) for word in words if word in _NAMED]
    return BandName(
        column,
        bands[0],
        kind,
        bool(said & set(_FLUXES)),
        bool(error & {"ivar", "invvar"}),
        "vega" in said,
        next((variant for variant in _VARIANTS if variant in said), ""),
        surveys[0] if surveys else "",
    )


def redshift_names(columns: Sequence[str]) -> list[str]:
    """Columns that may hold redshifts, the likeliest first."""
    return sorted(
        (column for column in columns if column.lower() in _REDSHIFTS),
        key=lambda column: _REDSHIFTS.index(column.lower()),
    )


def survey_in(text: str) -> str:
    """A survey that a text, such as a file's name, speaks of; "" where it speaks of none."""
    words: list[str] = re.findall(r"[a-z]+\d*|\d+[a-z]+", text.lower())
    return next((_CALLED.get(word, word) for word in words if word in _NAMED), "")


def filter_of(band: str, survey: str) -> str:
    """Name of a band's curve in a survey, or in one that usually has it; "" where none is known."""
    surveys: Iterable[str] = (survey, *_USUAL) if survey else _USUAL
    return next((_SURVEYS[name][band] for name in surveys if band in _SURVEYS.get(name, {})), "")


def has_curve(band: str, survey: str) -> bool:
    """Whether a survey's own curve of a band is known."""
    return band in _SURVEYS.get(survey, {})


def _letters(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.lower())


@lru_cache(maxsize=4096)
def _known_words(piece: str) -> tuple[str, ...]:
    """A piece of a name as known words, longest first; the piece itself where it isn't made of them."""
    if piece in _WORDS:
        return (piece,)
    for word in sorted(_WORDS, key=len, reverse=True):
        if piece.startswith(word):
            rest = _known_words(piece[len(word) :])
            if set(rest) <= _WORDS:
                return (word, *rest)
    return (piece,)
