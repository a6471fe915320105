"""Importing popinfer leaves JAX's settings alone; only `precision.start` changes them."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from popinfer import environment, precision
from popinfer.errors import InputError

IMPORT_ALL = """
import importlib, pkgutil, jax
import popinfer
names = [getattr(popinfer, name) for name in popinfer.__all__]
assert set(popinfer.__all__) == set(popinfer._HOMES)
assert not hasattr(popinfer, "no_such_name")
assert not jax.config.read("jax_enable_x64"), "a public name switched float64 on"
for module in pkgutil.walk_packages(popinfer.__path__, "popinfer."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert not jax.config.read("jax_enable_x64"), "an import switched float64 on"
assert jax.config.jax_default_matmul_precision is None, "an import chose how matrices are multiplied"
from threadpoolctl import threadpool_info
assert {pool["num_threads"] for pool in threadpool_info()} == {2}, "an import changed threads of BLAS"
from popinfer.precision import start
start()
assert {pool["num_threads"] for pool in threadpool_info()} == {1}
assert jax.config.read("jax_enable_x64")
assert jax.config.jax_default_matmul_precision == "highest"
"""


def test_only_start_changes_settings():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_keep_precision_restores_the_switch():
    assert jax.config.read("jax_enable_x64")
    try:
        jax.config.update("jax_enable_x64", False)
        with precision.keep_precision():
            jax.config.update("jax_enable_x64", True)
        assert not jax.config.read("jax_enable_x64")
    finally:
        jax.config.update("jax_enable_x64", True)


def test_keep_precision_restores_after_an_error():
    try:
        with precision.keep_precision():
            jax.config.update("jax_enable_x64", False)
            raise KeyError
    except KeyError:
        pass
    assert jnp.zeros(()).dtype == jnp.float64


def test_this_jaxlib_computes_right_sums():
    assert precision.sums_are_right()


FIRST_COMPUTED = """
import jax.numpy as jnp
jnp.ones(3).block_until_ready()
import popinfer
from popinfer.environment import jaxlib_version
from popinfer.errors import InputError
try:
    popinfer.start()
    print(popinfer.precision.sums_are_right())
except InputError as error:
    print("import popinfer before JAX computes" in str(error) and not popinfer.precision.sums_are_right())
"""


def test_a_compiler_that_sums_wrongly_is_told_not_to_or_refused():
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    run = partial(subprocess.run, capture_output=True, text=True, check=True, env=clean)
    done = run([sys.executable, "-c", FIRST_COMPUTED])
    assert done.stdout.strip() == "True"
    done = run([sys.executable, "-c", f"import popinfer\n{FIRST_COMPUTED}"])
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("version", [(0, 10, 1), (0, 10, 2), (0, 11, 0), (0, 12, 0)])
@pytest.mark.parametrize("flags", [None, "--xla_other=1", "--xla_cpu_experimental_ynn_fusion_type=-reduce"])
def test_only_versions_that_need_it_are_told(monkeypatch, version, flags):
    monkeypatch.setattr(environment, "jaxlib_version", lambda: version)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if flags is not None:
        monkeypatch.setenv("XLA_FLAGS", flags)
    environment.compile_right_sums()
    told = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "ynn" in flag]
    needs = version in ((0, 10, 2), (0, 11, 0))
    if flags is not None:
        assert os.environ["XLA_FLAGS"].startswith(flags)
    asked = flags is not None and "ynn" in flags
    assert told == ([flags] if asked else ["--xla_cpu_experimental_ynn_fusion_type="] if needs else [])


@pytest.mark.parametrize("version", [(0, 10, 1), (0, 10, 2), (0, 12, 0)])
@pytest.mark.parametrize("right", [True, False])
def test_a_jaxlib_that_sums_wrongly_is_refused(monkeypatch, version, right):
    monkeypatch.setattr(precision, "jaxlib_version", lambda: version)
    monkeypatch.setattr(precision, "sums_are_right", lambda: right)
    if right or version == (0, 10, 1):
        precision.start(cache_dir=jax.config.jax_compilation_cache_dir)
    else:
        with pytest.raises(InputError, match="another version of jaxlib"):
            precision.start(cache_dir=jax.config.jax_compilation_cache_dir)
