"""Mutation testing of the mathematics: every small change of it has to make a test fail.

    python tests/mutation.py                            every module below: an hour or two on one core
    python tests/mutation.py xlstm/cells/lstm.py        one of them: minutes
    python tests/mutation.py --sample 300 --seed 0      of each module that has more, as many mutants, drawn at random

The mutants are those of cosmic-ray (pip install cosmic-ray), and two kinds that it lacks: a statement left out, and
another operator in an assignment in place. Each is tried in a fork of one process that has the test libraries loaded
already, so that one that is caught takes half a second. `tests/test_mutants.py` plants faults that somebody thought
of; these nobody thought of.

Not counted are changes of annotations, and of what the message of an exception says. A mutant that lives and is no
fault stands in `tests/equivalent_mutants.txt`, with the reason. Exits with 0 only if every other one was caught.
"""

import argparse
import ast
import contextlib
import difflib
import gc
import importlib.abc
import importlib.util
import inspect
import itertools
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import Keyword

ROOT = Path(__file__).parents[1]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")

CELLS, LAYERS, CONVERT = (f"tests/library/test_{name}.py" for name in ("cells", "layers", "convert"))
LOSSES, RESIDUALS = "tests/library/test_losses.py", "tests/library/test_residuals.py"
MODULES = {
    "xlstm/cells/lstm.py": (CELLS, CONVERT, LAYERS),
    "xlstm/cells/gru.py": (CELLS, CONVERT),
    "xlstm/cells/rnn.py": (CELLS, CONVERT),
    "xlstm/cells/walk.py": (CELLS, "tests/library/test_trial_cell.py"),
    "xlstm/cells/sequence.py": (CELLS,),
    "xlstm/cells/projection.py": (CELLS,),
    "xlstm/cells/arguments.py": (CELLS,),
    "xlstm/namespace.py": ("tests/library/test_namespace.py", CELLS),
    "xlstm/readout.py": ("tests/library/test_readout.py",),
    "xlstm/head.py": ("tests/library/test_head.py",),
    "xlstm/losses.py": (LOSSES,),
    "xlstm/residuals.py": (RESIDUALS, LOSSES),
    "xlstm/lossrows.py": (LOSSES, RESIDUALS),
    "xlstm/optim.py": ("tests/library/test_optim.py",),
}
"""The tests that have to notice a change of each."""

ARRAY_CODE = "not compiled and not avx2 and not avx512 and not sse2 and not neon"
"""Which of those tests are run, as pytest's -k has it: compiled kernels know nothing of a change of the array code."""


IN_PLACE = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "@=": "*=", "|=": "&=", "&=": "|="}


OTHER = re.compile("torch-|strict-|readonly-")
"""Tests with these in their names are of another array library than NumPy."""


class ChangeInPlace(Operator):
    """`a += b` becomes `a -= b`, and the like."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "operator" and node.value in IN_PLACE:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = IN_PLACE[node.value]
        return node

    @classmethod
    def examples(cls) -> Sequence[Any]:
        return ()


class LeaveOut(Operator):
    """A statement of one line in a function becomes `pass`."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "simple_stmt" and node.children[0].type not in ("string", "strings", "import_from"):
            parent = node.parent
            while parent is not None and parent.type != "funcdef":
                parent = parent.parent
            if parent is not None:
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[:-1] = [Keyword("pass", node.start_pos, node.get_first_leaf().prefix)]
        return node

    @classmethod
    def examples(cls) -> Sequence[Any]:
        return ()


