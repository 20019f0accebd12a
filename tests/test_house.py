"""The order of the house: which file may import which, what is public, and what is installed."""

import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import xlstm
from xlstm import backends

ROOT = Path(__file__).resolve().parent.parent
LIBRARY, BACKENDS = ROOT / "xlstm", ROOT / "backends"
SOURCES = sorted([*LIBRARY.rglob("*.py"), *BACKENDS.rglob("*.py")])

# The road from a sequence to a classifier, from its foundations on: a file imports from earlier lines alone.
ROAD = """
namespace messages headers packed host ondevice arrays checks registry seeds
labels quantities steplabels
names labelsets numeric nested blocks
series dataset sequences channels columns
spelling
guesses
interrupts sides data files foreign extras
sources moments
quotation
lines tables
readers
cells
params encode lossrows
residuals
losses head optim readout embedding sampling
orthogonal
stack trials
trusted
prepared convert checkpoint
layerfile
exchange
recurrent
layers batch
model tasks
feed
history
progress
callbacks
tally
train
fitted
buffer survey
batchwise
stream
estimators
onnx
inspection measures
plots reports
gradpair
gradcheck
__init__
bench cli
__main__
"""
MATHEMATICS = ("cells", "head", "losses", "lossrows", "namespace", "optim", "readout", "residuals")
LATE = {
    "array_api_compat", "awkward", "cupy", "cupyx", "h5py", "keras", "matplotlib", "onnx", "pandas", "polars",
    "pyarrow", "sklearn", "torch",
}  # fmt: skip
"""Imported when they are needed, never with `import xlstm`."""
LATE_INSIDE = {
    ("backends", "xlstm.backends.cpu.missing"): "only where there are no kernels, to say why",
    ("backends", "xlstm.backends.cuda.fused"): "only where a GPU works",
    ("backends", "xlstm.backends.cuda.cudnn"): "the same",
    ("backends", "xlstm.backends.cuda.cudnn.library"): "the same",
    ("backends", "xlstm.backends.cuda.cudnn.cell"): "the same",
    ("gradcheck", "xlstm.encode"): "only the check of an estimator needs the road of the data",
    ("gradcheck", "xlstm.model"): "the same",
    ("gradcheck", "xlstm.sequences"): "the same",
    ("trusted", "xlstm.trials"): "only where a GPU works: it needs the optimisers and the losses",
    ("layerfile", "xlstm.checkpoint"): "only saving and loading ask it",
    ("exchange", "xlstm.convert"): "only layers that come or go ask it",
    ("exchange", "xlstm.exchange.keras"): "the same",
    ("exchange", "xlstm.exchange.safetensors"): "the same",
    ("exchange", "xlstm.exchange.torch"): "the same",
    ("layers", "xlstm.convert"): "only layers made of other layouts ask it",
}
"""What a part of the library may import inside a function, and why it does not at the top."""
LONG: set[str] = set()
"""The Python files of the library that have more than 400 lines. None is to be added."""


class Import(NamedTuple):
    """One imported module of one file."""

    file: Path
    line: int
    name: str  # absolute, as installed: "xlstm.cells.lstm", "numpy"
    at_top: bool  # not inside a function

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def module_name(file: Path) -> str:
    """As installed: backends/cupy_arrays.py is xlstm.backends.cupy_arrays."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = ("xlstm", *parts) if parts[0] == "backends" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


COMPILED = "xlstm.backends.cpu._kernels"
MODULES = {module_name(file) for file in SOURCES}


def imports_of(file: Path) -> Iterator[Import]:
    package = module_name(file).split(".")
    package = package if file.name == "__init__.py" else package[:-1]

    def visit(node: ast.AST, at_top: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(file, child.lineno, alias.name, at_top)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                base = [*base, *(child.module or "").split(".")] if child.module else base
                for alias in child.names:
                    whole = ".".join([*base, alias.name])
                    yield Import(file, child.lineno, whole if whole in {*MODULES, COMPILED} else ".".join(base), at_top)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from visit(child, at_top and not inside)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")), True)


IMPORTS = [imported for file in SOURCES for imported in imports_of(file)]


def stage(name: str) -> str:
    """The word of `ROAD` that a module of xlstm belongs to."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


# ---------------------------------------------------------------- imports


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 15
    assert {imported.name for imported in IMPORTS} >= {
        "numpy",
        "array_api_compat",
        "xlstm.backends",
        "xlstm.cells.sequence",
    }


