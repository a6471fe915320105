"""The component of docs/components.md: declared, tried, and chosen by a run file."""

import inspect
import re
from pathlib import Path

import yaml

from popinfer.components import ROLES, load_component, role_base
from popinfer.config import load_config
from popinfer.run.params import parameter_table
from popinfer.testing import check_component

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


CALLS = "What a component of each role is called with"


def test_the_table_lists_all_roles_and_kinds():
    kinds, _, _ = PAGE.partition(CALLS)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", kinds, flags=re.MULTILINE))
    assert set(rows) == set(ROLES)
    for role, place in ROLES.items():
        named = re.findall(r"`(\w+)`", rows[role].partition("(setting")[0])
        assert named == [*place.kinds, *(["none"] if place.optional else [])], role


def test_calls_are_those_of_the_roles():
    _, _, calls = PAGE.partition(CALLS)
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)`", calls, flags=re.MULTILINE))
    assert set(rows) == set(ROLES)
    for role, arguments in rows.items():
        wanted = [name for name in inspect.signature(role_base(role).__call__).parameters if name != "self"]
        assert arguments.split(", ") == wanted, role


def test_the_documented_component_is_used_by_a_run_file_beside_it(tmp_path):
    (tmp_path / "my_physics.py").write_text(blocks("python")[0], encoding="utf-8")
    check_component(load_component("metallicity", f"{tmp_path / 'my_physics.py'}:Saturating"))
    content = yaml.safe_load((ROOT / "configs" / "sdss_quick.yaml").read_text(encoding="utf-8"))
    stated = yaml.safe_load(blocks("yaml")[1])
    content["model"] = stated["model"] | {"fixed": {"metallicity.knee": 10.2}}
    content["free"] = stated["free"] | {"dust.lg_av": {}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    table = parameter_table(load_config(tmp_path / "run.yaml"))
    assert re.search(r"^metallicity.top +free +normal\(-1.65, 0.15\)", table, flags=re.MULTILINE)
    assert re.search(r"^metallicity.knee +fixed  10.2 ", table, flags=re.MULTILINE)


def test_the_documented_sections_are_right(tmp_path):
    content = yaml.safe_load((ROOT / "configs" / "sdss_quick.yaml").read_text(encoding="utf-8"))
    content |= yaml.safe_load(blocks("yaml")[0])
    content["halos"].pop("pilot", None)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    config = load_config(tmp_path / "run.yaml")
    assert config.free["dust_law.delta"].prior_of() is None
    assert config.model.component("birth_cloud", ("g",)).lg_age_birth == -2.3
