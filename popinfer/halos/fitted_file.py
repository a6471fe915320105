"""Fits of merger trees in a file of their own: ``popinfer halos fit-trees IN OUT``.

Trees are read and fitted once; the result is a halo catalog in the OpenCosmo layout, which runs read in
seconds. Every chunk of trees is stored when it is fitted, beside the output, so that what was interrupted
goes on where it stopped. Nothing that looks finished is left before all is.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from diffmah.diffmah_kernels import DiffmahParams

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError
from popinfer.halos.checks import check_chunk
from popinfer.halos.table import DISTINCT, HaloReader, HaloTable
from popinfer.halos.trees import HistoryFits, fit_histories
from popinfer.halos.writing import ColumnNote, FileNote, OpenCosmoRows

CHUNK = 1 << 14  # halos a part
_NO_FIT = -99.0  # diffmah's own mark
_NOTES = {
    "halo_id": ColumnNote("", "name of the halo, from the simulation"),
    "upid": ColumnNote("", "name of the halo that this one is in; -1 for none"),
    "logmp_obs": ColumnNote("", "log10 peak mass at the snapshot [Msun], without h"),
    "redshift_true": ColumnNote("", "redshift of the snapshot"),
    **{axis: ColumnNote("Mpc", f"comoving position, {axis}") for axis in "xyz"},
    **{f"v{axis}": ColumnNote("km/s", f"peculiar velocity, {axis}") for axis in "xyz"},
    "logm0": ColumnNote("", "diffmah: log10 mass today without the end of growth [Msun]"),
    "logtc": ColumnNote("", "diffmah: log10 time of transition [Gyr]"),
    "early_index": ColumnNote("", "diffmah: index of early growth"),
    "late_index": ColumnNote("", "diffmah: index of late growth"),
    "t_peak": ColumnNote("Gyr", "diffmah: time of the largest mass"),
    "has_diffmah_fit": ColumnNote("", "1 where there were enough points to fit"),
    "loss": ColumnNote("", "mean square of the fit's residuals [dex^2]; -99 without a fit"),
    "n_points_per_fit": ColumnNote("", "points below the largest mass, within the fitter's limits"),
    "logmp_infall": ColumnNote("", "log10 mass of a satellite when it fell in [Msun]"),
    "logmhost_infall": ColumnNote("", "log10 mass of its host then [Msun]"),
    "t_infall": ColumnNote("Gyr", "cosmic time when it fell in"),
}


@dataclass(frozen=True)
class FittedFile:
    """What was written.

    Attributes
    ----------
    path : the file. n_halos, n_fitted : halos, and those with a fit.
    rms_median, rms_p95 : of the fits' residuals [dex]. n_resumed : parts that an earlier call had left.
    """

    path: Path
    n_halos: int
    n_fitted: int
    rms_median: float
    rms_p95: float
    n_resumed: int


def fit_trees(reader: HaloReader, out: Path, say: Callable[[int, str], None] | None = None) -> FittedFile:
    """Fit the branches of all halos of a file, and write them.

    Parameters
    ----------
    reader : of merger trees. out : file to write. say : hears of each part: halos so far, and a few words.

    Raises
    ------
    InputError
        The file has no branches.
    """
    header = reader.header
    cosmology = header.cosmology or PLANCK15
    folder = out.with_name(f".{out.name}.parts-{_identity(reader)}")
    folder.mkdir(parents=True, exist_ok=True)
    parts, n, resumed = [], 0, 0
    for index, table in enumerate(reader.chunks(CHUNK)):
        if table.branches is None:
            raise InputError(f"{header.source}: has no mass histories to fit; use it as a catalog")
        part = folder / f"{index:06d}.npz"
        if part.is_file():
            resumed += 1
        else:
            check_chunk(table, header.source)
            _store(part, _columns(table, fit_histories(table.branches, cosmology)))
        parts.append(part)
        n += len(table)
        if say is not None:
            say(n, f"{n:,} halos")
    if not parts:
        raise InputError(f"{header.source}: has no halos")
    made = _gather_parts(parts, out, reader, cosmology)
    shutil.rmtree(folder)
    return FittedFile(out, *made, resumed)


def _identity(reader: HaloReader) -> str:
    """What parts are recognised by: the header, which names file, snapshots and cosmology."""
    text = json.dumps(vars(reader.header), default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _store(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write a part under another name first, so that what is there is whole."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **columns)  # type: ignore[arg-type]
    temporary.replace(path)


def _columns(table: HaloTable, fits: HistoryFits) -> dict[str, np.ndarray]:
    fitted = np.isfinite(fits.rms)
    columns = {
        "halo_id": table.halo_id,
        "upid": np.where(table.is_central, DISTINCT, table.host_id),
        "logmp_obs": table.lg_mass,
        "redshift_true": table.z,
        **{axis: table.position[:, i] for i, axis in enumerate("xyz")},
        **{f"v{axis}": table.velocity[:, i] for i, axis in enumerate("xyz")},
    }
    for name, values in zip(DiffmahParams._fields, fits.mah_params, strict=True):
        columns[name] = np.where(fitted, values, _NO_FIT)
    return columns | {
        "has_diffmah_fit": fitted.astype(np.int8),
        "loss": np.where(fitted, fits.rms**2, _NO_FIT),
        "n_points_per_fit": fits.n_points.astype(np.int32),
        "logmp_infall": table.lgm_infall,
        "logmhost_infall": table.lgmhost_infall,
        "t_infall": np.asarray(table.t_infall, float),
    }


def _gather_parts(
    parts: list[Path], out: Path, reader: HaloReader, cosmology: Cosmology
) -> tuple[int, int, float, float]:
    """All parts in one file; number of halos and fits, median and 95th percentile of residuals."""
    header = reader.header
    with np.load(parts[0]) as first:
        redshift = float(first["redshift_true"][0])
    attributes = {"made_from": Path(header.source).name, "format": header.format, "fitter": "popinfer"}
    note = FileNote(_NOTES, cosmology, attributes, redshift, header.side, "halo_properties")
    temporary = out.with_name(f".{out.name}.tmp")
    rows, n, rms = OpenCosmoRows(temporary, note), 0, []
    for part in parts:
        with np.load(part) as stored:
            columns = {name: stored[name] for name in _NOTES}
        rows.write(columns)
        n += len(columns["halo_id"])
        rms.append(np.sqrt(columns["loss"][columns["has_diffmah_fit"] > 0]))
    rows.close()
    temporary.replace(out)
    residuals = np.concatenate(rms)
    if not len(residuals):
        return n, 0, float("nan"), float("nan")
    return n, len(residuals), float(np.median(residuals)), float(np.percentile(residuals, 95))
