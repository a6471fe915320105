"""Real survey files, where they are present: read as their owners would describe them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from popinfer.data import BandColumns, CatalogSpec, load_catalog
from popinfer.data.filters import vega_to_ab
from popinfer.errors import InputError

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "observed"
GST = "sdss_gst_kcorrect_10k.parquet"
ZCOSMOS = "zcosmos_bright20k.parquet"
LIMITS = {"selection_band": "r", "mag_bright": 13.0, "mag_faint": 17.6}


@pytest.fixture
def file(request):
    """Path of a survey's file; the test is skipped where it is absent."""
    path = FOLDER / request.param
    if path.is_file():
        return path
    pytest.skip(f"{request.param} is not here")


def sdss(value, error, **settings):
    return {
        b: BandColumns(f"sdss_{b}0", value.format(b), error.format(b), extinction=f"ext_{b}", **settings)
        for b in "ugriz"
    }


@pytest.mark.parametrize("file", [GST], indirect=True)
def test_fluxes_and_inverse_variances_of_sdss(file):
    columns = sdss("flux_{}", "fluxivar_{}", unit="nmgy", error_kind="ivar")
    catalog = load_catalog(CatalogSpec(file, columns, z_max=0.2, **LIMITS))
    frame = pd.read_parquet(file)
    frame = frame[(frame.z <= 0.2) & (frame[[f"flux_{b}" for b in "ugriz"]] > 0).all(axis=1)]
    mag = np.stack([22.5 - 2.5 * np.log10(frame[f"flux_{b}"]) - frame[f"ext_{b}"] for b in "ugriz"], axis=1)
    err = np.stack([1.0857 / frame[f"flux_{b}"] / frame[f"fluxivar_{b}"] ** 0.5 for b in "ugriz"], axis=1)
    kept = (mag[:, 2] <= 17.6) & (mag[:, 2] >= 13.0) & (err < 3).all(axis=1)
    np.testing.assert_allclose(catalog.mag, mag[kept], rtol=1e-12)
    np.testing.assert_allclose(catalog.mag_err, err[kept], rtol=1e-4)
    assert catalog.warnings == ()


@pytest.mark.parametrize("file", [GST], indirect=True)
@pytest.mark.parametrize("band", "ugriz")
def test_a_forgotten_inverse_variance_of_sdss(file, band):
    columns = sdss("flux_{}", "fluxivar_{}", unit="nmgy", error_kind="ivar")
    columns[band] = sdss("flux_{}", "fluxivar_{}", unit="nmgy")[band]
    with pytest.raises(InputError, match=rf"band {band}: .*'fluxivar_{band}'.*is it an inverse variance"):
        load_catalog(CatalogSpec(file, columns, z_max=0.2, **LIMITS))


@pytest.mark.parametrize("file", [GST], indirect=True)
def test_magnitudes_that_were_corrected_for_extinction_before(file):
    catalog = load_catalog(CatalogSpec(file, sdss("mag_{}", "magerr_{}"), z_max=0.2, **LIMITS))
    (warning,) = catalog.warnings
    assert "corrected for it before? Then leave extinction out" in warning


@pytest.mark.parametrize("file", [GST], indirect=True)
def test_vega_magnitudes_of_2mass(file):
    columns = {
        b: BandColumns(f"twomass_{b}", f"mag_{b[0]}_vega", f"magerr_{b[0]}", system="vega")
        for b in ("J", "Ks")
    }
    catalog = load_catalog(CatalogSpec(file, columns, z_max=0.2))
    frame = pd.read_parquet(file)
    # 0.91 and 1.85 mag, Blanton & Roweis (2007, AJ 133, 734)
    for b, column, literature in (("J", 0, 0.91), ("Ks", 1, 1.85)):
        offset = np.median(catalog.mag[:, column]) - np.nanmedian(frame[f"mag_{b[0]}_vega"])
        assert offset == pytest.approx(vega_to_ab(f"twomass_{b}"), abs=0.05)
        assert vega_to_ab(f"twomass_{b}") == pytest.approx(literature, abs=0.04)


@pytest.mark.parametrize("file", [ZCOSMOS], indirect=True)
def test_zcosmos(file):
    filters = {"u": "cfht_megacam_us_9301", "b": "subaru_suprimecam_B", "i": "subaru_suprimecam_ip"}
    columns = {b: BandColumns(name, b, f"e{b}") for b, name in filters.items()}
    spec = CatalogSpec(
        file,
        columns,
        redshift="zpec",
        where=("clean",),
        id="id_zcosmos",
        z_min=0.2,
        z_max=1.1,
        selection_band="i",
        mag_faint=22.5,
        keep_missing=True,
        missing=(-1.0,),
    )
    catalog = load_catalog(spec)
    frame = pd.read_parquet(file)
    frame = frame[frame.clean & frame.zpec.between(0.2, 1.1) & (frame.i <= 22.5)]
    enough = np.isfinite(frame[["u", "b"]]).any(axis=1)
    assert catalog.id == tuple(str(x) for x in frame.id_zcosmos[enough])
    np.testing.assert_array_equal(catalog.mag[:, 2], frame.i[enough])
    with pytest.raises(InputError, match=r"negative errors, the first in row .* list it under missing"):
        load_catalog(CatalogSpec(file, columns, redshift="zpec"))
