"""Every call that the library makes on a device exists in the real CuPy: read from the sources, without a GPU.

The stand-in of the other tests could take a call that CuPy does not know. Here the sources are parsed for what they ask
of an array namespace, of CuPy itself and of arrays, and the real modules are asked for each name, its keywords and the
number of its arguments. Of the oldest versions that are supported, once more:

    pip install --no-deps --target ../oldest array-api-compat==1.12 cupy-cuda12x==14.0.0
    PYTHONPATH=../oldest pytest tests/backends/test_first_contact.py
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from .. import standin, standin_kernels, standin_machine
from ..peers import peer

ROOT = Path(__file__).resolve().parents[2]
OF_CUPY = [
    *(ROOT / "backends" / name for name in ("cupy_arrays.py", "conveyor.py")),
    *(ROOT / "backends" / "cuda").rglob("*.py"),
]
SOURCES = sorted([*(ROOT / "xlstm").rglob("*.py"), *OF_CUPY])
NAMESPACES = ("xp", "namespace")
"""What the sources call an array namespace: `xp.exp`, `self.xp.flip`, `backend.namespace.zeros`."""
CUPY = ("cupy", "_cupy")
"""What those of `OF_CUPY` call CuPy: `cupy.cuda.runtime.getDeviceCount`, `self._cupy.asnumpy`."""
OBJECTS = {
    "event": "cuda.Event",
    "_copies": "cuda.Stream",
    "get_current_stream()": "cuda.Stream",
    "array": "ndarray",
}
"""What they call objects of CuPy's classes: `slot.event.record(…)`, `array.set(…)`."""
MATHEMATICS = ("cells", "head", "losses", "optim", "readout")


class Use(NamedTuple):
    """One name that the sources take from a module, and how they call it."""

    module: str  # "namespace", "cupy" or "cublas", which is a part of it
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
    spoken_there = {"namespace": NAMESPACES}
    if path in OF_CUPY:
        spoken_there |= {"cupy": CUPY, "cublas": ("cublas",)}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        names = chain(node)
        owner = chain(node.value.func)[-1] + "()" if isinstance(node.value, ast.Call) else names[-2]
        if path in OF_CUPY and owner in OBJECTS and id(node) in calls:
            call = calls[id(node)]
            keywords = tuple(keyword.arg for keyword in call.keywords if keyword.arg is not None)
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            yield Use("cupy", f"{OBJECTS[owner]}.{node.attr}", 1 + len(call.args), keywords, where)  # 1: self
            continue
        for module, spoken in spoken_there.items():
            places = [k for k, name in enumerate(names[:-1]) if name in spoken and k <= 2]
            if not places or "array_api_compat" in names:
                continue
            if names[places[0] + 1 :] == ("cuda", "cublas"):
                continue  # it cannot be imported without cuBLAS itself: see `CuBLAS`
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
    return {"cupy": cupy, "namespace": namespace, "cublas": CuBLAS()}


def found(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def told(text: str) -> inspect.Signature | None:
    """The signature that the documentation of a compiled function begins with: `get(self, stream=None) -> int`."""
    line = re.match(r"[\w.]+\((.*?)\)(?: ->.*)?$", text.strip().split("\n", 1)[0])
    if line is None:
        return None
    parameters, kind = [], inspect.Parameter.POSITIONAL_OR_KEYWORD
    for part in filter(None, line[1].split(", ")):
        name, _, default = part.partition("=")
        name = name.split()[-1].replace("\\", "")
        if name.startswith("**"):
            parameters.append(inspect.Parameter(name[2:], inspect.Parameter.VAR_KEYWORD))
        elif name.startswith("*"):
            if name != "*":
                parameters.append(inspect.Parameter(name[1:], inspect.Parameter.VAR_POSITIONAL))
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            parameters.append(inspect.Parameter(name, kind, default=default or inspect.Parameter.empty))
    return inspect.Signature(parameters)


def signature_of(function: Any) -> inspect.Signature | None:
    """As Python tells it; of what was compiled as its documentation does; None where neither does."""
    documented = told(function.__doc__ or "")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return documented
    vague = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values())
    return documented if vague and documented is not None else signature


def takes(function: Any, use: Use) -> str | None:
    """Why a function cannot be called so; None where it can."""
    ufunc = getattr(function, "nargs", None)
    if ufunc is not None:  # CuPy's elementwise functions have no signature
        if use.positional is not None and not function.nin <= use.positional <= ufunc:
            return f"takes {function.nin} to {ufunc} arguments"
        unknown = set(use.keywords) - {"out", "dtype", "casting"}
        return f"has no keyword {unknown}" if unknown else None
    signature = signature_of(function)
    if signature is None:
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
    by_module = {
        module: {use.name for use in USES if use.module == module} for module in ("namespace", "cupy", "cublas")
    }
    assert {"zeros", "concat", "permute_dims", "tanh", "take", "isdtype"} <= by_module["namespace"]
    assert {"ndarray.set", "cuda.Stream.wait_event", "cuda.Event.synchronize", "RawModule"} <= by_module["cupy"]
    assert {"gemmEx", "CUBLAS_OP_T", "CUBLAS_COMPUTE_32F_FAST_TF32"} <= by_module["cublas"]
    assert {"asnumpy", "array", "empty", "cuda.Device", "cuda.runtime.getDeviceCount"} <= by_module["cupy"]
    assert len(USES) > 300
    zeros = next(use for use in USES if use[:3] == ("namespace", "zeros", 1))
    assert zeros.keywords == ("dtype", "device")


