"""Units of masses and lengths, as people and files write them."""

import pytest

from popinfer.errors import InputError
from popinfer.halos.units import Unit, length_unit, mass_unit


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Msun", Unit(1.0)),
        ("solMass", Unit(1.0)),
        ("Msun/h", Unit(1.0, per_h=True)),
        ("Msun h-1", Unit(1.0, per_h=True)),
        ("solMass / littleh", Unit(1.0, per_h=True)),
        ("1e10 Msun/h", Unit(1e10, per_h=True)),
        ("10^10 Msun/h", Unit(1e10, per_h=True)),
        ("log10 Msun/h", Unit(1.0, per_h=True, log10=True)),
        ("log10(Msun)", Unit(1.0, log10=True)),
    ],
)
def test_masses(text, unit):
    assert mass_unit(text, "here") == unit


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Mpc", Unit(1.0)),
        ("Mpc/h", Unit(1.0, per_h=True)),
        ("cMpc/h", Unit(1.0, per_h=True)),
        ("ckpc/h", Unit(1e-3, per_h=True)),
        ("pMpc", Unit(1.0, physical=True)),
        ("physical kpc", Unit(1e-3, physical=True)),
        ("pc", Unit(1e-6)),
    ],
)
def test_lengths(text, unit):
    assert length_unit(text, "here") == unit


@pytest.mark.parametrize("text", ["", "Mpc", "apples", "Msun/", "Msun*h"])
def test_other_words_are_refused(text):
    with pytest.raises(InputError, match="here"):
        mass_unit(text, "here")


def test_h_is_divided_by():
    assert mass_unit("1e10 Msun/h", "").scale(0.7) == pytest.approx(1e10 / 0.7)
