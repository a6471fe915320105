"""Simulations that tests make: boxes of diffhalos' halos at places of their own, in the formats of users."""

import dataclasses
from dataclasses import dataclass

import h5py
import numpy as np
import pandas as pd
from diffmah.diffmah_kernels import DiffmahParams

from popinfer.cosmology import PLANCK15, Cosmology
from popinfer.halos.geometry import Geometry
from popinfer.halos.lightcone import LightconeSpec, draw_halos
from popinfer.halos.sample import SampleSpec, SimulatedHalos, read_sample
from popinfer.halos.table import HaloHeader, HaloReader, HaloTable
from popinfer.random import numpy_generator, root_key, stream

SURVIVAL = 0.4  # of satellites, as in the model's own default


@dataclass(frozen=True)
class Box:
    """Halos in a periodic box, without h."""

    side: float
    z: float
    cosmology: Cosmology
    columns: pd.DataFrame

    def __len__(self) -> int:
        return len(self.columns)


def make_box(seed: int, side: float, z: float = 0.075, lgm_min: float = 11.2) -> Box:
    """Draw as many halos as a box of that side [Mpc] holds; satellites are at hosts of their hosts' mass."""
    key = root_key(seed)
    spec = LightconeSpec(z - 5e-4, z + 5e-4, 1 << 15, lgm_min, n_normal=1, independent=True)
    halos = draw_halos(stream(key, "pool"), spec)
    rng = numpy_generator(stream(key, "box"))
    weight = np.asarray(halos.weight) * np.where(halos.is_central > 0.5, 1.0, SURVIVAL)
    n = rng.poisson(weight.sum() * side**3)
    picked = rng.choice(len(weight), n, p=weight / weight.sum())
    central = np.asarray(halos.is_central)[picked] > 0.5
    picked = np.concatenate([picked[central], picked[~central]])
    n_central = int(central.sum())
    lgm = lg_mass_at(halos, picked)
    position = rng.uniform(0, side, (n, 3))
    hosts = np.argsort(lgm[:n_central])
    wanted = np.asarray(halos.logmhost_infall)[picked[n_central:]]
    place = np.searchsorted(lgm[hosts], wanted + rng.normal(0, 0.02, len(wanted))).clip(0, n_central - 1)
    own = hosts[place]
    position[n_central:] = np.mod(position[own] + rng.normal(0, 0.3, (n - n_central, 3)), side)
    halo_id = rng.permutation(10 * n)[:n] + 10**12
    upid = np.full(n, -1)
    upid[n_central:] = halo_id[own]
    frame = pd.DataFrame({"halo_id": halo_id, "upid": upid, "lg_mass": lgm, "mass": 10**lgm})
    for i, axis in enumerate("xyz"):
        frame[axis], frame[f"v{axis}"] = position[:, i], rng.normal(0, 200, n)
    for name, column in zip(halos.mah_params._fields, halos.mah_params, strict=True):
        frame[name] = np.asarray(column)[picked]
    infall = {
        "lgm_infall": halos.lgmu_infall + halos.logmhost_infall,
        "lgmhost_infall": halos.logmhost_infall,
        "t_infall": halos.t_obs - np.maximum(halos.gyr_since_infall, 0),
    }
    for name, column in infall.items():
        frame[name] = np.where(upid >= 0, np.asarray(column)[picked], np.nan)
    return Box(side, z, PLANCK15, frame.sample(frac=1, random_state=seed, ignore_index=True))


class TableReader(HaloReader):
    """Halos of a table, in chunks."""

    def __init__(self, table: HaloTable, header: HaloHeader) -> None:
        self._table, self._header = table, header

    @property
    def header(self) -> HaloHeader:
        return self._header

    def chunks(self, size: int = 3000):
        for first in range(0, len(self._table), size):
            yield self._table.take(np.arange(first, min(first + size, len(self._table))))


def table_of(box: Box, **changed) -> HaloTable:
    """A box's halos as readers give them."""
    frame: pd.DataFrame = box.columns
    columns = {
        "z": np.full(len(frame), box.z),
        "position": frame[["x", "y", "z"]].to_numpy(),
        "velocity": frame[["vx", "vy", "vz"]].to_numpy(),
        "mah_params": DiffmahParams(*(frame[name].to_numpy() for name in DiffmahParams._fields)),
        "lgm_infall": frame["lgm_infall"].to_numpy(),
        "lgmhost_infall": frame["lgmhost_infall"].to_numpy(),
        "t_infall": frame["t_infall"].to_numpy(),
    }
    table = HaloTable.of(
        frame["halo_id"].to_numpy(), frame["upid"].to_numpy(), frame["lg_mass"].to_numpy(), **columns
    )
    return dataclasses.replace(table, **changed)


