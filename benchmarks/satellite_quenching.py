"""Quenched fractions of satellites with and without their quenching by infall, and what surveys find.

    python benchmarks/satellite_quenching.py [--calibration smdpl_dr1] [--n-halo 65536]

Halos are drawn near z = 0.05 (`popinfer.halos.lightcone`), host their calibration's galaxies, and count as
quenched below a specific SFR of 10^-11 / yr, the divide of the observations ("branch": as galaxies of
diffstarpop's quenched kind, many of which still form stars). Satellites are listed by the mass of their host
and their own stellar mass, all galaxies by stellar mass.

Observed: all galaxies of Moustakas et al. (2013, ApJ 767, 50), which `popinfer.report.literature` tabulates.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from popinfer import precision

SETTINGS = {"off": 0.0, "half": 0.5, "infall": 1.0}
HOSTS, MASSES = (12.5, 13.5, 14.5), (9.9, 10.3, 10.8)
HALF_BIN, HALF_BIN_MSTAR = 0.5, 0.2  # dex
Z, HALF_WIDTH, LGM_MIN = 0.05, 0.02, 10.6


def population(calibration: str, n_halo: int):
    """Halos, stellar masses and specific SFRs of their two galaxies, and a function to quenched fractions."""
    from popinfer.cosmology import age
    from popinfer.data import load_ssp
    from popinfer.halos.lightcone import LightconeSpec, draw_halos
    from popinfer.population.forward import ForwardModel, solar_survivors
    from popinfer.population.parameters import fiducial_params, with_values
    from popinfer.population.sfh import DiffstarPop
    from popinfer.random import root_key
    from popinfer.sps.age_weights import lookback_matrix

    model = ForwardModel(sfh=DiffstarPop(calibration))
    spec = LightconeSpec(Z - HALF_WIDTH, Z + HALF_WIDTH, n_halo, LGM_MIN, model.sfh.n_normal, flatten=0.3)
    halos = jax.tree.map(jnp.asarray, draw_halos(root_key(1), spec, model.cosmology))
    fractions = np.append(0.0, np.geomspace(1e-3, 0.999, 120))
    ssp = load_ssp()
    nodes = fractions * float(age(model.cosmology, Z))
    mass = jnp.asarray(lookback_matrix(nodes, ssp.ssp_lg_age_gyr) @ solar_survivors(ssp))
    params = with_values(fiducial_params(model.components), {})

    @jax.jit
    def galaxies(amplitude):
        changed = with_values(params, {"sfh.satellite_quenching": amplitude})
        sfr, frac_q = model.histories(changed, halos, jnp.asarray(1 - fractions))
        lg_mstar = jnp.log10(sfr @ mass)
        occupied = jax.vmap(model.satellites, in_axes=(None, 0))(changed.satellites, halos)
        weight = (halos.weight * occupied)[:, None] * jnp.stack([1 - frac_q, frac_q], axis=1)
        return lg_mstar, jnp.log10(sfr[..., 0]) - lg_mstar, weight

    return halos, galaxies


def fraction_where(inside, quenched, weight) -> float:
    """Quenched share of the weight of some galaxies; NaN where there are next to none."""
    chosen = np.where(inside, weight, 0.0)
    n_eff = chosen.sum() ** 2 / max((chosen**2).sum(), 1e-300)
    return float((chosen * quenched).sum() / chosen.sum()) if n_eff > 30 else float("nan")


def rows_of(near, lg_mstar, lg_ssfr, weight) -> list[str]:
    """Quenched fractions in bins of stellar mass, of little specific SFR and of the quenched branch."""
    branch = np.array([[False, True]])
    bins = [near & (abs(lg_mstar - m) < HALF_BIN_MSTAR) for m in MASSES]
    return [
        f"{fraction_where(inside, lg_ssfr < -11, weight):.2f} ({fraction_where(inside, branch, weight):.2f})"
        for inside in bins
    ]


def main() -> None:
    """Print the table; fractions of the quenched branch in brackets."""
    from popinfer.report.literature import quenched_fraction

    parser = argparse.ArgumentParser()
    parser.add_argument("--calibration", default="smdpl_dr1")
    parser.add_argument("--n-halo", type=int, default=65536)
    asked = parser.parse_args()
    precision.start()
    halos, galaxies = population(asked.calibration, asked.n_halo)
    host = np.asarray(halos.logmhost_infall)[:, None]
    satellite = np.asarray(halos.is_central)[:, None] < 0.5
    made = {name: [np.asarray(x, float) for x in galaxies(a)] for name, a in SETTINGS.items()}
    print(f"{asked.calibration}, z = {Z:g}; satellites, log10 host / log10 M*", "", *MASSES, sep="\t")
    for lg_host in HOSTS:
        near = satellite & (abs(host - lg_host) < HALF_BIN)
        for name, population_of in made.items():
            print(f"{lg_host:g}", name, *rows_of(near, *population_of), sep="\t")
    for name, population_of in made.items():
        print("all", name, *rows_of(np.ones_like(host, bool), *population_of), sep="\t")
    seen = quenched_fraction()[0]
    print("all", "Moustakas+13", *(f"{np.interp(m, seen.x, seen.y):.2f}" for m in MASSES), sep="\t")


if __name__ == "__main__":
    main()
