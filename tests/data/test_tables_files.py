"""Paths that lead to no table, and files that are of another format than they say."""

import os
import socket
import threading

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from table_reading import assert_columns, refusal

from popinfer.data.catalog_io import fingerprint, read_columns, user_path
from popinfer.data.embedded import sha256_of
from popinfer.data.tables.request import Pace, Request, quoted, shown
from popinfer.errors import InputError

COLUMNS = {"z": [0.1, 0.2], "g": [17.0, 18.0]}
WRITERS = {
    "parquet": lambda path: pd.DataFrame(COLUMNS).to_parquet(path),
    "fits": lambda path: Table(COLUMNS).write(path, format="fits"),
    "hdf5": lambda path: Table(COLUMNS).write(path, format="hdf5", path="t"),
    "ecsv": lambda path: Table(COLUMNS).write(path, format="ascii.ecsv"),
    "csv": lambda path: pd.DataFrame(COLUMNS).to_csv(path, index=False),
}


@pytest.mark.parametrize("suffix", ["parquet", "fits", "hdf5", "ecsv", "csv"])
@pytest.mark.parametrize("kind", WRITERS)
def test_wrong_suffixes(tmp_path, kind, suffix):
    path = tmp_path / f"c.{suffix}"
    WRITERS[kind](path)
    if kind == suffix or (kind, suffix) == ("ecsv", "csv"):
        return assert_columns(path, COLUMNS)
    message = refusal(path, "z")
    assert f"can't be read as {suffix}" in message
    assert kind == "csv" or f"it is a {kind} file; set format to {kind}" in message
    return assert_columns(path, COLUMNS, format=kind)


@pytest.mark.parametrize("kind", ["parquet", "fits", "hdf5", "ecsv"])
@pytest.mark.parametrize("name", ["catalog", "catalog.dat", "catalog.v1.0"])
def test_without_a_suffix_the_first_bytes_decide(tmp_path, kind, name):
    WRITERS[kind](tmp_path / name)
    assert_columns(tmp_path / name, COLUMNS)


def test_formats_that_contradict_the_file(tmp_path):
    WRITERS["fits"](tmp_path / "c.fits")
    assert "by its first bytes it is a fits file" in refusal(tmp_path / "c.fits", "z", format="csv")
    assert "'votable' is unknown" in refusal(tmp_path / "c.fits", "z", format="votable")
    WRITERS["csv"](tmp_path / "c.txt")
    assert "can't be told from the suffix" in refusal(tmp_path / "c.txt", "z")
    assert_columns(tmp_path / "c.txt", COLUMNS, format="csv")


def test_special_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "c.csv")
    done = []
    thread = threading.Thread(target=lambda: done.append(refusal(tmp_path / "c.csv", "z")), daemon=True)
    thread.start()
    thread.join(20)
    assert done and "is a pipe" in done[0]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "s.csv"))
        assert "is a socket" in refusal(tmp_path / "s.csv", "z")
    with pytest.raises(InputError, match="is a device"):
        read_columns(user_path("/dev/zero"), ["z"], format="csv")


@pytest.mark.parametrize("kind", WRITERS)
def test_empty_and_missing_files(tmp_path, kind):
    path = tmp_path / f"c.{kind}"
    assert "no such file" in refusal(path, "z")
    path.write_bytes(b"")
    assert "is empty" in refusal(path, "z")
    assert "no such file" in refusal(path / "below", "z") if kind == "csv" else True
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert refusal(path, "z").endswith("no such file")
    WRITERS[kind](tmp_path / f"galaxies.{kind}")
    for other in ("galaxy.yaml", "galaxy.truth.json", ".galaxy", "galax.txt"):  # no catalogs
        (tmp_path / other).write_text("a")
    assert f"did you mean galaxies.{kind}?" in refusal(tmp_path / f"galaxy.{kind}", "z")


