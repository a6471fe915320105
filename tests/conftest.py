"""Every test runs in float64, with array shapes checked at run time."""

import jax
import pytest
from jaxtyping import install_import_hook

# not as a context manager: the hook must stay for the imports inside the test modules
install_import_hook("popinfer", "typecheck.checked")

from popinfer import precision  # noqa: E402

precision.start()


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Memory would otherwise grow by every program that any test compiled."""
    yield
    jax.clear_caches()
