"""Fits of merger trees in a file of their own: ``popinfer halos fit-trees IN OUT``.

Trees are read and fitted once; the result is a halo catalog in the OpenCosmo layout, which runs read in
seconds. Every chunk of trees is stored when it is fitted, beside the output, so that what was killed goes on
where it stopped. A part has a seal that names the trees it was made from: one that is damaged, or of other
trees or versions, is fitted again. Nothing that looks finished is left before all is.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
from diffmah.diffmah_kernels import DiffmahParams

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.errors import InputError
from popinfer.halos.checks import check_chunk
from popinfer.halos.table import DISTINCT, Branches, HaloReader, HaloTable
from popinfer.halos.trees import HistoryFits, fit_histories
from popinfer.halos.writing import ColumnNote, FileNote, OpenCosmoRows
from popinfer.storage import only_process, read_sealed, remove_leftovers, replacing, write_sealed

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
    path : the file.
    n_halos, n_fitted : halos, and those with a fit.
    rms_median, rms_p95 : of the fits' residuals [dex].
    n_resumed : parts that an earlier call had left.
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
    reader : HaloReader
        Of merger trees.
    out : Path
        File to write.
    say : callable or None
        Hears of each part: halos so far, and a few words.

    Raises
    ------
    InputError
        The file has no branches, another process fits trees into this output, or the disk is too full.
    """
    folder = out.with_name(f".{out.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    with only_process(folder):
        remove_leftovers(folder, locked=True)
        parts, resumed = _fit_parts(reader, folder, say or (lambda *_: None))
        made = _gather_parts(parts, out, reader, reader.header.cosmology or PLANCK15)
        shutil.rmtree(folder)
    return FittedFile(out, *made, resumed)


def _fit_parts(
    reader: HaloReader, folder: Path, say: Callable[[int, str], None]
) -> tuple[list[tuple[Path, str]], int]:
    """Fit what isn't there yet; files of all parts with their identities, and how many were there."""
    header, parts, n, resumed = reader.header, [], 0, 0
    cosmology = header.cosmology or PLANCK15
    for index, table in enumerate(reader.chunks(CHUNK)):
        if table.branches is None:
            raise InputError(f"{header.source}: has no mass histories to fit; use it as a catalog")
        part, identity = folder / f"{index:06d}.npz", _identity(reader, table)
        if _stored(part, identity) is not None:
            resumed += 1
        else:
            check_chunk(table, header.source)
            _store(part, _columns(table, fit_histories(table.branches, cosmology)), identity)
        parts.append((part, identity))
        n += len(table)
        say(n, f"{n:,} halos")
    if not parts:
        raise InputError(f"{header.source}: has no halos")
    return parts, resumed


def _identity(reader: HaloReader, table: HaloTable) -> str:
    """What a part is recognised by: the header, every number that is fitted, and the versions of the code."""
    said = {name: str(value) for name, value in vars(reader.header).items()}
    said |= {package: metadata.version(package) for package in ("popinfer", "diffmah", "jax")}
    content = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for field in fields(table):
        for values in jax.tree.leaves(_arrays(getattr(table, field.name))):
            content.update(f"{field.name} {values.dtype} {values.shape} ".encode() + values.tobytes())
    return content.hexdigest()


def _arrays(value: object) -> object:
    """A column, or the columns of a record of them."""
    return vars(value) if isinstance(value, Branches) else value


def _stored(path: Path, identity: str) -> dict[str, np.ndarray] | None:
    """A part that an earlier call has left; None where it has to be fitted."""
    try:
        sealed = read_sealed(path, "part", "halos fit-trees", identity)
    except InputError:
        return None
    with np.load(io.BytesIO(sealed.content), allow_pickle=False) as stored:
        return dict(stored)


def _store(path: Path, columns: dict[str, np.ndarray], identity: str) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **columns)  # type: ignore[arg-type]
    write_sealed(path, buffer.getvalue(), "part", identity)


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
    parts: list[tuple[Path, str]], out: Path, reader: HaloReader, cosmology: Cosmology
) -> tuple[int, int, float, float]:
    """All parts in one file; number of halos and fits, median and 95th percentile of residuals."""
    header = reader.header
    _check_room(sum(part.stat().st_size for part, _ in parts), out)
    redshift = float(_read(*parts[0])["redshift_true"][0])
    attributes = {"made_from": Path(header.source).name, "format": header.format, "fitter": "popinfer"}
    note = FileNote(_NOTES, cosmology, attributes, redshift, header.side, data_type="halo_properties")
    with replacing(out) as temporary:
        rows, n, rms = OpenCosmoRows(temporary, note), 0, []
        for part in parts:
            columns = _read(*part)
            rows.write({name: columns[name] for name in _NOTES})
            n += len(columns["halo_id"])
            rms.append(np.sqrt(columns["loss"][columns["has_diffmah_fit"] > 0]))
        rows.close()
    residuals = np.concatenate(rms)
    if not len(residuals):
        return n, 0, float("nan"), float("nan")
    return n, len(residuals), float(np.median(residuals)), float(np.percentile(residuals, 95))


def _read(path: Path, identity: str) -> dict[str, np.ndarray]:
    """A part that was just fitted or found; InputError when it is damaged since."""
    columns = _stored(path, identity)
    if columns is None:
        raise InputError(f"{path}: changed while trees were fitted; give the same command again")
    return columns


def _check_room(size: int, out: Path) -> None:
    """InputError before a file is written that has no room: HDF5 ends the process when a disk is full."""
    free = shutil.disk_usage(out.parent).free
    if size > free:
        raise InputError(
            f"{out}: needs {size / 1e9:,.1f} GB, and its disk has {free / 1e9:,.1f} GB free; fits are kept, "
            "the same command goes on from there"
        )