def test_every_file_has_its_place_on_the_road():
    stages = {stage(module_name(file)) for file in SOURCES if file.is_relative_to(LIBRARY)}
    unknown = stages - set(ROAD.split())
    assert not unknown, f"put {unknown} where they belong in ROAD"


def test_imports_follow_the_road():
    place = {name: line for line, names in enumerate(ROAD.strip().splitlines()) for name in names.split()}
    against = [
        str(imported)
        for imported in IMPORTS
        if imported.file.is_relative_to(LIBRARY) and imported.name.partition(".")[0] == "xlstm"
        if not is_late_for_a_reason(imported)
        for here, there in [(stage(module_name(imported.file)), stage(imported.name))]
        if there not in ("backends", here) and place[there] > place[here]
    ]
    assert not against


def is_late_for_a_reason(imported: Import) -> bool:
    return not imported.at_top and (stage(module_name(imported.file)), imported.name) in LATE_INSIDE


def test_what_is_imported_late_inside_the_library_has_a_reason():
    """An import inside a function hides from readers, and may hide a circle."""
    late = [imported for imported in IMPORTS if not imported.at_top and imported.name.partition(".")[0] == "xlstm"]
    assert not [str(imported) for imported in late if not is_late_for_a_reason(imported)]


def test_imports_run_in_no_circle():
    """Not even between files of one stage, nor through a package, nor by an import inside a function."""
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for imported in IMPORTS:
        if imported.name in MODULES and not is_late_for_a_reason(imported):
            graph[module_name(imported.file)].add(imported.name)
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' → '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_cells_know_the_namespace_and_each_other_alone():
    allowed = re.compile(r"xlstm\.(namespace|cells(\..+)?)|array_api_compat")
    strangers = [
        str(imported)
        for imported in IMPORTS
        if imported.file.parent == LIBRARY / "cells"
        and not allowed.fullmatch(imported.name)
        and imported.name.partition(".")[0] not in sys.stdlib_module_names
    ]
    assert not strangers


def test_the_mathematics_knows_no_array_library():
    wrong = [
        str(imported)
        for imported in IMPORTS
        if imported.file.is_relative_to(LIBRARY)
        and stage(module_name(imported.file)) in MATHEMATICS
        and imported.name.partition(".")[0] in {"numpy", "cupy", "cupyx", "torch", "array_api_strict"}
    ]
    assert not wrong
    files = {stage(module_name(file)) for file in SOURCES if file.is_relative_to(LIBRARY)}
    assert set(MATHEMATICS) <= files


def test_backends_import_nothing_of_the_library():
    wrong = [
        str(imported)
        for imported in IMPORTS
        if imported.file.is_relative_to(BACKENDS)
        and imported.name.partition(".")[0] == "xlstm"
        and not imported.name.startswith("xlstm.backends")
    ]
    assert not wrong


def test_cupy_is_a_matter_of_the_backends():
    wrong = [
        str(imported)
        for imported in IMPORTS
        if imported.file.is_relative_to(LIBRARY) and imported.name.partition(".")[0] in ("cupy", "cupyx")
    ]
    assert not wrong


def test_nobody_uses_what_another_keeps_to_itself():
    """No file of the library reaches for a name with an underscore that it does not define itself."""
    of_python = {"_asdict", "_fields", "_field_defaults", "_replace", "_getframe"}
    found = []
    for file in SOURCES:
        if not file.is_relative_to(LIBRARY):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        own |= {  # what it writes to its own objects
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            if isinstance(node.value, ast.Name) and node.value.id == "self"
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
                mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "super")
                mine |= isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
                if not mine and node.attr not in own | of_python:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.attr}")
    assert not found


def test_heavy_packages_are_imported_late():
    wrong = [str(imported) for imported in IMPORTS if imported.at_top and imported.name.partition(".")[0] in LATE]
    assert not wrong


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.endswith("__main__")))
def test_all_is_true(name):
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None)
    if public is not None:
        assert len(set(public)) == len(public)
        for public_name in public:
            assert hasattr(module, public_name), public_name


def test_what_users_type_is_in_all():
    promised = {"LSTM", "GRU", "RNN", "SequenceClassifier", "SequenceLabeler", "load", "check_gradients", "devices"}
    promised |= {"SequenceFeatures", "SequenceRegressor"}
    assert promised <= set(xlstm.__all__)
    shown = {name for name in vars(xlstm) if not name.startswith("_") and not inspect.ismodule(getattr(xlstm, name))}
    assert shown <= {*xlstm.__all__, "annotations"}, "a public name that __all__ does not have"