def read_box(box: Box, limits: tuple[float, float], lgm_min: float) -> SimulatedHalos:
    """A box as a source of halos of one slice."""
    spec = SampleSpec((limits,), Geometry("box", box.side, redshifts=(box.z,)), (lgm_min,))
    reader = TableReader(table_of(box), HaloHeader("box", "table", box.cosmology, box.side))
    return read_sample(root_key(1), reader, spec)


def lg_mass_at(halos, picked: np.ndarray) -> np.ndarray:
    """Log10 masses when halos are observed."""
    import jax
    from diffmah.diffmah_kernels import _log_mah_kern

    from popinfer.cosmology import age

    logt0 = float(np.log10(age(PLANCK15, 0.0)))
    mah = DiffmahParams(*(np.asarray(x)[picked] for x in halos.mah_params))
    return np.asarray(
        jax.vmap(_log_mah_kern, in_axes=(0, 0, None))(mah, np.asarray(halos.t_obs)[picked], logt0)
    )


def parquet_of(box: Box, path, *, h: float = PLANCK15.h, drop: tuple[str, ...] = ()) -> dict:
    """Write masses in Msun/h and lengths in Mpc/h; return the run file's ``halos.source``.

    The table has no cosmology: the run file has to have the box's.
    """
    frame = box.columns.drop(columns=["lg_mass", "lgm_infall", "lgmhost_infall", *drop])
    frame["mass"] *= h
    frame[["x", "y", "z"]] *= h
    frame.to_parquet(path)
    names = {"id": "halo_id", "host": "upid", "mass": "mass"}
    names |= {name: name for name in frame.columns if name not in ("halo_id", "upid", "mass")}
    return {
        "kind": "catalog",
        "path": str(path),
        "geometry": {"kind": "box", "redshift": box.z, "side_mpc": box.side},
        "columns": names,
        "units": {"mass": "Msun/h", "length": "Mpc/h"},
    }


def opencosmo_of(box: Box, path) -> dict:
    """Write a box as diffsky's mocks are laid out; return the run file's ``halos.source``."""
    frame = box.columns
    row = {name: i for i, name in enumerate(frame["halo_id"])}
    columns = {
        "core_tag": (frame["halo_id"].to_numpy(), ""),
        "central": ((frame["upid"] < 0).to_numpy().astype(int), ""),
        "top_host_idx": (np.array([row.get(u, i) for i, u in enumerate(frame["upid"])]), ""),
        "logmp_obs": (frame["lg_mass"].to_numpy(), "dex(Msun)"),
        "logmp_infall": (frame["lgm_infall"].fillna(0).to_numpy(), "dex(Msun)"),
        "logmhost_infall": (frame["lgmhost_infall"].fillna(0).to_numpy(), "dex(Msun)"),
        "has_diffmah_fit": (np.ones(len(frame), int), ""),
        **{name: (frame[name].to_numpy(), "Mpc") for name in "xyz"},
        **{f"v{name}": (frame[f"v{name}"].to_numpy(), "km/s") for name in "xyz"},
        **{
            name: (frame[name].to_numpy(), "")
            for name in ("logm0", "logtc", "early_index", "late_index", "t_peak")
        },
    }
    with h5py.File(path, "w") as file:
        for name, (values, unit) in columns.items():
            file[f"data/{name}"] = values
            file[f"data/{name}"].attrs["unit"] = unit
        file.create_group("header/file").attrs.update(
            {"data_type": "synthetic_galaxies", "is_lightcone": False, "redshift": box.z}
        )
        file.create_group("header/cosmology").attrs.update(
            {
                "omega_m": box.cosmology.om0,
                "h": box.cosmology.h,
                "omega_b": box.cosmology.fb * box.cosmology.om0,
            }
        )
        file.create_group("header/simulation").attrs["box_size"] = box.side * box.cosmology.h
    return {"kind": "catalog", "path": str(path), "geometry": {"kind": "box"}}
