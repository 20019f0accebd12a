"""Every call that the library makes on a device exists in the real CuPy: read from the sources, without a GPU.

The stand-in of the other tests could take a call that CuPy does not know. Here the sources are parsed for what they ask
of an array namespace, of CuPy itself and of arrays, and the real modules are asked for each name, its keywords and the
number of its arguments.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ..peers import peer

ROOT = Path(__file__).resolve().parents[2]
OF_CUPY = [
    *(ROOT / "backends" / name for name in ("cupy_arrays.py", "conveyor.py")),
    # Without cuBLAS itself `cupy.cuda.cublas` cannot be imported: what blas.py asks of it is not looked up here.
    *(path for path in (ROOT / "backends" / "cuda").rglob("*.py") if path.name != "blas.py"),
]
SOURCES = sorted([*(ROOT / "xlstm").rglob("*.py"), *OF_CUPY])
NAMESPACES = ("xp", "namespace")
"""What the sources call an array namespace: `xp.exp`, `self.xp.flip`, `backend.namespace.zeros`."""
CUPY = ("cupy", "_cupy")
"""What those of `OF_CUPY` call CuPy: `cupy.cuda.runtime.getDeviceCount`, `self._cupy.asnumpy`."""
MATHEMATICS = ("cells", "head", "losses", "optim", "readout")


class Use(NamedTuple):
    """One name that the sources take from a module, and how they call it."""

    module: str  # "namespace" or "cupy"
    name: str  # dotted
    positional: int | None  # the number of arguments; None where it is not called, or has starred ones
    keywords: tuple[str, ...]
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.module}.{self.name}({', '.join(self.keywords)})"


def chain(node: ast.expr) -> tuple[str, ...]:
    """`a.b.c` as ("a", "b", "c"); what is no plain chain begins with ""."""
    if isinstance(node, ast.Attribute):
        return (*chain(node.value), node.attr)
    return (node.id,) if isinstance(node, ast.Name) else ("",)


def uses(path: Path) -> Iterator[Use]:
    """Each use of a namespace's or CuPy's names in a file; of `cupy.a.b` only the whole chain."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        names = chain(node)
        for module, spoken in (("namespace", NAMESPACES), ("cupy", CUPY if path in OF_CUPY else ())):
            places = [k for k, name in enumerate(names[:-1]) if name in spoken and k <= 2]
            if not places or "array_api_compat" in names:
                continue
            name = ".".join(names[places[0] + 1 :])
            call = calls.get(id(node))
            starred = call is None or any(isinstance(argument, ast.Starred) for argument in call.args)
            keywords = () if call is None else tuple(k.arg for k in call.keywords if k.arg is not None)
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            yield Use(module, name, None if starred else len(call.args), keywords, where)  # type: ignore[union-attr]


USES = [use for path in SOURCES for use in uses(path)]


@pytest.fixture(scope="module")
def modules() -> dict[str, Any]:
    """The real modules. CuPy can be imported where there is no GPU, and needs none for this."""
    cupy = peer("cupy")
    from array_api_compat import cupy as namespace

    assert hasattr(cupy, "__version__"), "this is a stand-in"
    return {"cupy": cupy, "namespace": namespace}


def found(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def takes(function: Any, use: Use) -> str | None:
    """Why a function cannot be called so; None where it can."""
    ufunc = getattr(function, "nargs", None)
    if ufunc is not None:  # CuPy's elementwise functions have no signature
        if use.positional is not None and not function.nin <= use.positional <= ufunc:
            return f"takes {function.nin} to {ufunc} arguments"
        unknown = set(use.keywords) - {"out", "dtype", "casting"}
        return f"has no keyword {unknown}" if unknown else None
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # one of the driver's functions, without a signature
    try:
        if use.positional is None:
            signature.bind_partial(**dict.fromkeys(use.keywords))
        else:
            signature.bind(*[None] * use.positional, **dict.fromkeys(use.keywords))
    except TypeError as error:
        return str(error)
    return None


def test_the_sources_are_read() -> None:
    """What is known to be there is found: the test would say nothing of sources that it cannot read."""
    by_module = {module: {use.name for use in USES if use.module == module} for module in ("namespace", "cupy")}
    assert {"zeros", "concat", "permute_dims", "tanh", "take", "isdtype"} <= by_module["namespace"]
    assert {"asnumpy", "array", "empty", "cuda.Device", "cuda.runtime.getDeviceCount"} <= by_module["cupy"]
    assert len(USES) > 150
    zeros = next(use for use in USES if use[:3] == ("namespace", "zeros", 1))
    assert zeros.keywords == ("dtype", "device")


@pytest.mark.parametrize("module", ["namespace", "cupy"])
def test_every_name_and_keyword_is_there(module: str, modules: dict[str, Any]) -> None:
    faults = []
    for use in USES:
        if use.module != module:
            continue
        try:
            function = found(modules[module], use.name)
        except AttributeError as error:
            faults.append(f"{use}: {error}")
            continue
        if use.positional is not None or use.keywords:
            why = takes(function, use)
            if why is not None:
                faults.append(f"{use}: {why}")
    assert not faults, "\n".join(faults)


def test_every_attribute_of_arrays_is_there(modules: dict[str, Any]) -> None:
    """What the mathematics asks of an array (`.T`, `.shape`, `.device`, …) CuPy's arrays have too."""
    asked = set()
    for path in SOURCES:
        folder, name, *_ = (*path.relative_to(ROOT).with_suffix("").parts, "")
        if folder == "xlstm" and name in MATHEMATICS:
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
            asked |= {name for name in attributes if hasattr(np.ndarray, name) and not name.startswith("__")}
    assert {"T", "shape", "dtype", "device", "ndim"} <= asked
    missing = {name for name in asked if not hasattr(modules["cupy"].ndarray, name)}
    assert not missing


def test_wrong_calls_would_be_seen(modules: dict[str, Any]) -> None:
    """The test is tested: a name, a keyword and a number of arguments that CuPy does not know."""
    namespace = modules["namespace"]
    wrong = [
        Use("namespace", "zeros", 1, ("like",), "here"),
        Use("namespace", "flip", 3, (), "here"),
        Use("namespace", "tanh", 1, ("axis",), "here"),
        Use("namespace", "maximum", 1, (), "here"),
    ]
    for use in wrong[1:]:
        assert takes(found(namespace, use.name), use) is not None, use
    with pytest.raises(AttributeError):
        found(namespace, "permute")
