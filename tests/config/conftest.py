"""A run file whose text can be changed, and what the program says of it."""

from pathlib import Path

import pytest

from popinfer.config import load_config
from popinfer.errors import InputError

BASE = """\
name: test
seed: 1
catalog:
  path: sdss_mgs
  redshift: zs
  bands:
    g: {filter: sdss_g0, value: g, error: eg}
    r: {filter: sdss_r0, value: r, error: er}
  selection: {band: r, bright_mag: 14.0, faint_mag: 17.5}
slices: [[0.03, 0.06], [0.06, 0.1]]
features: [g-r, r]
halos: {n_per_slice: 1024}
model: {fixed: {dust.scatter: 0.3}}
free:
  dust.lg_av: {loc: -0.4, scale: 0.2}
sample: {kind: nuts}
"""


@pytest.fixture
def read(tmp_path):
    """Load the base file with some texts replaced, one after the other."""

    def read_changed(*changes: tuple[str, str]):
        text = BASE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path)

    return read_changed


@pytest.fixture
def refused(read, tmp_path):
    """The lines of a refusal, without the folder."""

    def lines(*changes: tuple[str, str]) -> tuple[str, ...]:
        with pytest.raises(InputError) as error:
            read(*changes)
        assert "\n".join(error.value.lines) == str(error.value)
        return tuple(line.replace(f"{tmp_path}{Path('/')}", "") for line in error.value.lines)

    return lines
