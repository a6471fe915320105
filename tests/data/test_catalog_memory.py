"""Reading a million rows and converting them holds a few times the named columns, not the file."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

ROWS, COLUMNS = 1_000_000, 30
NAMED = ("zs", "g", "eg", "r", "er")
MOST = 10  # times the size of the named columns as float64, above a process that has read a small table

# Small tables first, which load all that is loaded once; then the peak is set back to what is held.
MEASURE = """
import re, sys
from pathlib import Path
from popinfer.data import BandColumns, CatalogSpec, load_catalog

def read(path):
    bands = {b: BandColumns(f"sdss_{b}0", b, f"e{b}") for b in "gr"}
    return load_catalog(CatalogSpec(path, bands, redshift="zs", selection_band="r", mag_faint=19.0))

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

folder = Path(sys.argv[1])
for name in ("small.parquet", "small.fits"):
    read(folder / name)
for name in ("large.parquet", "large.fits"):
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    print(read(folder / name).z.size, peak() - before)
"""


def columns_of(rows):
    """Galaxies of two bands among many columns that nobody asks for."""
    rng = np.random.default_rng(5)
    columns = {"zs": rng.uniform(0.01, 0.3, rows)}
    for band in "gr":
        columns[band] = rng.normal(18.0, 1.0, rows)
        columns[f"e{band}"] = rng.uniform(0.01, 0.1, rows)
    further = rng.random(rows, np.float32)
    return columns | {f"c{i}": further for i in range(COLUMNS - len(columns))}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_million_rows_need_few_times_their_columns(tmp_path):
    for name, rows in (("small", 1000), ("large", ROWS)):
        columns = columns_of(rows)
        pq.write_table(
            pa.table(columns), tmp_path / f"{name}.parquet", compression="none", use_dictionary=False
        )
        Table(columns).write(tmp_path / f"{name}.fits")
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for line in done.stdout.splitlines():
        kept, used = (int(word) for word in line.split())
        assert 0.7 * ROWS < kept < 0.95 * ROWS
        assert 8 * ROWS * len(NAMED) < used < MOST * 8 * ROWS * len(NAMED), f"{used / 1e6:.0f} MB"
    assert len(done.stdout.splitlines()) == 2
