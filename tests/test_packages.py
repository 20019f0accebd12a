"""What pip gets: the source distribution and the wheel, built offline and without a compiler; and what CI installs."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".ci", ".github", "backends", "benchmarks", "docs", "tests", "xlstm")
FILES = (
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md", "SECURITY.md"),
    *("pyproject.toml", "setup.py"),
)
KERNELS = f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
LEFTOVERS = [
    "build/lib/xlstm/gone.py",
    "xlstm/__pycache__/lstm.cpython-311.pyc",
    f"backends/cpu/{KERNELS}",
    "tests/.hypothesis/examples/0",
    "tests/names.held-out.csv",
    "names.xlstm",
    ".gitignore",
]
"""What lies about in a folder that is worked in, and belongs into neither."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the sources, with leftovers; and `dist/` with what was built from it."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools builds the packages")
    copy = tmp_path_factory.mktemp("packages") / "sources"
    copy.mkdir()
    hidden = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", ".hypothesis", ".pytest_cache", "*.held-out.csv")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=hidden)
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    (copy.parent / "files").write_text("\n".join(files_in(copy)))
    for name in LEFTOVERS:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("")
    build("build_sdist", copy)
    with tarfile.open(next((copy / "dist").glob("*.tar.gz"))) as archive:
        for member in filter(tarfile.TarInfo.isfile, archive.getmembers()):
            file = copy.parent / "unpacked" / member.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.extractfile(member).read())
    return copy.parent


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def build(hook: str, folder: Path) -> None:
    """As pip does without build isolation, with a compiler that always fails."""
    python(f"from setuptools import build_meta; build_meta.{hook}('dist')", folder)


def python(program: str, folder: Path, *arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, env={**kept, "CC": "false", "CXX": "false"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unpacked(folder: Path) -> Path:
    (only,) = (folder / "unpacked").iterdir()
    return only


def test_the_source_distribution_holds_the_sources_and_nothing_else(folder):
    """All of them: the tests run in it, and they read the documentation and the benchmarks, too."""
    made = {"PKG-INFO", "setup.cfg"}
    found = [name for name in files_in(unpacked(folder)) if name not in made and ".egg-info/" not in name]
    assert found == (folder / "files").read_text().split("\n")


def test_the_wheel_is_built_from_it_without_a_compiler_and_holds_the_package_alone(folder):
    source = unpacked(folder)
    for where in (source, folder / "sources"):  # the latter with its leftovers
        shutil.rmtree(where / "dist", ignore_errors=True)
        build("build_wheel", where)
        (wheel,) = (where / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            archive.extractall(where / "installed")
        modules = {path.relative_to(source).as_posix() for path in (source / "xlstm").rglob("*.py")}
        modules |= {f"xlstm/{path.relative_to(source).as_posix()}" for path in (source / "backends").rglob("*.py")}
        data = {"xlstm/py.typed", "xlstm/data/README.md", "xlstm/data/census-first-names-1990.csv"}
        # The kernels of GPUs are compiled where they run.
        kernels = (source / "backends" / "cuda" / "kernels").iterdir()
        data |= {f"xlstm/backends/cuda/kernels/{path.name}" for path in kernels}
        info = {name.partition("/")[2] for name in names if ".dist-info/" in name}
        assert {name for name in names if ".dist-info/" not in name} == modules | data
        assert info == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}


def test_what_it_installs_runs_and_says_why_there_are_no_kernels(folder, tmp_path):
    source = unpacked(folder)
    build("build_wheel", source)
    with zipfile.ZipFile(next((source / "dist").glob("*.whl"))) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import xlstm; from xlstm.backends import cpu; "
        "print(xlstm.__file__); print(xlstm.LSTM(2, 3, device='cpu').kernels); print(cpu.why_not())"
    )
    file, kernels, reason = python(program, tmp_path, str(tmp_path)).splitlines()
    assert Path(file).resolve().is_relative_to(tmp_path.resolve())
    assert kernels == "reference"
    if sys.platform != "win32":
        assert reason.startswith("the compiled kernels were not built when the package was installed")
        assert "--no-binary xp-lstm xp-lstm" in reason


@pytest.mark.skipif(sys.platform == "win32", reason="there are no kernels to build")
def test_kernels_of_an_earlier_version_go_where_new_ones_cannot_be_built(folder):
    earlier = unpacked(folder) / "backends" / "cpu" / KERNELS
    earlier.write_text("")
    python("exec(open('setup.py').read())", unpacked(folder), "build_ext", "--inplace")
    assert not earlier.exists()


# ---------------------------------------------------------------- what CI installs


@pytest.mark.parametrize(("locked", "extra"), [("dev", "dev"), ("oldest", "dev"), ("test", "test"), ("docs", "docs")])
def test_what_an_extra_needs_is_locked(locked, extra):
    """Each by one version and the hashes of its files, within the bounds: else .ci/lock is to be run again."""
    tomllib = pytest.importorskip("tomllib", reason="comes with Python 3.11")
    requirements = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / ".ci" / "locked" / f"{locked}.txt").read_text(encoding="utf-8")
    pinned: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=\S)", text.rstrip()):
        first, *hashes = block.split("\n")
        name, version = re.fullmatch(r"([a-z0-9._-]+)==(\S+)( ;.+)? \\", first).groups()[:2]
        assert hashes
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)
        pinned.setdefault(name, []).append(version)
    extras = project["optional-dependencies"]
    lines = [line for line in extras[extra] if not line.startswith("xp-lstm")]
    lines += [*project["dependencies"], *(extras["test"] if extra == "dev" else []), "setuptools>=77"]
    for line in lines:
        wanted = requirements.Requirement(line)
        assert wanted.name in pinned, line
        assert all(version in wanted.specifier for version in pinned[wanted.name]), line


def test_actions_are_pinned_by_commit():
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    used = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if " uses: " in line]
    assert used
    for line in used:
        assert re.search(r" uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line