def test_a_link_to_itself(tmp_path):
    path = tmp_path / "c.csv"
    path.symlink_to(path)
    assert "can't be opened" in refusal(path, "z")


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is allowed to root")
def test_permissions(tmp_path):
    WRITERS["csv"](tmp_path / "c.csv")
    (tmp_path / "c.csv").chmod(0)
    assert "Permission denied" in refusal(tmp_path / "c.csv", "z")


def test_paths_that_are_too_long_or_odd(tmp_path):
    message = refusal(tmp_path / ("x" * 5000), "z")
    assert "File name too long" in message and len(message) < 500 and "..." in message
    with pytest.raises(InputError, match="no such file") as caught:
        read_columns(tmp_path / "a\nb\x00.csv", ["z"])
    assert "a\\nb\\x00.csv" in str(caught.value)


def test_home_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    WRITERS["csv"](tmp_path / "c.csv")
    assert_columns(user_path("~/c.csv"), COLUMNS)
    assert user_path("a/~b.csv").as_posix() == "a/~b.csv"
    with pytest.raises(InputError, match="without ~"):
        user_path("~no_such_user_here/c.csv")


def test_fingerprints_of_files_are_their_sha256(tmp_path):
    WRITERS["csv"](tmp_path / "c.csv")
    assert fingerprint(tmp_path / "c.csv") == sha256_of(tmp_path / "c.csv")


def test_long_and_odd_names_in_messages(tmp_path):
    WRITERS["parquet"](tmp_path / "c.parquet")
    message = refusal(tmp_path / "c.parquet", "n" * 10_000)
    assert len(message) < 500
    assert "'a\\nb'" in refusal(tmp_path / "c.parquet", "a\nb")
    assert quoted("x" * 100) == "'" + "x" * 55 + "...'" and shown("a\tb") == "a\\tb"


@pytest.mark.parametrize("kind", WRITERS)
def test_a_name_asked_for_twice(tmp_path, kind):
    WRITERS[kind](tmp_path / "c.dat")
    assert list(read_columns(tmp_path / "c.dat", ["g", "z", "g"], format=kind)) == ["g", "z"]


def test_progress_comes_after_two_seconds_and_ever_more_rarely(tmp_path, monkeypatch):
    now, lines = [0.0], []
    monkeypatch.setattr("popinfer.data.tables.request.time.monotonic", lambda: now[0])
    pace = Pace(Request(tmp_path / "c.csv", ("z",), say=lines.append))
    for second in range(1, 21):
        now[0] = float(second)
        pace(1000 * second, second / 20)
    assert lines == [
        "c.csv: 2,000 rows read, 10% of the file",
        "c.csv: 4,000 rows read, 20% of the file",
        "c.csv: 8,000 rows read, 40% of the file",
        "c.csv: 16,000 rows read, 80% of the file",
    ]


@pytest.mark.parametrize("kind", WRITERS)
def test_readers_say_how_far_they_are(tmp_path, kind, monkeypatch):
    clock, lines = iter(np.arange(0.0, 1e6, 10.0)), []
    monkeypatch.setattr("popinfer.data.tables.request.time.monotonic", lambda: float(next(clock)))
    frame = pd.DataFrame({"z": np.arange(1_200_000.0)})
    path = tmp_path / f"c.{kind}"
    if kind == "ecsv":
        frame["z"].head(3).to_frame().pipe(Table.from_pandas).write(path)
        path.write_text(path.read_text() + "7.0\n" * 3_000_000)
    else:
        {
            "parquet": lambda: frame.to_parquet(path),
            "fits": lambda: Table.from_pandas(frame).write(path),
            "hdf5": lambda: Table.from_pandas(frame).write(path, path="t"),
            "csv": lambda: frame.to_csv(path, index=False),
        }[kind]()
    read_columns(path, ["z"], say=lines.append)
    assert lines and all(line.startswith(f"c.{kind}: ") and "of the file" in line for line in lines)
