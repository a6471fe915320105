"""Named random streams: what a key depends on, and that nothing in the package goes around them."""

import ast
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import kstest, qmc

from popinfer.random import fixed_key, numpy_generator, root_key, sobol, stream

PACKAGE = Path(__file__).resolve().parents[1] / "popinfer"
TREES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
KEY = root_key(1)


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_paths_that_read_alike_are_different_streams():
    paths = [
        *[("a", 1), ("a1",), ("a", "1"), ("a", "", "1"), ("a", 1, ""), (1, "a"), ("1", "a"), ("a",)],
        *[("a", "a"), ("number 1",), ("text 1",), (1,), ("1",), (11,), (1, 1), (-1,), (2**32 + 1,)],
        *[(2**64 + 1,), ("",)],
    ]
    assert len({bits(stream(KEY, *path)) for path in paths}) == len(paths)


def test_a_path_is_walked_name_by_name():
    assert bits(stream(KEY, "a", 2, "b")) == bits(stream(stream(stream(KEY, "a"), 2), "b"))
    assert bits(stream(KEY, np.int64(2))) == bits(stream(KEY, 2))


def test_streams_are_the_same_on_every_machine_and_in_every_version():
    """Stored results depend on these numbers."""
    assert bits(root_key(0)) == (2038455474, 1018838653)
    assert bits(stream(root_key(0), "halos", 3)) == (2807914441, 2222700037)


@pytest.mark.parametrize("name", [1.0, None, ("a",), b"a"])
def test_names_are_texts_and_whole_numbers(name):
    with pytest.raises(TypeError):
        stream(KEY, name)


def test_roots_are_as_many_as_seeds_however_large():
    seeds = [0, 1, 2, 2**31, 2**32, 2**32 + 1, 2**64, 2**64 + 1, 1_000_003]
    roots = {bits(root_key(seed)) for seed in seeds}
    assert len(roots) == len(seeds)
    assert bits(fixed_key(0)) not in roots
    assert bits(root_key(np.uint32(7))) == bits(root_key(7))


def test_neighbouring_seeds_steps_and_trials_never_meet():
    """Sums of seeds and offsets do: 1 + 1_000_003 is both a satellite of one trial and a central of the next."""
    numbers = (0, 1, 2, 3, 5, 17, 1009, 7919, 104_729, 1_000_003)
    keys = [
        bits(stream(root_key(seed), "trial", trial, "slice", step))
        for seed, trial, step in itertools.product(numbers, repeat=3)
    ]
    assert len(set(keys)) == len(keys)


def test_the_platforms_default_generator_changes_nothing():
    before = bits(root_key(4))
    with jax.default_prng_impl("rbg"):
        assert bits(root_key(4)) == before


def test_generators_repeat_and_are_uncorrelated():
    first, again = (numpy_generator(stream(KEY, "x")).random(5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    drawn = np.array([numpy_generator(stream(KEY, "x", i)).standard_normal(2000) for i in range(40)])
    correlation = np.corrcoef(drawn)[np.triu_indices(40, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
    assert kstest(drawn[:, 0], "norm").pvalue > 1e-3  # first numbers of different streams


def test_sobol_points_are_scipys_scrambled_ones():
    expected = qmc.Sobol(3, scramble=True, rng=numpy_generator(KEY)).random_base2(5)
    np.testing.assert_array_equal(sobol(KEY, 32, 3), expected)
    np.testing.assert_array_equal(sobol(KEY, 20, 3), expected[:20])
    assert not np.allclose(sobol(stream(KEY, "other"), 32, 3), expected)


def names_in(node):
    """Identifiers in an expression: names, attributes and keywords."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def seed_arithmetic(tree):
    """Lines where something named after a seed is added to, or otherwise counted with."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp | ast.AugAssign)
        and not isinstance(node.op, ast.BitOr)  # unions of types
        and any("seed" in name.lower() for name in names_in(node))
    ]


def own_sources(tree):
    """Lines that make random numbers without a stream's key."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            named = [alias.name for alias in node.names]
            if node.module == "random" or "qmc" in named or "default_rng" in named:
                found.append(node.lineno)
        if isinstance(node, ast.Import) and any(alias.name in ("random", "secrets") for alias in node.names):
            found.append(node.lineno)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.startswith(("np.random.", "numpy.random.", "qmc.")):
            found.append(node.lineno)
        if called in ("jax.random.key", "jax.random.PRNGKey", "random.key", "random.PRNGKey", "default_rng"):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_streams_are_the_only_source_of_random_numbers(path):
    assert seed_arithmetic(TREES[path]) == []
    assert path.name == "random.py" or own_sources(TREES[path]) == []


@pytest.mark.parametrize(
    "line",
    ["x = seed + 1", "f(config.seed * 2)", "seed += 3", "rng(self.base_seed - i)", "1009 * run.seed_of(c)"],
)
def test_arithmetic_on_seeds_would_be_seen(line):
    assert seed_arithmetic(ast.parse(line)) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "rng = np.random.default_rng(3)",
        "x = np.random.normal()",
        "s = qmc.Sobol(3)",
        "from scipy.stats import qmc",
        "from numpy.random import default_rng",
        "import random",
        "key = jax.random.key(3)",
        "key = jax.random.PRNGKey(0)",
    ],
)
def test_other_sources_would_be_seen(line):
    assert own_sources(ast.parse(line)) == [1]


def test_a_generators_type_is_no_source():
    assert own_sources(ast.parse("def f(rng: np.random.Generator) -> None: rng.random(3)")) == []
