"""Without a home folder, without a known user, with devices that JAX doesn't have, in another locale."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from popinfer import cli, environment

RUN_FILE = str(Path(__file__).parents[1] / "configs" / "sdss_quick.yaml")
# an unknown user, as in a container: no entry in the password file
NOBODY = (
    "import pwd, sys\n"
    "def unknown(*_):\n    raise KeyError('uid not found')\n"
    "pwd.getpwuid = unknown\n"
    "from popinfer.cli import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


def program(*arguments: str, code: str = NOBODY, **variables: str) -> subprocess.CompletedProcess:
    """Run the command line in an environment of these variables alone."""
    keep = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**keep, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=Path(__file__).parents[1],
    )


def test_unknown_user_without_home_gets_a_temporary_cache(tmp_path):
    # imports of everything that a report needs: Matplotlib, Astropy and ArviZ want a home folder
    code = (
        NOBODY.replace("sys.exit(", "code = ").replace("[1:]))", "[1:])")
        + "import popinfer.report; sys.exit(code)"
    )
    done = program("ssp", "info", code=code, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("popinfer-*"))  # removed again


def test_the_temporary_cache_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.tempfile, "tempdir", str(tmp_path))
    for name in ("POPINFER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/none")  # can't be made
    monkeypatch.setenv("POPINFER_CACHE", "")
    (line,) = environment.settle()
    assert line.startswith("the home folder /proc/none can't be used: compiled programs are kept in ")
    assert "set POPINFER_CACHE" in line
    assert environment.settle() == []  # and used from now on
    assert Path(os.environ["POPINFER_CACHE"]).parent == tmp_path


def test_unknown_user_with_a_cache(tmp_path):
    done = program("ssp", "info", POPINFER_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "Angstrom" in done.stdout


@pytest.mark.parametrize("variable", ["POPINFER_CACHE", "XDG_CACHE_HOME"])
def test_cache_that_is_a_file(monkeypatch, tmp_path, variable):
    (tmp_path / "taken").write_text("")
    for name in ("POPINFER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "taken"))
    assert environment.cache_folder() is None
    monkeypatch.setattr(environment.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("POPINFER_CACHE", os.environ.get("POPINFER_CACHE", ""))
    (line,) = environment.settle()
    assert f"{variable}={tmp_path / 'taken'} can't be used" in line


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("has_cache", [False, True])
def test_arviz_and_matplotlib_start_without_a_users_cache(variable, has_cache, tmp_path):
    (tmp_path / "taken").write_text("")
    code = "from popinfer.environment import settle; settle(); import arviz, matplotlib.pyplot"
    variables = {variable: str(tmp_path / "taken"), "TMPDIR": str(tmp_path)}
    if has_cache:
        variables["POPINFER_CACHE"] = str(tmp_path / "cache")
    done = program(code=code, PYTHONWARNINGS="ignore", **variables)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("platforms", ["cuda", "nonsense", "tpu"])
def test_devices_that_there_are_not(platforms, tmp_path):
    code = "import sys; from popinfer.cli import main; sys.exit(main(sys.argv[1:]))"
    variables = {"JAX_PLATFORMS": platforms, "POPINFER_CACHE": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = program("run", RUN_FILE, "--out", str(tmp_path / "out"), code=code, **variables)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"popinfer: JAX_PLATFORMS={platforms}: JAX has no such device here; "
        "'popinfer doctor' tells which there are"
    )
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_doctor_tells_which_devices_there_are(tmp_path):
    code = "import sys; from popinfer.cli import main; sys.exit(main(sys.argv[1:]))"
    cache = os.environ.get("POPINFER_CACHE", str(tmp_path))  # doctor computes something
    done = program("doctor", code=code, JAX_PLATFORMS="nonsense", POPINFER_CACHE=cache)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "JAX_PLATFORMS=nonsense: JAX has NO SUCH DEVICE here" in done.stdout
    listed = [line for line in done.stdout.splitlines() if line.startswith("device ")]
    assert len(listed) >= 2 and "NO SUCH" not in listed[1], listed


def test_jaxs_own_variables_that_it_cant_read(tmp_path):
    code = "import sys; from popinfer.cli import main; sys.exit(main(sys.argv[1:]))"
    done = program("ssp", "info", code=code, JAX_ENABLE_X64="maybe", POPINFER_CACHE=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("popinfer: JAX can't start: ") and "JAX_ENABLE_X64" in done.stderr


def test_latin_1_locale_prints_names_of_any_script(tmp_path):
    (tmp_path / "löwe-銀河.yaml").write_text("name: 3\n", encoding="utf-8")
    code = "import sys; from popinfer.cli import main; sys.exit(main(sys.argv[1:]))"
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    done = program("run", str(tmp_path / "löwe-銀河.yaml"), code=code, **variables)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert ".yaml:1: name: has to be a valid string" in done.stderr


def test_latin_1_locale_writes_what_it_reads(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from popinfer.report import RunSummary\n"
        "from popinfer.storage import write_sealed\n"
        "folder, name = Path(sys.argv[1]), 'M\\u2609 \\u03bb \\u9280'\n"
        "RunSummary(name, warnings=(name,)).write(folder / 's.json')\n"
        "assert RunSummary.read(folder / 's.json').warnings == (name,)\n"
        "write_sealed(folder / 'r.yaml', name.encode(), 'config')\n"
        "assert (folder / 'r.yaml').read_bytes().decode('utf-8').startswith(name)\n"
    )
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = program(str(tmp_path), code=code, POPINFER_CACHE=str(tmp_path), **variables)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_a_folder_that_isnt_theirs(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir(mode=stat.S_IRWXU)
    code = (
        "import os, sys\n"
        "from popinfer.errors import InputError\n"
        "from popinfer.run.folder import check_writable\n"
        "from pathlib import Path\n"
        "os.setuid(12345)\n"
        "try:\n    check_writable(Path(sys.argv[1]) / 'results')\n"
        "except InputError as error:\n    print(error)\n"
    )
    done = program(str(mine), code=code, POPINFER_CACHE=str(tmp_path))
    assert done.stdout.strip() == f"{mine}/results: can't be written (Permission denied)", done.stderr


def test_several_problems_are_a_line_each(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(
        Path(RUN_FILE).read_text(encoding="utf-8").replace("seed: 1", "seed: -1\nsed: 2"), encoding="utf-8"
    )
    assert cli.main(["run", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith(f"popinfer: {path}") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mock", RUN_FILE, "--out", "m.csv", "--seed", str(2**63)], "--seed"),
        (["mock", RUN_FILE, "--out", "m.csv", "--seed", "-1"], "--seed"),
        (["mock", RUN_FILE, "--out", "m.csv", "--seed", "1.5"], "--seed"),
        (["calibrate", RUN_FILE, "--seed", str(2**63)], "--seed"),
        (["mock", RUN_FILE, "--out", "m.csv", "--set", "dust.lg_av=nan"], "has to be a finite number"),
        (
            ["mock", RUN_FILE, "--out", "m.csv", "--set", "dust.f_unobscured=1.3"],
            "outside its domain, 0 to 1",
        ),
        (["mock", RUN_FILE, "--out", "m.csv", "--set", "dust.lg_aw=1"], "did you mean 'dust.lg_av'"),
        (["mock", RUN_FILE, "--out", "folder.csv"], "is a folder"),
        (["mock", RUN_FILE, "--out", "taken/m.csv"], "is a file"),
        (["mock", RUN_FILE, "--out", f"{'x' * 300}/m.csv"], "a name of 300 bytes"),
        (["run", RUN_FILE, "--out", "taken"], "is a file, results need a folder"),
        (["run", RUN_FILE, "--out", "taken/below/it"], "is a file, results need a folder"),
        (["run", RUN_FILE, "--out", "link"], "is a file, results need a folder"),
        (["run", RUN_FILE, "--out", "x" * 5000], "a name of 5000 bytes"),
        (["run", RUN_FILE, "--out", "/proc/results"], "--out /proc/results: can't be written"),
        (["run", RUN_FILE, "--out", "a\0b"], "null byte"),
        (["calibrate", RUN_FILE, "--out", "taken"], "is a file, results need a folder"),
        (["report", "x" * 5000], "File name too long"),
        (["run", "x" * 5000], "no such run file"),
    ],
)
def test_options_and_outputs_are_checked_before_anything_is_computed(
    arguments, says, tmp_path, monkeypatch, capsys
):
    from popinfer.run import prepare

    def never(*_args, **_kwargs):
        raise AssertionError("the catalog is read although the output can't be written")

    monkeypatch.setattr(prepare, "build_catalog", never)
    monkeypatch.setenv("POPINFER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "taken").write_text("")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    assert cli.main([*arguments, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line and len(line) < 500
    assert {p.name for p in tmp_path.iterdir()} <= {"taken", "folder.csv", "link", "cache"}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory")])
def test_out_of_memory_is_one_line(error, monkeypatch, capsys, tmp_path):
    from popinfer.run import prepare

    def fails(*_args, **_kwargs):
        raise error

    monkeypatch.setenv("POPINFER_CACHE", str(tmp_path))
    monkeypatch.setattr(prepare, "prepare", fails)
    assert cli.main(["run", RUN_FILE, "--quiet"]) == 2
    assert "use smaller halos.n_per_slice" in capsys.readouterr().err


def test_output_that_nobody_reads_to_its_end_is_no_error(tmp_path):
    """As ``popinfer filters | head -1``: not a word about it, and the code of a closed pipe."""
    words = [sys.executable, "-m", "popinfer", "filters"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        said, code = running.stderr.read(), running.wait()
    assert (code, said) == (141, "")