def test_the_modules_for_users_are_there_and_come_late():
    code = (
        "import sys, xlstm; print([name for name in ('convert', 'losses') if f'xlstm.{name}' in sys.modules]);"
        "print([getattr(xlstm, name).__name__ for name in ('convert', 'head', 'losses', 'optim')])"
    )
    done = python("-c", code, folder=ROOT)
    assert done.stdout.splitlines() == ["[]", str([f"xlstm.{name}" for name in ("convert", "head", "losses", "optim")])]
    assert {"convert", "head", "losses", "optim"} <= set(xlstm.__all__)


USERS_MODULES = ("callbacks", "convert", "embedding", "head", "losses", "optim", "sampling")


@pytest.mark.parametrize("name", USERS_MODULES)
def test_every_public_function_of_the_modules_for_users_has_a_docstring(name):
    module = getattr(xlstm, name)
    for each, thing in vars(module).items():
        if not each.startswith("_") and getattr(thing, "__module__", "") == module.__name__ and callable(thing):
            assert len((inspect.getdoc(thing) or "").split()) >= 3, each


def documented() -> Iterator[tuple[str, str]]:
    """Every public function and class with its docstring, and the public methods and properties of the classes."""
    for module in (xlstm, backends):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing):
                for base in thing.__mro__:
                    for method, member in vars(base).items() if base.__module__.startswith("xlstm") else ():
                        if method.startswith("_"):
                            continue
                        if inspect.isroutine(member) or isinstance(member, classmethod):
                            yield f"{module.__name__}.{name}.{method}", inspect.getdoc(getattr(thing, method)) or ""
                        elif isinstance(member, property):  # may stand among the attributes of its class
                            text = inspect.getdoc(member) or re.search(rf"^ *{method} : (.*)", base.__doc__ or "", re.M)
                            yield f"{module.__name__}.{name}.{method}", str(text or "")
            if callable(thing):
                yield f"{module.__name__}.{name}", inspect.getdoc(thing) or ""


@pytest.mark.parametrize(("name", "text"), [pytest.param(name, text, id=name) for name, text in documented()])
def test_public_names_have_docstrings(name, text):
    assert len(text.split()) >= 3, f"{name} has no docstring"
    assert not re.match(r"(\w+)\(.*\)$", text), f"{name} has the docstring that a NamedTuple or dataclass is given"


def test_modules_have_docstrings():
    for file in SOURCES:
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file


# ---------------------------------------------------------------- installed, and not


