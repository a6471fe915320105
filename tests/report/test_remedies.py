"""What a verdict of NOT CONVERGED says to change: keys that exist, of the sampler that drew."""

import ast
import re
from pathlib import Path

import pytest
import synthetic

from popinfer.config.inference import NutsConfig, NutsExactConfig, SmcConfig
from popinfer.config.keys import key_names
from popinfer.report import gate, judge
from popinfer.report.checks import Check
from popinfer.report.remedies import remedy

FOLDER = Path(gate.__file__).parent
SECTIONS = {"nuts": NutsConfig, "nuts_exact": NutsExactConfig, "smc": SmcConfig}
# checks that a sampler's draws go through beside those of all
ONLY = {
    "nuts": {"Pareto k-hat", "Surrogate error", "Exact weights", "Region of the nodes", "Finite chains"},
    "smc": {"Tempering", "Moving particles", "Lineages"},
}
CHAINS = {"Moving chains", "R-hat", "Divergences", "E-BFMI", "Tree depth", "Finite density"}
OF_FILES = {"Separate chains", "Coordinates", "Weighted draws", "Proposals"}
KEY = re.compile(r"\b(?:sample|halos|kernels|fit|model)\.[a-z_]+")


def titles() -> set[str]:
    """Titles of all checks, as the gate's source has them."""
    found = {"Finite draws", "Coordinates"}  # defaults of arguments
    for name in ("gate.py", "gate_draws.py", "checks.py"):
        for node in ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            position = {"Check": 0, "check_worst": 0, "check_finite": 1}.get(getattr(node.func, "id", ""))
            if position is not None and len(node.args) > position:
                title = node.args[position]
                found |= {title.value} if isinstance(title, ast.Constant) else set()
    return found


def failed(title: str, measured: str = "1") -> Check:
    return Check(title, measured, "0", False, "It failed.")


def samplers_of(title: str) -> list[str]:
    for sampler, own in ONLY.items():
        if title in own:
            return [sampler]
    return ["nuts", "nuts_exact"] if title in CHAINS else ["nuts", "nuts_exact", "smc"]


def test_the_gates_checks_are_found():
    assert {"R-hat", "Bulk ESS", "Pareto k-hat", "Lineages", "Settled fit", "Finite draws"} <= titles()
    assert len(titles()) >= 20


@pytest.mark.parametrize("title", sorted(titles()))
def test_every_failed_check_names_a_key_of_its_sampler(title):
    for sampler in samplers_of(title):
        text = remedy(failed(title), sampler)
        if title in OF_FILES:
            assert "--fresh" in text
            continue
        keys = set(KEY.findall(text))
        assert keys or "priors in free" in text, text
        assert keys <= key_names()
        own = {key.partition(".")[2] for key in keys if key.startswith("sample.")} - {"kind"}
        assert own <= set(SECTIONS[sampler].model_fields), (sampler, own)


def test_what_was_not_stored_is_drawn_again():
    assert "--fresh" in remedy(failed("R-hat", "not stored"), "nuts")


def test_a_sampler_of_the_users_own_has_settings_of_its_own():
    for title in ("R-hat", "Bulk ESS", "Distinct draws", "Tree depth"):
        text = remedy(failed(title), "own")
        assert "your sampler" in text and not KEY.findall(text)


def test_the_verdict_ends_with_what_to_change():
    draws = synthetic.draws()
    draws["dust.av"] = draws["dust.av"] + [[0.0], [0.0], [1.0], [1.0]]
    verdict = judge(synthetic.chains(draws))
    assert not verdict.converged
    sentence = next(text for text in verdict.failures if text.startswith("R-hat"))
    assert sentence.endswith(
        "Raise sample.n_warmup and sample.n_draws; where maxima are apart, sample.kind: smc finds them."
    )
    assert sentence in str(verdict)
