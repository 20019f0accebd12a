"""What is said where the kernels cannot be loaded: what was found, and the command that fits how it was installed."""

import importlib.machinery
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from xlstm.backends.cpu import missing

ROOT = Path(__file__).parents[2]
OURS = f"_kernels{importlib.machinery.EXTENSION_SUFFIXES[0]}"
ABSENT = ModuleNotFoundError("No module named 'xlstm.backends.cpu._kernels'")
ANEW = "pip install --force-reinstall --no-deps --no-cache-dir"
BY_NAME = f"{ANEW} --no-binary xp-lstm xp-lstm"
WAIT = "if pip is installing it at this moment, start again when it is done; else"

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes an installation as pip leaves it; returns the folder where the kernels belong."""

    def make(origin: Any = None, files: tuple[str, ...] = (), record: str | None = "") -> Path:
        site = tmp_path / "site"
        folder = site / "xlstm" / "backends" / "cpu"
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).write_bytes(b"")
        info = site / "xp_lstm-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.4\nName: xp-lstm\nVersion: 0.1.0\n")
        if record is not None:
            (info / "RECORD").write_text(f"xlstm/__init__.py,,\nxlstm/backends/cpu/__init__.py,,\n{record}")
        if origin is not None:
            (info / "direct_url.json").write_text(json.dumps(origin))
        monkeypatch.syspath_prepend(site)
        return folder

    return make


# ---------------------------------------------------------------- no file


def test_nothing_was_built(install):
    assert missing.explain(ABSENT, install()) == (
        "the compiled kernels were not built when the package was installed (no compiler was found, or it failed), the "
        f"reference path runs: install GCC or Clang with C++, then {BY_NAME} (-v shows why a compiler that is there "
        "failed)"
    )


def test_what_was_installed_is_gone(install):
    """As between two steps of pip, or after somebody removed it: no compiler is missing."""
    folder = install(record=f"xlstm/backends/cpu/{OURS},,\n")
    assert missing.explain(ABSENT, folder) == (
        f"the compiled kernels were installed, but {OURS} is gone, the reference path runs: {WAIT} install it anew: "
        f"{BY_NAME}"
    )


def test_the_installation_is_not_whole(install, tmp_path):
    """pip writes its record last."""
    for folder in (install(record=None), tmp_path / "nowhere"):
        said = missing.explain(ABSENT, folder)
        assert said.startswith(f"the compiled kernels are missing in {folder}, where there is no whole installation of")
        assert f"the reference path runs: {WAIT} install it: pip install" in said


def test_they_came_while_the_process_ran(install):
    assert missing.explain(ABSENT, install(files=(OURS,))) == (
        "the compiled kernels were installed after this process had looked for them, the reference path runs: start it "
        "again"
    )


@pytest.mark.parametrize("name", ["_kernels.cpython-38-x86_64-linux-gnu.so", "_kernels.cp38-win_amd64.pyd"])
def test_they_are_of_another_python(install, name):
    assert missing.explain(ABSENT, install(files=(name,), record=f"xlstm/backends/cpu/{name},,\n")) == (
        f"the compiled kernels were built for another Python or another processor ({name}; this one loads {OURS}), the "
        f"reference path runs: build them with this Python: {BY_NAME}"
    )


# ---------------------------------------------------------------- which command


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, BY_NAME),
        ({"url": "file:///d/xp_lstm-0.1.0-cp311-cp311-linux_x86_64.whl", "archive_info": {}}, BY_NAME),
        ({"url": "file:///d/xp_lstm-0.1.0.tar.gz", "archive_info": {}}, f"{ANEW} file:///d/xp_lstm-0.1.0.tar.gz"),
        ({"url": "file:///my%20sources/xp", "dir_info": {}}, f"{ANEW} '/my sources/xp'"),
        (
            {"url": "https://host/xp.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            f"{ANEW} 'xp-lstm @ git+https://host/xp.git@abc'",
        ),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the paths are those of other systems")
def test_the_command_fits_where_the_package_came_from(install, origin, command):
    assert f"then {command} (-v" in missing.explain(ABSENT, install(origin))


@pytest.mark.skipif(os.name == "nt", reason="the paths are those of other systems")
def test_a_checkout_is_installed_as_one(install, tmp_path):
    checkout = tmp_path / "my checkout"
    folder = checkout / "backends" / "cpu"
    folder.mkdir(parents=True)
    (checkout / "pyproject.toml").write_text("")
    assert missing.explain(ABSENT, folder).endswith(f"install it: pip install -e '{checkout}'")  # pip knows nothing
    install({"url": checkout.as_uri(), "dir_info": {"editable": True}})
    said = missing.explain(ABSENT, folder)
    assert "were not built when the package was installed" in said
    assert f"then pip install -e '{checkout}' (-v" in said


# ---------------------------------------------------------------- a file that cannot be loaded

# What loaders say, as they say it.
SAID = {
    "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /s/_kernels.cpython-311.so)": (
        "were built on a newer system and need its GLIBC_2.38"
    ),
    "/env/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by /s/_kernels.cpython-311.so)": (
        "need GLIBCXX_3.4.32 of a newer compiler's libraries"
    ),
    "/s/_kernels.cpython-311-x86_64-linux-gnu.so: undefined symbol: _PyErr_Gone": (
        "do not fit this Python or its libraries, which have no _PyErr_Gone"
    ),
    "dlopen(/s/_kernels.cpython-311-darwin.so, 0x0002): symbol not found in flat namespace '_omp_get_num_threads'": (
        "do not fit this Python or its libraries, which have no _omp_get_num_threads"
    ),
    "Error relocating /s/_kernels.cpython-311-x86_64-linux-musl.so: __memcpy_chk: symbol not found": (
        "do not fit this Python or its libraries, which have no __memcpy_chk"
    ),
    "/s/_kernels.so: wrong ELF class: ELFCLASS32": f"were built for another processor than {platform.machine()}",
    "/s/_kernels.cpython-311.so: cannot open shared object file: No such file or directory": (
        f"were built for another processor than {platform.machine()}"
    ),
    "dlopen(/s/_kernels.so, 0x0002): tried: '/s/_kernels.so' (mach-o file, but is an incompatible architecture (have "
    "'x86_64', need 'arm64'))": f"were built for another processor than {platform.machine()}",
    "libgomp.so.1: cannot open shared object file: No such file or directory": (
        "need the library libgomp.so.1, which is not there"
    ),
    "Error loading shared library libgomp.so.1: No such file or directory (needed by /s/_kernels.so)": (
        "need the library libgomp.so.1, which is not there"
    ),
    "/s/_kernels.cpython-311-x86_64-linux-gnu.so: file too short": (
        "are in a file that is damaged, or not yet written to its end"
    ),
    "dynamic module does not define module export function (PyInit__kernels)": (
        "are in a file that is damaged, or not yet written to its end"
    ),
    "something that nobody has seen": "could not be loaded",
}
FIRST = {"need the library": "install that library, or ", "are in a file": f"{WAIT} "}


@pytest.mark.parametrize("text", SAID)
def test_what_the_loader_said_is_told_apart(install, text):
    first = next((first for found, first in FIRST.items() if SAID[text].startswith(found)), "")
    assert missing.explain(ImportError(text), install()) == (
        f"the compiled kernels {SAID[text]} ({text}), the reference path runs: {first}build them here: {BY_NAME}"
    )


def header(machine: int = 62, bits: int = 2) -> bytes:
    """The first bytes of a shared library of some processor, for Linux."""
    fields = [(3, 2), (machine, 2), (1, 4), (0, 24), (0, 4), (64, 2), (56, 2), (0, 2), (64, 2), (0, 2), (0, 2)]
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + b"".join(n.to_bytes(size, "little") for n, size in fields)


@pytest.mark.skipif(sys.platform != "linux", reason="the loader is that of Linux")
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (header(machine=243) + bytes(4096), "were built for another processor"),  # RISC-V
        (header(bits=1) + bytes(4096), "were built for another processor"),
        (header()[:20], "are in a file that is damaged, or not yet written"),
        (b"", "are in a file that is damaged, or not yet written"),
        (b"<html>" * 1000, "are in a file that is damaged, or not yet written"),
    ],
)
def test_real_files_that_cannot_be_loaded(tmp_path, content, found):
    """The whole package with such a file in it: it is imported, runs as array code, and says why."""
    hidden = shutil.ignore_patterns("__pycache__", "*.so", "*.h", "*.cpp")
    shutil.copytree(ROOT / "xlstm", tmp_path / "xlstm", ignore=hidden)
    shutil.copytree(ROOT / "backends", tmp_path / "xlstm" / "backends", ignore=hidden)
    (tmp_path / "xlstm" / "backends" / "cpu" / OURS).write_bytes(content)
    program = (
        "import json, sys, xlstm; before = 'importlib.metadata' in sys.modules; layer = xlstm.LSTM(2, 3); "
        "print(json.dumps([xlstm.__file__, before, layer.kernels, xlstm.devices()[0].about_kernels]))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XLSTM_")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    file, before, kernels, about = json.loads(done.stdout)
    assert Path(file).is_relative_to(tmp_path)
    assert not before, "importing the package looks for no installation"
    assert kernels == "reference"
    assert re.match(f"the compiled kernels {found}.* \\(.*\\), the reference path runs: .*build them here: pip", about)
