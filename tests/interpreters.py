"""The suite's fast part in every Python that is there: ``python -m tests.check --interpreters [3.12 ...]``.

Wheel and source distribution are built once, the wheel from the source distribution. Each interpreter gets
two fresh environments of the wheel, without constraints: the newest versions of the dependencies that pip
finds, and exactly the lower bounds that pyproject.toml declares. One more holds the source distribution. In
each, from a folder of its own, ``popinfer --help`` and ``popinfer check`` run and a small forward model is
evaluated with its gradient; then the fast part of the tests, against the installed package.

``--tests PATH`` (several times) chooses other tests, ``--versions newest`` one kind of environment.
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# what the fast part needs of the extra `test`
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "beartype", "dsps", "numpydoc")
FAST = (  # the chain from a run file to a posterior and a report, each part in the tests that take least
    *("tests/config/test_run.py", "tests/config/test_checks.py", "tests/run/test_check.py"),
    *("tests/data/test_catalog.py", "tests/data/test_tables_parquet.py", "tests/data/test_tables_fits.py"),
    *("tests/data/test_tables_hdf5.py", "tests/data/test_filters.py", "tests/data/test_ssp.py"),
    *("tests/halos/test_formats.py", "tests/halos/test_lightcone.py"),
    *("tests/sps/test_photometry.py", "tests/sps/test_dust.py", "tests/population/test_dust.py"),
    *("tests/population/test_metallicity.py", "tests/population/test_declarations.py", "tests/survey"),
    *("tests/infer/test_draw_tables.py", "tests/infer/test_laplace.py", "tests/infer/test_likelihood.py"),
    *("tests/report/test_gate.py", "tests/report/test_parameters.py", "tests/report/test_side_by_side.py"),
    *("tests/run/test_stored.py", "tests/test_cli.py", "tests/test_public.py", "tests/test_docstrings.py"),
    *("tests/test_params.py", "tests/test_random.py", "tests/test_doctests.py"),
)
FORWARD = """
import jax, jax.numpy as jnp, numpy as np
from popinfer import *
start()
bands = {band: BandColumns(f"sdss_{band}0", band, f"e{band}") for band in "gr"}
catalog = load_catalog(CatalogSpec("sdss_mgs", bands, "zs", z_min=0.06, z_max=0.09))
selection = Selection((MagnitudeLimit(band_index=1, bright=14.0, faint=17.5),))
survey = Survey.from_catalog(root_key(1), catalog, [(0.06, 0.09)], ["g-r", "r"], selection)
spec = ModelSpec(load_ssp(), load_nebular(), model_error=0.05)
posterior = Posterior.build(root_key(2), [survey], {"dust.lg_av": Prior("normal", -0.4, 0.3)}, spec)
value, slope = jax.value_and_grad(posterior.log_density)(jnp.zeros(1))
assert np.isfinite(value) and np.isfinite(slope).all() and slope.any(), (value, slope)
draws = to_inference_data(posterior.space, np.zeros((2, 5, 1)))
assert draws_table(draws).shape == (10, 1)
print(f"log-density {value:.2f}, gradient {slope[0]:.3f}")
"""
KINDS = ("newest", "lowest", "sdist")
MAIN = ("jax", "numpy", "scipy", "pandas", "xarray", "arviz", "astropy", "pydantic", "blackjax", "diffstar")


def declared_pythons() -> list[str]:
    """Versions among the classifiers, such as "3.11"."""
    return [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]


def interpreters_of(version: str) -> Iterator[Path]:
    """Places where an interpreter may be: the path, and where pyenv and uv keep theirs."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder) / f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted((pyenv / "versions").glob(f"{version}.*/bin/python"), reverse=True)
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"), reverse=True)