class CuBLAS:
    """`cupy.cuda.cublas`, read from its compiled file: only what is written there of a name's parameters is known."""

    def __init__(self) -> None:
        folder = Path(peer("cupy_backends.cuda.libs").__file__).parent
        self._text = next(folder.glob("cublas.*")).read_bytes()

    def __getattr__(self, name: str) -> Any:
        if re.search(rf"\b{name}\b".encode(), self._text) is None:
            raise AttributeError(f"cupy.cuda.cublas has no {name}")
        line = re.search(rf"\0({name}\([^\0\n]*\))".encode(), self._text)
        return SimpleNamespace(__doc__=line[1].decode() if line else "")


@pytest.mark.parametrize("module", ["namespace", "cupy", "cublas"])
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
    wrong_ones = [
        ("cuda.Stream", Use("cupy", "cuda.Stream", 0, ("blocking",), "here")),
        ("cuda.Event.record", Use("cupy", "cuda.Event.record", 3, (), "here")),
        ("ndarray.set", Use("cupy", "ndarray.set", 2, ("late",), "here")),
        ("RawModule", Use("cupy", "RawModule", 0, ("source",), "here")),
        ("cuda.alloc_pinned_memory", Use("cupy", "cuda.alloc_pinned_memory", 2, (), "here")),
    ]
    for name, use in wrong_ones:
        assert takes(found(modules["cupy"], name), use) is not None, use
    assert takes(modules["cublas"].gemmEx, Use("cublas", "gemmEx", 18, (), "here")) is not None
    with pytest.raises(AttributeError):
        found(modules["cublas"], "gemmExtra")


SAME = {
    "RawModule": standin_kernels.RawModule,
    "cuda.Stream": standin_machine.Stream,
    "cuda.Stream.record": standin_machine.Stream.record,
    "cuda.Stream.wait_event": standin_machine.Stream.wait_event,
    "cuda.Event": standin_machine.Event,
    "cuda.Event.record": standin_machine.Event.record,
    "cuda.get_elapsed_time": standin_machine.get_elapsed_time,
    "cuda.alloc_pinned_memory": standin_machine.alloc_pinned_memory,
    "cuda.MemoryPool.set_limit": standin_machine.MemoryPool.set_limit,
    "cuda.MemoryPool.free_all_blocks": standin_machine.MemoryPool.free_all_blocks,
    "ndarray": standin.ndarray,
    "ndarray.get": standin.ndarray.get,
    "ndarray.set": standin.ndarray.set,
    "cuda.Device": standin.Device,
    "from_dlpack": standin.NAMES["from_dlpack"],
}


@pytest.mark.parametrize("name", SAME)
def test_the_stand_in_takes_what_cupy_takes(name: str, modules: dict[str, Any]) -> None:
    """The same parameters in the same order, as far as the stand-in has them."""
    ours, theirs = (signature_of(each) for each in (SAME[name], found(modules["cupy"], name)))
    assert ours is not None
    assert theirs is not None
    own = [each for each in ours.parameters if each != "self"]
    assert own == [each for each in theirs.parameters if each != "self"][: len(own)]
    for each in own:
        given = [signature.parameters[each].default is inspect.Parameter.empty for signature in (ours, theirs)]
        assert given[0] == given[1], each


def test_the_stand_in_multiplies_as_cublas_is_called(modules: dict[str, Any]) -> None:
    theirs = told(modules["cublas"].gemmEx.__doc__)
    assert theirs is not None
    assert list(inspect.signature(standin_kernels.gemm_ex).parameters) == list(theirs.parameters)
    for name in standin_kernels.CUBLAS:
        assert hasattr(modules["cublas"], name)
    try:
        from cupy.cuda import cublas
    except ImportError:
        return  # without cuBLAS itself its constants are not known
    assert {name: getattr(cublas, name) for name in standin_kernels.CUBLAS} == standin_kernels.CUBLAS


def test_a_kernel_is_called_with_its_grid_its_block_and_its_arguments(modules: dict[str, Any]) -> None:
    theirs = told(modules["cupy"].RawKernel.__call__.__doc__)
    assert theirs is not None
    assert list(theirs.parameters)[:4] == ["self", "grid", "block", "args"]