OPERATORS = [
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Mul_Add", "Div_Mul", "Pow_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("FloorDiv_Mul", "Mod_Mul", "BitOr_BitAnd", "BitAnd_BitOr")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")),
    *(f"ReplaceUnaryOperator_Delete_{which}" for which in ("USub", "Not", "Invert")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer"),
    *("RemoveDecorator", "ZeroIterationForLoop"),
]  # fmt: skip
"""Of cosmic-ray's operators those whose mutants run: not, for example, a shift in place of a sum of real numbers."""


# ---------------------------------------------------------------- mutants


class Mutant(NamedTuple):
    source: str
    change: tuple[str, ...]  # the lines of a diff: those that are gone begin with "-", those in their place with "+"


class _Bare(ast.NodeTransformer):
    """Without annotations and messages."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)


def meaning(source: str) -> Any:
    """What a module does, without where it stands: two of the same meaning are one. None if it is no Python."""
    try:
        tree = ast.fix_missing_locations(_Bare().visit(ast.parse(source)))
        return _told(compile(tree, "module", "exec"))
    except (SyntaxError, ValueError):
        return None


def _told(code: CodeType) -> Any:
    return _own(code), tuple(_told(c) for c in code.co_consts if isinstance(c, CodeType))


def _own(code: CodeType) -> Any:
    """What a code object does, without the functions in it."""
    constants = tuple(isinstance(c, CodeType) or repr(c) for c in code.co_consts)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, counts


def mutants_of(source: str) -> list[Mutant]:
    """Every one that differs in what it does from the source and from those before it."""
    operators = [LeaveOut(), ChangeInPlace(), *(get_operator(f"core/{name}")() for name in OPERATORS)]
    seen, found = {None, meaning(source)}, []
    for operator in operators:
        for occurrence in itertools.count():
            mutated = mutate_code(source, operator, occurrence)
            if mutated is None:
                break
            known = meaning(mutated)
            star = mutated.count(" /,") > source.count(" /,")  # before keyword arguments, which is no product
            if known not in seen and not star:
                seen.add(known)
                found.append(Mutant(mutated, _change(source, mutated)))
    return found


def _change(before: str, after: str) -> tuple[str, ...]:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[3:]
    return tuple(f"{line[0]} {' '.join(line[1:].split())}" for line in lines if line[0] in "-+" and line[1:].strip())


# ---------------------------------------------------------------- trying one


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Finds one module, of the source that it is given."""

    def __init__(self, file: str, source: str) -> None:
        self._name, self._path = file.removesuffix(".py").replace("/", "."), str(ROOT / file)
        self._source = source.encode()

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        return importlib.util.spec_from_file_location(name, self._path, loader=self) if name == self._name else None

    def get_filename(self, name: str) -> str:
        return self._path

    def get_data(self, path: str) -> bytes:
        if path != self._path:
            raise OSError(path)  # no bytecode of an older source
        return self._source


def functions_of(code: CodeType, changed: CodeType) -> dict[CodeType, CodeType] | None:
    """For each function of a module the changed one; None where the modules differ outside of functions."""
    inside, inside_changed = ([c for c in each.co_consts if isinstance(c, CodeType)] for each in (code, changed))
    if len(inside) != len(inside_changed) or code.co_freevars != changed.co_freevars:
        return None
    if not code.co_flags & inspect.CO_OPTIMIZED and _own(code) != _own(changed):  # a module, or the body of a class
        return None
    pairs = {code: changed}
    for one, other in zip(inside, inside_changed, strict=True):
        found = functions_of(one, other)
        if found is None:
            return None
        pairs |= found
    return pairs


class Imported:
    """A module that is imported already."""

    def __init__(self, file: str) -> None:
        self._path = sys.modules[file.removesuffix(".py").replace("/", ".")].__file__ or ""
        self._code = compile((ROOT / file).read_text(encoding="utf-8"), self._path, "exec")
        # Not by isinstance: some libraries warn where one asks their objects for their class.
        functions = [thing for thing in gc.get_objects() if type(thing) is FunctionType]
        self._functions = [function for function in functions if function.__code__.co_filename == self._path]

    def put_in(self, source: str) -> bool:
        """Give its functions the code of this source. False where more than functions differs."""
        pairs = functions_of(self._code, compile(source, self._path, "exec"))
        for function in self._functions if pairs else ():
            function.__code__ = pairs[function.__code__]
        return pairs is not None


AFRESH = 77
"""The exit status of a process that could not put a mutant in."""


class Order:
    """A plugin of pytest: one array library first, which finds most of what is wrong, since all of them take long."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        first = [item for item in items if not OTHER.search(item.name)]
        items[:] = first if self.quick else first + [item for item in items if OTHER.search(item.name)]


class Forks(Order):
    """A plugin of pytest: the tests are collected once, and run for each source in a fork of that process."""

    def __init__(self, file: str, sources: list[str], quick: bool, tell: Callable[[int, int | None], None]) -> None:
        super().__init__(quick)
        self.file, self.sources, self.tell = file, sources, tell
        self.failed, self.of_child = os.pipe()  # the name of the test that noticed a mutant
        os.set_blocking(self.failed, False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        imported, limit = Imported(self.file), 600.0
        gc.freeze()  # else each fork looks through all that is there, and so copies it
        for number, source in enumerate(self.sources):
            begin = _of_children()
            child = os.fork()
            if not child:
                os.setpgid(0, 0)
                _at_most(limit)
                if imported.put_in(source):
                    return None  # pytest goes on, with the tests
                os._exit(AFRESH)
            status = _wait(child, limit)
            if status == AFRESH or (status == 0 and source != self.sources[0]):  # or one that ran at the import alone
                status = _afresh(self.file, source, self.quick, limit)
            if number == 0:  # the module as it is
                limit = 10 + 3 * (_of_children() - begin)
            self.tell(number, status)
            with contextlib.suppress(BlockingIOError):  # what has noticed one is likely to notice the next: first
                name = os.read(self.failed, 2**16).decode()
                session.items.sort(key=lambda item: item.nodeid != name)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self.of_child, report.nodeid.encode())


PATIENCE = 20
"""How many times the seconds of the processor that a mutant may take it may be there at all: one may wait for ever."""


def _of_children() -> float:
    """The seconds of the processor that processes took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _at_most(limit: float) -> None:
    """End this process after so many seconds of the processor: those of the clock another process may take."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit) + 1))


def _status(code: int) -> int | None:
    return None if code == -signal.SIGXCPU else code


def _wait(child: int, limit: float) -> int | None:
    """The exit status of a process; None where it was ended by its limit."""
    end = time.monotonic() + PATIENCE * limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return _status(os.waitstatus_to_exitcode(status))
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _afresh(file: str, source: str, quick: bool, limit: float) -> int | None:
    """The exit status of the tests in a process that imports this source in place of the module's."""
    command = [sys.executable, __file__, "--alone", file, *(["--quick"] if quick else [])]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, preexec_fn=lambda: _at_most(limit)
    )
    try:
        process.communicate(source.encode(), timeout=PATIENCE * limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
    return _status(process.returncode)


def run_tests(file: str, plugin: Order) -> int:
    """Run the tests of a module; in every fork that the plugin makes, too, which ends with them."""
    options = ["-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["--hypothesis-profile=first-failure", "-k", ARRAY_CODE]
    process = os.getpid()
    with tempfile.TemporaryDirectory() as folder:
        status = int(pytest.main([*options, f"--basetemp={folder}/tests", *MODULES[file]], [plugin]))
        if os.getpid() != process:
            os._exit(status)
    return status


# ---------------------------------------------------------------- all of them


def equivalents(file: str) -> dict[tuple[str, ...], str]:
    """Of each mutant of a module that is no fault its change, and why."""
    reasons, of = {}, ""
    for block in EQUIVALENT.read_text(encoding="utf-8").split("\n\n")[1:]:
        lines = block.strip().splitlines()
        if len(lines) == 1:
            of = lines[0]
        elif of == file:
            change = tuple(line for line in lines if line.startswith(("- ", "+ ")))
            reasons[change] = " ".join(lines[len(change) :])
    return reasons


def check(file: str, sample: int | None, seed: int, quick: bool) -> bool:
    """Try the mutants of a module, and print those that live. Returns whether there are none."""
    source, begin = (ROOT / file).read_text(encoding="utf-8"), time.monotonic()
    mutants = every = mutants_of(source)
    if sample is not None and len(every) > sample:
        mutants = random.Random(seed).sample(every, sample)
    known = equivalents(file)
    for change in known.keys() - {mutant.change for mutant in every}:
        print(f"{file}: no such mutant, but {EQUIVALENT.name} has it\n    " + "\n    ".join(change))
    tried = [mutant for mutant in mutants if mutant.change not in known]
    found: list[str] = []
    screen, progress = (os.fdopen(os.dup(stream), "w", encoding="utf-8", buffering=1) for stream in (1, 2))

    def tell(number: int, status: int | None) -> None:
        unchanged = number in (0, len(tried) + 1)
        if (unchanged and status != 0) or status == pytest.ExitCode.INTERNAL_ERROR:
            what = "as it is" if unchanged else "with\n    " + "\n    ".join(tried[number - 1].change)
            print(f"{file}: its tests cannot be run, or fail, {what}", file=screen)
            os._exit(1)
        if not unchanged:
            found.append({0: "lives", None: "too slow"}.get(status, "caught"))
            if found[-1] == "lives":
                print(f"{file}: lives\n    " + "\n    ".join(tried[number - 1].change), file=screen)
            if number % 20 == 0:
                print(f"{file}: {number} of {len(tried)} tried, {found.count('lives')} live", file=progress)

    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what the tests say
        os.dup2(nothing, stream)
    # At the end as it is once more: in the order to which the tests have come then.
    run_tests(file, Forks(file, [source, *(mutant.source for mutant in tried), source], quick, tell))
    if len(found) < len(tried):
        print(f"{file}: its tests cannot be collected", file=screen)
        return False
    lived, slow = found.count("lives"), found.count("too slow")
    print(
        f"{file}: {len(mutants)} mutants of {len(every)}, {len(mutants) - len(tried)} of them no fault; of the others "
        f"{len(tried) - lived} caught ({slow} by the time limit), {lived} live: "
        f"score {1 - lived / max(1, len(tried)):.3f}; {time.monotonic() - begin:.0f} s",
        file=screen,
    )
    return lived == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="modules, of those in MODULES; all of them if none")
    parser.add_argument("--sample", type=int, metavar="N", help="as many mutants of a module that has more")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; 0 if not given")
    parser.add_argument("--quick", action="store_true", help="only tests with NumPy: more live, to be looked at first")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # one source, from standard input
    given = parser.parse_args()
    unknown = [file for file in given.files if file not in MODULES]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(MODULES)}")
    os.chdir(ROOT)
    for name in ("OPENBLAS", "OMP", "MKL"):  # before any of them is loaded: a fork has no threads
        os.environ[f"{name}_NUM_THREADS"] = "1"
    if given.alone:
        sys.meta_path.insert(0, _Instead(given.files[0], sys.stdin.read()))
        raise SystemExit(run_tests(given.files[0], Order(given.quick)))
    for library in ("numpy", "hypothesis", "array_api_compat", "array_api_strict", "torch"):
        if importlib.util.find_spec(library):
            importlib.import_module(library)
    good = True
    for file in given.files or MODULES:
        child = os.fork()  # each module's tests in a process of their own
        if not child:
            os._exit(0 if check(file, given.sample, given.seed, given.quick) else 1)
        good &= os.waitpid(child, 0)[1] == 0
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