def find_interpreter(version: str) -> Path | None:
    """The first interpreter of a version that runs and can make environments; None where there is none."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for path in interpreters_of(version):
        if path.is_file():  # pyenv's shims answer with an error for versions that aren't switched on
            done = subprocess.run([str(path), "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.strip() == version:
                return path
    return None


def lower_bounds(requirements: list[str]) -> list[str]:
    """Requirements as constraints to exactly their lower bounds."""
    exact = []
    for requirement in map(Requirement, requirements):
        (low,) = (bound.version for bound in requirement.specifier if bound.operator == ">=")
        exact.append(f"{requirement.name}=={low}")
    return exact


def tools() -> list[str]:
    """Requirements of the fast part."""
    lines = PROJECT["optional-dependencies"]["test"]
    return [line for line in lines if Requirement(line).name in TOOLS]


class Environment:
    """A fresh environment in a folder, and what was found in it."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "venv" / "bin"
        self.outcome: dict[str, tuple[bool, float]] = {}
        self.log = (folder / "log.txt").open("a", encoding="utf-8")
        self.tried("environment", [str(python), "-m", "venv", str(folder / "venv")])

    @property
    def good(self) -> bool:
        """Whether every step so far passed."""
        return all(passed for passed, _ in self.outcome.values())

    def tried(self, name: str, command: list[str], cwd: Path | None = None) -> bool:
        """Run a step unless one before it failed; its output goes to the log, and is shown if it fails."""
        if not self.good:
            return False
        begin, at = time.perf_counter(), self.log.tell()
        # the folder that a command is given in is none to import from: the package is the installed one
        own = {"PYTHONSAFEPATH": "1", "POPINFER_CACHE": str(self.folder / "cache"), "JAX_PLATFORMS": "cpu"}
        code = subprocess.call(
            command,
            cwd=cwd or self.folder,
            env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **own},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.outcome[name] = (code == 0, time.perf_counter() - begin)
        if code != 0:
            self.log.flush()
            text = Path(self.log.name).read_bytes()[at:].decode(errors="replace")
            print("\n".join(text.splitlines()[-60:]), flush=True)
        return code == 0

    def install(self, requirements: list[str], constraints: list[str]) -> None:
        """Install packages, the newest that the constraints allow."""
        (self.folder / "constraints.txt").write_text("\n".join(constraints), encoding="utf-8")
        pip = [str(self.bin / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        limits = ["-c", "constraints.txt"] if constraints else []
        self.tried("install", [*pip, "install", "-q", *limits, *requirements])
        self.tried("pip check", [*pip, "check"])

    def smoke(self) -> None:
        """The command line, the check of a shipped run file, and a small forward model."""
        shutil.copy(ROOT / "configs" / "sdss_quick.yaml", self.folder)
        self.tried("--help", [str(self.bin / "popinfer"), "--help"])
        self.tried("check", [str(self.bin / "popinfer"), "check", "sdss_quick.yaml"])
        self.tried("forward model", [str(self.bin / "python"), "-c", FORWARD])

    def run_tests(self, tests: list[str]) -> None:
        """Tests of the checkout, of the installed package."""
        pytest = [str(self.bin / "pytest"), "-n2", "--dist=loadgroup", "--no-loadscope-reorder"]
        self.tried("tests", [*pytest, "-o", f"cache_dir={self.folder / 'pytest'}", *tests], cwd=ROOT)

    def versions(self) -> str:
        """Versions of the main packages that were installed."""
        code = "import sys, importlib.metadata as m; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
        command = [str(self.bin / "python"), "-c", code, *MAIN]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def lines(self, title: str) -> list[str]:
        """What came of it: whether all steps passed, and the versions."""
        steps = ", ".join(
            f"{name} {seconds:.0f} s" + ("" if passed else " FAILED")
            for name, (passed, seconds) in self.outcome.items()
        )
        return [f"{'passed' if self.good else 'FAILED'}  {title}: {steps}", f"        {self.versions()}"]


def build(folder: Path) -> tuple[Path, Path]:
    """Source distribution, and the wheel that is made from it."""
    made = Environment(Path(sys.executable), folder)
    made.install(["build"], [])
    if not made.tried("build", [str(made.bin / "python"), "-m", "build", "-o", str(folder), str(ROOT)]):
        raise SystemExit("the distributions can't be built")
    (sdist,), (wheel,) = folder.glob("popinfer-*.tar.gz"), folder.glob("popinfer-*.whl")
    return sdist, wheel


def try_distribution(
    python: Path, folder: Path, distribution: Path, kind: str, tests: list[str]
) -> Environment:
    """An environment of one kind, with all that is to be tried in it."""
    folder.mkdir()
    made = Environment(python, folder)
    bounds = lower_bounds([*PROJECT["dependencies"], *tools()]) if kind == "lowest" else []
    made.install([str(distribution), *(tools() if tests else [])], bounds)
    made.smoke()
    if tests:
        made.run_tests(tests)
    return made


def main(arguments: list[str]) -> int:
    """Build, and try every environment; 0 when there was an interpreter and all passed in those there are."""
    parser = argparse.ArgumentParser(prog="python -m tests.check --interpreters")
    parser.add_argument("pythons", nargs="*", help="such as 3.12; by default all that the package declares")
    parser.add_argument("--versions", action="append", choices=KINDS, help="kinds of environments; all")
    parser.add_argument("--tests", action="append", help="tests in place of the fast part")
    given = parser.parse_args(arguments)
    found = {version: find_interpreter(version) for version in given.pythons or declared_pythons()}
    lines, good = [f"absent  Python {version}" for version, path in found.items() if path is None], True
    there = {version: path for version, path in found.items() if path is not None}
    with tempfile.TemporaryDirectory(prefix="popinfer-interpreters-") as top:
        (folder := Path(top) / "build").mkdir()
        sdist, wheel = build(folder)
        for version, kind in itertools.product(there, given.versions or KINDS):
            if kind == "sdist" and version != list(there)[-1]:
                continue  # once is enough: the wheel is made of it
            print(f"\n== Python {version}, {kind}", flush=True)
            tests = [] if kind == "sdist" else given.tests or list(FAST)
            place = Path(top) / f"{version}-{kind}"
            made = try_distribution(there[version], place, sdist if kind == "sdist" else wheel, kind, tests)
            good &= made.good
            lines += made.lines(f"Python {version}, {kind}")
            print(*lines[-2:], sep="\n", flush=True)
            shutil.rmtree(place)  # a gigabyte and more
    print("\n" + "\n".join(lines))
    return int(not good or not there)
