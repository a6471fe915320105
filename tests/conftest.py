"""Every test runs in float64, with array shapes checked at run time.

Compiled programs are kept in pytest's cache folder: both workers and every later session use them.
``POPINFER_CACHE`` chooses another folder. Tests marked ``slow`` run with ``--all`` only, which also gives
hypothesis all of its examples. Tests of one file, or of one ``xdist_group``, run in one worker, so that
their fixtures and programs are made once.
"""

import gc
import os
from pathlib import Path

# For xdist's workers, which import NumPy after this: threads of its BLAS wait in busy loops, ten times
# the CPU time that the small matrices here need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

# not as a context manager: the hook must stay for the imports inside the test modules
install_import_hook("popinfer", "typecheck.checked")

from popinfer import precision  # noqa: E402
from popinfer.environment import jaxlib_version  # noqa: E402

LONGEST = ("tests/run/", "tests/infer/", "tests/sps/", "tests/oracles/")  # begin first: no worker waits
# Tests spend most of their time on compiling programs that run once or twice. LLVM without optimisations and
# the older of XLA's emitters of loops do it in a third of the time. ``--all`` compiles as users do.
# Newer ones (0.12) end the process at flags that they don't know, the older emitters' among them.
QUICKLY_COMPILED = "--xla_backend_optimization_level=0"
if jaxlib_version() < (0, 11):
    QUICKLY_COMPILED += " --xla_cpu_use_fusion_emitters=false"
# Each compiled program holds regions of memory. Linux lets a process have 65,530, and LLVM crashes there.
MOST_REGIONS = 40_000
LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all``."""
    parser.addoption("--all", action="store_true", help="run the slow tests and all fuzz examples, too")


def pytest_configure(config: pytest.Config) -> None:
    """Precision, the folder of compiled programs and hypothesis, before any test module is imported."""
    if getattr(config, "cache", None) is not None:  # absent with -p no:cacheprovider
        os.environ.setdefault("POPINFER_CACHE", str(config.cache.mkdir("jax")))
    precision.start(cache_dir=os.environ.get("POPINFER_CACHE"))
    if not config.getoption("all"):
        os.environ.setdefault("XLA_FLAGS", QUICKLY_COMPILED)
    hypothesis.settings.register_profile("default", max_examples=25)
    hypothesis.settings.register_profile("all", max_examples=100)
    hypothesis.settings.load_profile("all" if config.getoption("all") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out, keep the tests of a file together, and begin with what takes longest."""
    if not config.getoption("all") and not config.getoption("markexpr"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.stash[LEFT_OUT] = len(slow)
        config.hook.pytest_deselected(items=slow)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Place of a test's folder among those that take longest."""
    return next((i for i, folder in enumerate(LONGEST) if item.nodeid.startswith(folder)), len(LONGEST))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells how many tests it left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Every worker leaves the same tests out."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Say how many tests were left out."""
    left_out = config.stash.get(LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(f"{left_out} slow tests left out; --all runs them too")


@pytest.fixture(scope="module", autouse=True)
def few_regions():
    """Let go of compiled programs where a module leaves too many; those kept on disk come back."""
    yield
    regions = Path("/proc/self/maps")  # of Linux
    if regions.exists() and regions.read_bytes().count(b"\n") > MOST_REGIONS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def written(tmp_path, request):
    """Write a text into a file, by default the test module's ``FILE``, and give its path."""

    def write_text(text: str, name: str | None = None):
        path = tmp_path / (name or request.module.FILE)
        path.write_text(text)
        return path

    return write_text
