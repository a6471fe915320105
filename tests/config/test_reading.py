"""YAML as people write it: read as meant, or refused in one line with its number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from popinfer.config import load_config
from popinfer.config.reading import read_yaml
from popinfer.errors import InputError

SEED, FAINT, NAME = "seed: 1", "faint_mag: 17.5", "name: test"


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        load_config(path)
    assert len(error.value.lines) == 1 and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),  # a text in YAML 1.1
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("+3", 3),
        ("no", "no"),  # false in YAML 1.1
        ("on", "on"),
        ("Y", "Y"),
        ("true", True),
        ("~", None),
        ("1:30", "1:30"),  # 90 in YAML 1.1
        ("2024-02-30", "2024-02-30"),  # no date
        ("0000-00-00", "0000-00-00"),
        ("0b_", "0b_"),  # a ValueError of PyYAML's own loader
        ("'1_000'", "1_000"),
        ("g_2024", "g_2024"),
        ("_1", "_1"),
        ('"17"', "17"),
        ("!!str 17", "17"),
        ("!!int 17", 17),
        ("!!float 17", 17),
        ("=", "="),
        ("a#b", "a#b"),
        ("\u201cx\u201d", "\u201cx\u201d"),  # a word processor's quotation marks
    ],
)
def test_scalars(tmp_path, text, value):
    path = tmp_path / "a.yaml"
    path.write_text(f"first: 0\nkey: {text}\n", encoding="utf-8")
    content, lines = read_yaml(path)
    assert content["key"] == value and type(content["key"]) is type(value)
    assert lines[("key",)] == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((SEED, "seed: !!int foo"), "run.yaml:2: seed: 'foo' is no !!int"),
        ((SEED, "seed: !!bool foo"), "run.yaml:2: seed: 'foo' is no !!bool"),
        ((SEED, "seed: !!int true"), "run.yaml:2: seed: 'true' is no !!int"),
        ((SEED, "seed: !!python/object/apply:os.system [ls]"), "run.yaml:2: seed: the tag "),
        ((SEED, "seed: !!binary aGk="), "run.yaml:2: seed: the tag "),
        ((SEED, "seed: !!timestamp 2024-02-30"), "run.yaml:2: seed: the tag "),
        ((SEED, "seed: !int 3"), "run.yaml:2: seed: the tag !int has no meaning here"),
        ((SEED, "seed: !!set {a, b}"), "the tag tag:yaml.org,2002:set has no meaning"),
        ((SEED, "seed: 010"), "run.yaml:2: seed: 010 starts with a zero"),
        ((SEED, "seed: 1_000"), "run.yaml:2: seed: 1_000 is a number to some programs and a text to others"),
        ((SEED, "seed: 0x10"), "run.yaml:2: seed: 0x10 is a number to some programs"),
        ((SEED, "seed: 0o17"), "run.yaml:2: seed: 0o17 is a number to some programs"),
        ((FAINT, "faint_mag: 1_7.5"), "catalog.selection.faint_mag: 1_7.5 is a number to some programs"),
        (("error: eg", "error: 0x1"), "catalog.bands.g.error: 0x1 is a number to some programs"),
        (("redshift: zs", "redshift: zs\n  missing: [-9_999]"), "catalog.missing.0: -9_999 is a number to"),
        ((FAINT, "faint_mag: '1_7'"), "selection.faint_mag: has to be a valid number (given: '1_7')"),
        ((FAINT, "faint_mag: 17,5"), "unknown key 'catalog.selection.5'; the decimal mark is a point"),
        ((SEED, f"seed: {'9' * 5000}"), "run.yaml:2: seed: a number of 5,000 digits"),
        ((SEED, f"seed: {'[' * 3000}"), "run.yaml:2: not valid YAML: more than 20 levels"),
        ((SEED, f"seed: {'[' * 3000}{']' * 3000}"), "more than 20 levels"),
        ((SEED, f"seed: {'{a: ' * 3000}{'}' * 3000}"), "more than 20 levels"),
        ((SEED, f"seed: {'- ' * 3000}x"), "run.yaml:2: not valid YAML"),
        ((SEED, "seed: &a [*a]"), "run.yaml:2: seed.0: an alias that contains itself"),
        ((SEED, "seed: &a {b: *a}"), "run.yaml:2: seed.b: an alias that contains itself"),
        ((SEED, "seed: *nothing"), "run.yaml:2: not valid YAML: found undefined alias 'nothing'"),
        ((SEED, "seed: 1\nseed: 2"), "run.yaml:3: key 'seed' is given twice, first on line 2"),
        ((SEED, "seed:\t1\n\tx: 2"), "run.yaml:2: not valid YAML: a tab where only blanks may be"),
        ((SEED, "seed: 1\n---\nseed: 2"), "run.yaml:3: not valid YAML: a second document begins"),
        ((SEED, "seed: 1\n? [a, b]\n: 2"), "run.yaml:3: a key has to be a name"),
        ((SEED, "seed: 1\n'': 2"), "run.yaml:3: a key is empty"),
        ((SEED, "seed: 1\n<<: 2"), "run.yaml:3: << takes a mapping"),
        ((SEED, 'seed: "\\0"'), "run.yaml:2: seed: has a text that is too long or holds characters"),
        ((SEED, "seed: 1, faint: {"), "mapping values are not allowed here"),
        ((SEED, "seed: 1\n  extra: 2"), "run.yaml:3: not valid YAML: mapping values are not allowed here"),
        ((SEED, "seed:1"), "run.yaml:2: not valid YAML: a key has to end in a colon, and a blank"),
        (
            (SEED, "seed: 'a"),
            "run.yaml:2: not valid YAML: a quotation mark opens a text here that is never closed",
        ),
        ((SEED, "seed: @1"), "run.yaml:2: not valid YAML"),
        ((SEED, "%seed: 1"), "not valid YAML"),
        (("{loc: -0.4, scale", "{loc:-0.4, scale"), "'free.dust.lg_av.loc:-0.4'; a blank has to follow"),
        ((SEED, "\u00a0seed: 1"), "unknown key"),  # a no-break space, from a web page
    ],
)
def test_surprises_are_refused_in_one_line(refused, change, says):
    lines = refused(change)
    assert says in lines[0]
    assert all(len(line) < 300 for line in lines)


@pytest.mark.parametrize("band", ["y", "n", "NO", "on", "off", "yes", "true", "null", "1", "F606W", "i'"])
def test_bands_may_have_any_plain_name(read, band):
    config = read(
        ("    g: {", f"    {band}: {{"),
        ("features: [g-r, r]", f"features: ['{band.replace(chr(39), chr(39) * 2)}-r']"),
    )
    assert list(config.catalog.bands) == [band, "r"]
    assert config.features == [f"{band}-r"]


def test_names_survive_being_written_and_read(read, tmp_path):
    config = read(("    g: {", "    on: {"), ("[g-r, r]", "['on-r', 'on']"))
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(again) == config


def test_numbers_in_quotes_are_numbers(read):
    assert read((FAINT, "faint_mag: '17.25'")).catalog.selection.faint_mag == 17.25
    assert read((SEED, "seed: 1e3")).seed == 1000


def test_merged_mappings(read):
    config = read(
        ("    g: {filter: sdss_g0,", "    g: &band {filter: sdss_g0, unit: nmgy,"),
        ("    r: {filter: sdss_r0,", "    r: {<<: *band, filter: sdss_r0,"),
    )
    assert config.catalog.bands["r"].unit == "nmgy"
    assert config.catalog.bands["r"].filter == "sdss_r0"


def test_of_several_merged_mappings_the_first_counts(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc: {<<: [*a, *b], z: 4}\n", encoding="utf-8")
    assert read_yaml(path)[0]["c"] == {"x": 1, "y": 3, "z": 4}


def test_aliases_that_stand_for_millions_of_entries(tmp_path):
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(levels), encoding="utf-8")
    assert "aliases stand for more than 20000 entries" in refusal(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"just text\n", "mapping of sections"),
        (b"- name: x\n", "mapping of sections"),
        (b"name: x\n\0\n", ":2: isn't text (character U+0000)"),
        (b"\x89PNG\r\n\x1a\n\0\0", ":1: isn't text (byte 0x89)"),
        (b"\x1f\x8b\x08\0" + b"\xff" * 30, "isn't text"),
        ("name: é\n".encode("latin-1"), ":1: isn't UTF-8; save the file in this encoding (byte 0xe9)"),
        (b"a: 1\n" * 60_000, "has more than 256 kB, too much for a run file"),
        (b"\xff\xfe\xff", "isn't"),
        (("[" + "1, " * 50_000 + "]").encode(), "too many entries"),
        (b"name: \x1b[31mred\n", ":1: isn't text (character U+001B)"),
    ],
)
def test_files_that_are_no_run_files(tmp_path, content, says):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    message = refusal(path)
    assert says in message and str(path) in message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_marked_encodings(tmp_path, read, encoding):
    read()
    text = (tmp_path / "run.yaml").read_text(encoding="utf-8")
    text = text if encoding in ("utf-8-sig", "utf-16") else f"\ufeff{text}"
    (tmp_path / "marked.yaml").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert load_config(tmp_path / "marked.yaml") == read()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "no such run file"),
        ("none.yaml", "none.yaml: no such run file"),
        (".", "it is a folder"),
        ("x" * 5000, "no such run file"),
        ("a\0b", "no such run file"),
        ("~nobody_of_this_name/run.yaml", "the home folder of '~nobody_of_this_name' isn't known"),
    ],
)
def test_paths_that_cant_be_read(tmp_path, monkeypatch, path, says):
    monkeypatch.chdir(tmp_path)
    message = refusal(path)
    assert says in message and len(message) < 500


def test_a_file_of_many_gigabytes_isnt_read(tmp_path):
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(2**33)  # sparse: takes no space
    assert "too much for a run file" in refusal(path)


def test_a_pipe_is_read(tmp_path, read):
    read()
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["cp", str(tmp_path / "run.yaml"), str(fifo)])
    assert load_config(fifo) == read()
    assert writer.wait() == 0


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_any_locale_reads_utf8(tmp_path, read, locale):
    read((NAME, "name: test  # Å, é"), ("{filter: sdss_g0, value: g,", "{filter: sdss_g0, value: größe,"))
    code = (
        "import sys; from popinfer.config import load_config\n"
        "assert load_config(sys.argv[1]).catalog.bands['g'].value == 'gr\\u00f6\\u00dfe'\n"
    )
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run.yaml")], check=True, env=environment)


def test_home_is_expanded_in_every_path(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read(
        ("path: sdss_mgs", "path: ~/a.fits"),
        ("filter: sdss_g0", "filter: ~/g.txt"),
        ("model: {", "model: {ssp: ~/grid.h5, "),
        (
            "features:",
            "joint: [{kind: mass_function, path: ~/m.csv, redshift: 0.05, covariance: ~/c.txt}]\nfeatures:",
        ),
        (
            "  selection:",
            "  cuts: [{kind: completeness, band: r, path: ~/c.txt}, "
            "{kind: function, path: ~/f.py, name: f, bands: [r]}]\n  selection:",
        ),
    )
    paths = [config.catalog.path, config.catalog.bands["g"].filter, config.model.ssp, config.joint[0].path]
    paths += [config.joint[0].covariance, *(cut.path for cut in config.catalog.cuts)]
    assert [Path(path).parent for path in paths] == [tmp_path] * 7


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("~nobody_of_this_name/a.fits", "the home folder of '~nobody_of_this_name' isn't known"),
        ("x" * 4900, "no file has a path of 4900 characters"),
        ("/" + "y" * 300, "no file has a path of 301 characters"),
        ('""', "catalog.path: is empty"),
    ],
)
def test_paths_that_no_file_can_have(refused, path, says):
    (line,) = refused(("path: sdss_mgs", f"path: {path}"))
    assert line.startswith("run.yaml:4: catalog") and says in line and len(line) < 400


def test_checking_needs_none_of_the_slow_packages():
    code = (
        "import sys; from popinfer.config import load_config\n"
        "load_config(sys.argv[1])\n"
        "slow = {'diffstar', 'diffmah', 'astropy', 'pandas', 'h5py', 'matplotlib', 'arviz'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    file = Path(__file__).parents[2] / "configs" / "sdss.yaml"
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)
