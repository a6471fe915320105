"""Make an SSP grid from E-MILES spectra, as a second stellar library beside Bruzual & Charlot's.

    pip download ppxf==8.2.1 --no-deps --no-binary :all:
    write_ssp(ssp_from_emiles("ppxf-8.2.1.tar.gz"), "emiles.h5")

The source distribution of ppxf 8.2.1 holds E-MILES (Vazdekis et al. 2016, MNRAS 463, 3409) on Padova (2000)
isochrones: six metallicities, 25 ages from 63 Myr to 15.8 Gyr, 1,680 to 50,000 Angstrom. Its licence forbids
to pass the spectra on, so users fetch them. What the library lacks is taken from another grid, Bruzual &
Charlot (2003) unless told otherwise, at the same metallicity: populations younger than the youngest, and
wavelengths outside, scaled to the spectrum at its end.

The spectra are made for a Salpeter-like initial mass function, dn/dm ~ m^-2.3 from 0.1 to 100 Msun. Kroupa's
(2001) has this slope above 0.5 Msun, where nearly all light comes from, and fewer stars below; so the light
of each Msun formed is multiplied by `_KROUPA`, and the stars that are too many are taken from the living
ones. Their light, a few percent in z of old populations, stays. Wavelengths are in air, as MILES has them:
0.03 % short of vacuum.
"""

import io
import re
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from popinfer.data.embedded import sha256_of
from popinfer.data.resample import compact_wavelengths, resample
from popinfer.data.ssp import load_ssp
from popinfer.data.ssp_convert import per_hz
from popinfer.errors import InputError, first_line
from popinfer.expansion import DAMAGED, check_file
from popinfer.records import SSP

FloatArray = NDArray[np.float64]

_NAME = re.compile(r"Eun1\.30Z([mp])(\d\.\d\d)T(\d\d\.\d{4})_iPp0\.00_baseFe\w*\.fits")
_MASSES = re.compile(r".*ssp_mass_Padova00_UN_baseFe.*\.txt")
# mass fractions Z of the isochrones (Girardi et al. 2000, A&AS 141, 371) that the labels [M/H] stand for
_Z_OF = {-2.32: 0.0001, -1.71: 0.0004, -1.31: 0.001, -0.71: 0.004, -0.40: 0.008, 0.00: 0.019, 0.22: 0.03}
_SAME_MET, _SAME_AGE = 0.01, 0.02  # the table of masses has two more digits; lg age
_LARGEST = 10_000_000  # bytes of a file; spectra have 0.2 million


def _mass(slope: float, low: float, high: float) -> float:
    """Integral of m^(1 - slope)."""
    return (high ** (2 - slope) - low ** (2 - slope)) / (2 - slope)


# mass formed for the same stars above 0.5 Msun, m^-2.3 throughout over Kroupa's (0.5 m^-1.3 below 0.5 Msun)
_KROUPA = _mass(2.3, 0.1, 100.0) / (_mass(2.3, 0.5, 100.0) + _mass(1.3, 0.1, 0.5) / 0.5)


def ssp_from_emiles(source: str | Path, other: SSP | None = None) -> SSP:
    """E-MILES populations, completed with young ones and with wavelengths of another grid.

    Parameters
    ----------
    source : str or Path
        The source distribution of ppxf 8.2.1 (``ppxf-8.2.1.tar.gz``), or a folder with its ``miles_models``.
    other : SSP, optional
        What completes it, in Lsun/Hz per Msun formed with a Kroupa initial mass function and without nebular
        emission; None takes the embedded grid.

    Returns
    -------
    SSP
        On the embedded grid's wavelengths; ages below E-MILES' youngest are those of the other grid.

    Raises
    ------
    InputError
        The file or folder can't be read, holds no such spectra, or lacks some metallicities at some ages.
    """
    path = Path(source)
    spectra: dict[tuple[float, float], FloatArray] = {}
    wave, masses = np.zeros(0), ""
    for name, content in _files(path):
        if _MASSES.fullmatch(name):
            masses = content.decode("utf-8", errors="replace")
        elif label := _NAME.fullmatch(name):
            met = float(label[2]) * (-1 if label[1] == "m" else 1)
            wave, flux = _spectrum(f"{path}: {name}", content)
            spectra[met, float(label[3])] = resample(wave, per_hz(wave, flux), _within(wave))
    if not spectra:
        raise InputError(f"{path}: holds no E-MILES spectra (Eun1.30Z...T..._iPp0.00_baseFe....fits)")
    mets, ages = (np.unique([key[axis] for key in spectra]) for axis in (0, 1))
    lacking = [(met, age) for met in mets for age in ages if (met, age) not in spectra]
    if lacking:
        raise InputError(f"{path}: lacks E-MILES' spectrum of [M/H] {lacking[0][0]:g}, {lacking[0][1]:g} Gyr")
    flux = np.array([[spectra[met, age] for age in ages] for met in mets]) * _KROUPA
    living = _KROUPA * _living(path, masses, mets, ages) - (_KROUPA - 1)
    own = SSP(
        ssp_lgmet=np.log10([_metallicity(path, met) for met in mets]),
        ssp_lg_age_gyr=np.log10(ages),
        ssp_wave=_within(wave),
        ssp_flux=flux,
        ssp_surviving_mstar_frac=living,
        source="E-MILES (Padova 2000, slope 1.30 scaled to Kroupa) of ppxf 8.2.1",
        sha256=sha256_of(path) if path.is_file() else "",
    )
    return _completed(own, load_ssp() if other is None else other)


