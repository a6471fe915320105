"""Fits of mass histories: recovered where they are diffmah's own, as good as the issue asks on real trees."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from diffmah.diffmah_kernels import DiffmahParams, mah_halopop

from popinfer.cosmology import PLANCK15, Cosmology, age
from popinfer.halos.table import Branches
from popinfer.halos.trees import fit_histories

REAL = Path(__file__).parents[3] / "shared/data/halos/millimillennium_main_branches.h5"
STEPS = np.linspace(0.1, 0.93, 60)  # of scale factor: the last at z = 0.075


def made_histories(n: int):
    """Histories of halos of many forms, masses at steps until z = 0.075."""
    rng = np.random.default_rng(1)
    late = rng.uniform(0.15, 1.5, n)
    mah = DiffmahParams(
        rng.uniform(11, 14, n),
        rng.uniform(-0.1, 0.6, n),
        late + rng.uniform(0.5, 4, n),
        late,
        rng.uniform(6.0, 14.0, n),
    )
    t = np.asarray(age(PLANCK15, 1 / STEPS - 1))
    logt0 = float(np.log10(age(PLANCK15, 0.0)))
    return mah, t, np.asarray(mah_halopop(mah, t, logt0)[1])


def test_masses_of_diffmahs_own_histories_are_recovered():
    _, t, lg_mass = made_histories(200)
    fits = fit_histories(Branches(STEPS, lg_mass), PLANCK15)
    assert np.isfinite(fits.rms).all()
    # a step's discreteness in t_peak is all that is lost
    assert np.percentile(fits.rms, 95) < 0.01
    logt0 = float(np.log10(age(PLANCK15, 0.0)))
    again = np.asarray(mah_halopop(fits.mah_params, t, logt0)[1])
    used = (t > 1) & (lg_mass > lg_mass[:, -1:] - 2.5)
    assert np.median(np.abs(again - lg_mass)[used]) < 2e-3


def test_logm0_is_that_of_today_whatever_the_snapshot():
    mah, _, lg_mass = made_histories(300)
    fits = fit_histories(Branches(STEPS, lg_mass), PLANCK15)
    growing = mah.t_peak > float(age(PLANCK15, 1 / STEPS[-1] - 1))
    assert growing.sum() > 20
    shift = np.asarray(fits.mah_params.logm0)[growing] - mah.logm0[growing]
    assert np.median(np.abs(shift)) < 0.01  # the mass at the snapshot is lower by 0.02 to 0.1


def test_peaks_are_read_off_and_not_after_the_snapshot():
    mah, t, lg_mass = made_histories(200)
    fits = fit_histories(Branches(STEPS, lg_mass), PLANCK15)
    assert (fits.mah_params.t_peak <= t[-1] + 1e-9).all()
    early = mah.t_peak < t[-1]
    spacing = np.diff(t).max()
    assert (np.abs(fits.mah_params.t_peak - mah.t_peak)[early] <= spacing).all()


def test_skipped_steps_and_stripping_leave_the_fit():
    _, _, lg_mass = made_histories(100)
    whole = fit_histories(Branches(STEPS, lg_mass), PLANCK15)
    rng = np.random.default_rng(2)
    holes = np.where(rng.random(lg_mass.shape) < 0.3, np.nan, lg_mass)
    holes[:, -1] = lg_mass[:, -1]
    some = fit_histories(Branches(STEPS, holes), PLANCK15)
    assert np.median(np.abs(some.mah_params.logm0 - whole.mah_params.logm0)) < 0.01
    stripped = lg_mass.copy()
    stripped[:, -5:] -= 0.4
    after = fit_histories(Branches(STEPS, stripped), PLANCK15)
    assert (after.mah_params.t_peak <= whole.mah_params.t_peak).all()
    assert np.percentile(after.rms, 95) < 0.01


def test_halos_with_too_few_points_have_no_fit():
    lg_mass = made_histories(4)[2].copy()
    lg_mass[0, :-3] = np.nan
    lg_mass[1, :] = 11.0
    fits = fit_histories(Branches(STEPS, lg_mass), PLANCK15)
    assert np.isnan(fits.rms).tolist() == [True, True, False, False]
    assert np.isnan(fits.mah_params.logm0).tolist() == [True, True, False, False]


def test_no_halos():
    assert len(fit_histories(Branches(STEPS, np.zeros((0, 60))), PLANCK15).rms) == 0


@pytest.mark.skipif(not REAL.is_file(), reason="the sample trees aren't there")
def test_residuals_on_real_trees():
    with h5py.File(REAL) as file:
        mass, scale = file["mah_msun"][:].astype(float), file["scale_factor"][:]
    with np.errstate(divide="ignore"):
        lg_mass = np.where(mass > 0, np.log10(mass), np.nan)
    fits = fit_histories(Branches(scale, lg_mass), Cosmology(om0=0.25, h=0.73))
    fitted = np.isfinite(fits.rms)
    assert fitted.mean() > 0.92
    assert np.median(fits.rms[fitted]) <= 0.045
    assert np.percentile(fits.rms[fitted], 95) <= 0.10