def python(*arguments: str, folder: Path, isolated: bool = False) -> subprocess.CompletedProcess[str]:
    options = ["-I", "-S"] if isolated else []  # without installed packages
    return subprocess.run(
        [sys.executable, *options, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_backends_is_no_package_of_its_own():
    done = python("-c", "import backends", folder=ROOT)
    assert done.returncode != 0
    assert "ImportError: this folder was imported as 'backends': it is the package 'xlstm.backends'" in done.stderr
    assert not (ROOT / "backends.py").exists()


@pytest.mark.parametrize("folders", [["xlstm"], ["xlstm", "backends"]], ids=["alone", "checkout"])
def test_not_installed_it_says_how_to_install(folders, tmp_path):
    for folder in folders:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import xlstm"
    done = python("-c", code, folder=tmp_path, isolated=True)
    assert done.returncode != 0
    assert (
        done.stderr.rstrip().splitlines()[-1].startswith("ImportError: xlstm is not installed: run 'pip install -e .'")
    )
    assert "circular" not in done.stderr


def test_half_of_an_installation_is_not_called_a_checkout(tmp_path):
    """As it lies there while pip replaces one version by another."""
    folder = tmp_path / "site-packages"
    shutil.copytree(ROOT / "xlstm", folder / "xlstm", ignore=shutil.ignore_patterns("__pycache__"))
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import xlstm"
    done = python("-c", code, folder=tmp_path, isolated=True)
    assert done.stderr.rstrip().splitlines()[-1] == (
        f"ImportError: the installation in {folder / 'xlstm'} is not whole, its package backends is missing: if pip is "
        "installing it at this moment, start again when it is done; else pip install --force-reinstall xp-lstm."
    )


def test_a_missing_numpy_is_not_called_a_missing_installation(tmp_path):
    shutil.copytree(LIBRARY, tmp_path / "xlstm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(BACKENDS, tmp_path / "xlstm" / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import xlstm"
    done = python("-c", code, folder=tmp_path, isolated=True)
    assert "No module named 'numpy'" in done.stderr
    assert "is not installed" not in done.stderr


def test_a_broken_backend_is_not_called_a_missing_installation(tmp_path):
    shutil.copytree(LIBRARY, tmp_path / "xlstm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(BACKENDS, tmp_path / "xlstm" / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "xlstm" / "backends" / "numpy_arrays.py").open("a") as file:
        file.write("from . import what_is_not_there\n")
    done = python("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import xlstm", folder=tmp_path)
    assert "what_is_not_there" in done.stderr
    assert "is not installed" not in done.stderr


def test_there_is_one_registry():
    """Run by itself under three commands too: see the test below."""
    copies = [
        module
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) and Path(module.__file__).resolve() == BACKENDS / "__init__.py"
    ]
    assert copies == [sys.modules["xlstm.backends"]] == [backends] == [xlstm.backends]
    assert "backends" not in sys.modules
    assert Path(xlstm.__file__).resolve().parent == LIBRARY, "not the library of this folder"
    from xlstm.recurrent import backends as seen_by_layers

    assert seen_by_layers is backends


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "pytest"],
        ["-c", "import sys, pytest; sys.path.remove(''); sys.exit(pytest.main(sys.argv[1:]))"],  # what `pytest` does
        ["-m", "pytest", "--import-mode=importlib"],
    ],
    ids=["python -m pytest", "pytest", "importlib"],
)
def test_there_is_one_registry_under_each_command(command):
    test = "tests/test_house.py::test_there_is_one_registry"
    done = python(*command, "-q", "-p", "no:cacheprovider", test, folder=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_types_are_shipped():
    assert (LIBRARY / "py.typed").exists()
    assert re.search(r'^xlstm = \["py\.typed"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_folder_with_code_is_installed():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = (\[.*?\])", text, re.MULTILINE | re.DOTALL)
    assert listed
    packages = {module_name(file) for file in SOURCES if file.name == "__init__.py"}
    assert set(ast.literal_eval(listed[1])) == packages


def test_the_version_is_one():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.*)"', text, re.MULTILINE)
    assert xlstm.__version__ == version
    changelog = ROOT / "CHANGELOG.md"
    assert not changelog.exists() or version in changelog.read_text(encoding="utf-8")


def test_the_working_folder_is_no_matter():
    done = python("-c", "import xlstm; print(xlstm.__file__)", folder=Path(os.sep))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).resolve().parent == LIBRARY


# ---------------------------------------------------------------- text


def texts() -> Iterator[Path]:
    """Every file of the tree that a person writes."""
    folders = ("xlstm", "backends", "tests", "benchmarks", "docs", ".ci", ".github")
    files = [*ROOT.iterdir(), *(file for folder in folders for file in (ROOT / folder).rglob("*"))]
    kept = {"", ".py", ".md", ".toml", ".yml", ".json", ".csv", ".txt", ".c", ".h", ".cpp", ".cu", ".cuh"}
    for file in files:
        if file.is_file() and file.suffix in kept and file.name != ".git" and "__pycache__" not in file.parts:
            yield file


def test_a_file_of_the_library_can_be_read_in_one_sitting():
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCES}
    long = {file.relative_to(ROOT).as_posix() for file, number in lines.items() if number > 400}
    assert not long - LONG, "split it"
    assert not LONG - long, "it is short now: take it from LONG"


def test_the_kernels_stand_in_rooms():
    """A file of them is short, and its first lines say what it decides."""
    files = sorted(file for suffix in ("h", "cpp") for file in BACKENDS.rglob(f"*.{suffix}"))
    assert len(files) > 20
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 450, f"{file.relative_to(ROOT)} has {len(lines)} lines"
        assert lines[0].startswith("// "), f"{file.relative_to(ROOT)} has no head"


def test_the_tree_names_no_machine():
    # Put together here, so that this file does not hold them.
    folders = "|".join(("ro" + "ot", "wo" + "rk", "home/" + r"\w+", "Users/" + r"\w+", "t" + "mp"))
    path = re.compile(rf"(?<![\w.~$}}/])/({folders})/")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for file in texts()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if path.search(line)
    ]
    assert not found
