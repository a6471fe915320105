"""Every test runs in float64, with array shapes checked at run time.

Programs that take a second to compile are kept in pytest's cache folder: modules compile many of them again,
and so does every later session. ``POPINFER_CACHE`` chooses another folder.
"""

import os

import jax
import pytest
from jaxtyping import install_import_hook

# not as a context manager: the hook must stay for the imports inside the test modules
install_import_hook("popinfer", "typecheck.checked")

from popinfer import precision  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Precision and the folder of compiled programs, before any test module is imported."""
    if getattr(config, "cache", None) is not None:  # absent with -p no:cacheprovider
        os.environ.setdefault("POPINFER_CACHE", str(config.cache.mkdir("jax")))
    precision.start(cache_dir=os.environ.get("POPINFER_CACHE"))


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Memory would otherwise grow by every program that any test compiled."""
    yield
    jax.clear_caches()