def _completed(own: SSP, other: SSP) -> SSP:
    """A grid with the younger populations of another one, and its spectra where `own` has none."""
    if other.emission_in_flux or other.ssp_surviving_mstar_frac is None:
        raise InputError(
            f"{other.source or 'the other grid'}: has to have ssp_surviving_mstar_frac and no nebular "
            "emission, to complete E-MILES"
        )
    lg_age = np.asarray(other.ssp_lg_age_gyr)
    young = lg_age < np.asarray(own.ssp_lg_age_gyr)[0] - _SAME_AGE
    ages = np.concatenate([lg_age[young], own.ssp_lg_age_gyr])
    wave, nodes = np.asarray(other.ssp_wave), compact_wavelengths()
    theirs = np.empty((len(own.ssp_lgmet), ages.size, nodes.size))
    surviving = np.empty(theirs.shape[:2])
    for met, lgmet in enumerate(own.ssp_lgmet):
        at_met = _between(np.asarray(other.ssp_lgmet), np.asarray(other.ssp_flux), lgmet)
        for age, lg in enumerate(ages):
            theirs[met, age] = np.interp(nodes, wave, _between(lg_age, at_met, lg))
        living = _between(np.asarray(other.ssp_lgmet), np.asarray(other.ssp_surviving_mstar_frac), lgmet)
        surviving[met] = np.interp(ages, lg_age, living)
    inside = np.isin(nodes, own.ssp_wave)
    first, last = np.flatnonzero(inside)[[0, -1]]
    old = slice(young.sum(), None)
    flux = theirs.copy()
    ends = np.asarray(own.ssp_flux)[..., [0, -1]] / theirs[:, old][..., [first, last]]
    flux[:, old, :first] *= ends[..., :1]
    flux[:, old, last + 1 :] *= ends[..., 1:]
    flux[:, old, inside] = own.ssp_flux
    surviving[:, old] = own.ssp_surviving_mstar_frac
    return SSP(
        ssp_lgmet=own.ssp_lgmet,
        ssp_lg_age_gyr=ages,
        ssp_wave=nodes,
        ssp_flux=flux,
        ssp_surviving_mstar_frac=surviving,
        source=f"{own.source}; below {10 ** own.ssp_lg_age_gyr[0] * 1e3:.0f} Myr {other.source}",
        sha256=own.sha256,
    )


def _between(axis: FloatArray, values: FloatArray, where: float) -> FloatArray:
    """Linear interpolation along the first axis, held at its ends."""
    upper = int(np.clip(np.searchsorted(axis, where), 1, axis.size - 1))
    share = np.clip((where - axis[upper - 1]) / (axis[upper] - axis[upper - 1]), 0, 1)
    return values[upper - 1] * (1 - share) + values[upper] * share


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files of a folder, or of a tar archive, that may be E-MILES'."""
    try:
        if path.is_dir():
            for file in sorted(path.glob("**/*")):
                if _is_wanted(file.name):
                    yield file.name, file.read_bytes()
            return
        check_file(path)
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and member.size < _LARGEST and _is_wanted(name):
                    content = archive.extractfile(member)
                    assert content is not None  # as it is a file
                    yield name, content.read()
    except (*DAMAGED, tarfile.TarError) as error:
        raise InputError(
            f"{path}: has to be ppxf-8.2.1.tar.gz or a folder of E-MILES files ({first_line(error)})"
        ) from error


def _is_wanted(name: str) -> bool:
    return bool(_NAME.fullmatch(name) or _MASSES.fullmatch(name))


def _spectrum(name: str, content: bytes) -> tuple[FloatArray, FloatArray]:
    """Wavelengths [Angstrom] and spectrum [Lsun/Angstrom per Msun formed] of a file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # which only warns of a file that is cut off
            # Any: astropy's types don't know that the first part is an image
            hdus: Any = fits.open(io.BytesIO(content))
            header, flux = hdus[0].header, np.asarray(hdus[0].data, dtype=np.float64)
            start, step = float(header["CRVAL1"]), float(header["CDELT1"])
    except (OSError, KeyError, TypeError, ValueError, AstropyUserWarning) as error:
        raise InputError(f"{name}: is no E-MILES spectrum ({first_line(error)})") from error
    if flux.ndim != 1 or step <= 0 or not np.all(flux >= 0):
        raise InputError(f"{name}: is no E-MILES spectrum (values have to be a row and positive)")
    return start + step * np.arange(flux.size, dtype=np.float64), flux


def _within(wave: FloatArray) -> FloatArray:
    """The embedded grids' wavelengths that a spectrum covers."""
    nodes = compact_wavelengths()
    return nodes[(nodes >= wave[0]) & (nodes <= wave[-1])]


def _metallicity(path: Path, met: float) -> float:
    if met not in _Z_OF:
        raise InputError(f"{path}: [M/H] = {met:g} is none of Padova 2000's ({', '.join(map(str, _Z_OF))})")
    return _Z_OF[met]


def _living(path: Path, table: str, mets: FloatArray, ages: FloatArray) -> FloatArray:
    """Mass in living stars of each Msun formed with slope 1.30; shape (met, age)."""
    rows = [line.split() for line in table.splitlines() if line.startswith(("UN", " UN"))]
    living = {(float(row[2]), float(row[3])): float(row[6]) for row in rows if row[1] == "1.30"}
    found = np.empty((mets.size, ages.size))
    for place in np.ndindex(found.shape):
        key = float(mets[place[0]]), float(ages[place[1]])
        near = [
            have for have in living if abs(have[0] - key[0]) < _SAME_MET and abs(have[1] / key[1] - 1) < 1e-3
        ]
        if not near:
            raise InputError(f"{path}: its table of masses (Vazdekis2012_ssp_mass...) lacks [M/H], age {key}")
        found[place] = living[near[0]]
    return found
