"""Retyped tables against their sources, where these are at hand, and against numbers from the papers."""

from pathlib import Path

import numpy as np
import pytest

from popinfer.report import literature

SUMSTATS = Path(__file__).resolve().parents[3] / "shared" / "data" / "sumstats"
needs_tables = pytest.mark.skipif(not SUMSTATS.exists(), reason=f"no literature tables in {SUMSTATS}")


def test_moster_peak_efficiency():
    # Moster+13: the ratio peaks at 10^11.8 Msun (z = 0) with 3.5 %
    lgmh = np.linspace(11, 13, 400)
    ratio = literature.moster13_lg_mstar(lgmh, 0.0) - lgmh
    assert lgmh[ratio.argmax()] == pytest.approx(11.8, abs=0.1)
    assert 10 ** ratio.max() == pytest.approx(0.035, abs=0.003)


def test_behroozi_peak_efficiency():
    # Behroozi+19, figure 9: about 2.4 % of the halo mass near 10^12 Msun at z = 0.1
    lgmh = np.linspace(11, 13, 400)
    ratio = literature.behroozi19_lg_mstar(lgmh, 0.1) - lgmh
    assert lgmh[ratio.argmax()] == pytest.approx(12.0, abs=0.2)
    assert 10 ** ratio.max() == pytest.approx(0.024, abs=0.005)


def test_cosmic_star_formation_peaks_near_z_1_9():
    z = np.linspace(0, 6, 601)
    density = literature.madau14_lg_csfrd(z)
    assert z[density.argmax()] == pytest.approx(1.86, abs=0.05)
    assert 10 ** density[0] / 0.63 == pytest.approx(0.015, rel=0.01)  # Salpeter value of the paper


@needs_tables
def test_moustakas_pairs_are_sums_of_the_published_bins():
    table = np.loadtxt(SUMSTATS / "GalaxyStellarMassPassiveFraction" / "Moustakas2013.txt")
    points = literature.quenched_fraction()[0]
    for lgm, fraction in zip(points.x, points.y, strict=True):
        two = table[np.abs(table[:, 2] - lgm) < 0.06]
        assert len(two) == 2 and fraction == pytest.approx(two[:, 4].sum() / two[:, 3].sum(), abs=1e-12)


@needs_tables
@pytest.mark.parametrize(
    ("index", "file", "shift"),
    [(1, "sfr_cucciati2011.dat", np.log10(0.63)), (2, "sfr_gruppioni2013.dat", np.log10(0.63))],
)
def test_star_formation_tables(index: int, file: str, shift: float):
    table = np.loadtxt(SUMSTATS / "StarFormationRateHistory" / file)
    points = literature.lg_csfrd()[index]
    assert points.x == pytest.approx(table[:, 0]) and points.y == pytest.approx(table[:, 1] + shift)


@needs_tables
def test_specific_star_formation_table():
    table = np.loadtxt(SUMSTATS / "GalaxyStellarMassSpecificStarFormationRate" / "Bauer2013.txt")
    points = literature.lg_ssfr()[0]
    assert points.y == pytest.approx(table[:, 1], abs=1e-3)
    assert points.y + points.y_high == pytest.approx(table[:, 2], abs=0.01)
    every = literature.lg_ssfr("all")[0]
    assert every.y == pytest.approx(table[:4, 4], abs=1e-3)
