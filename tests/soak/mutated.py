"""Model files that somebody changed, under a limit of memory and of time: refused by a ValueError that names the
file, or as good as any other.

Each is whole, its checksum fits: only what it says is wrong. A file that failed once stands in `tests/files/corpus`,
and is tried first.
"""

from __future__ import annotations

import copy
import functools
import gc
import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import xlstm
from xlstm import headers

from .row import Row

FILES = Path(__file__).parents[1] / "files"
CORPUS = FILES / "corpus"
PREFIX = struct.Struct("<8sIQQ")  # magic, version, bytes of the header, bytes of the arrays

TIMES, BESIDE = 3, 16 * 2**20
"""Loading may take so many times the file, and so many bytes beside that."""
SECONDS, SECONDS_A_BYTE = 1.0, 1e-7
"""Of the processor: for any file, and one more for each 10 MB of it."""
ADDRESSES = 2 * 2**30
"""Bytes that the process may have beside those that it has begun with."""
PORTION = 20_000
"""Files of one process."""

# ---------------------------------------------------------------- changes


def parts(content: bytes) -> tuple[int, Any, bytes]:
    """The version, the header and the arrays of a file."""
    _, version, size, _ = PREFIX.unpack_from(content)
    return version, json.loads(content[PREFIX.size : PREFIX.size + size]), content[PREFIX.size + size : -32]


def whole(version: int, header: Any, arrays: bytes) -> bytes:
    """A file of these, whose sizes and checksum fit; `header` may be text already."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = PREFIX.pack(b"xlstm\x00\r\n", version, len(text), len(arrays)) + text + arrays
    return content + hashlib.sha256(content).digest()


OTHERS: list[Any] = [
    None, True, False, -1, 0, 1, 3, 2**31, 2**63 - 1, 2**63, 10**30, 10**400, 0.5, -0.0, 1e300, float("nan"),
    float("inf"), "", "x", "\0", "a\0", "\ud800", "é", "float64", "<f4", "f", "balanced", "lstm", "auto", [], {}, [[]],
    [[[]]], ["x"], [0.5], [["x", float("nan")]], [["x", -1.0], ["y", 1.0]], [[1, "x"]], {"a": 1}, {"kind": "x"},
]  # fmt: skip


def another(rng: random.Random) -> Any:
    """One of these, of its own: what is put into a header may itself be changed next."""
    return copy.deepcopy(rng.choice(OTHERS))


def places(value: Any) -> list[tuple[Any, Any]]:
    """All values in a value: what holds each, and its name or number there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((value, key), *places(inner))]


def change(rng: random.Random, header: Any) -> None:
    """One of the header's values is another, is gone, or has company."""
    every = places(header)
    container, key = rng.choice(every)
    value, kind = container[key], rng.random()
    if kind < 0.4:
        container[key] = another(rng)
    elif kind < 0.5:
        other, where = rng.choice(every)
        container[key] = json.loads(json.dumps(other[where]))
    elif kind < 0.6:
        del container[key]
    elif isinstance(value, (int, float)):
        container[key] = rng.choice(
            [-value, value + 1, value * 10 ** rng.randrange(9), value * 1e-9, float(value)]
            if abs(value) < 1e300
            else [0.0, -value]
        )
    elif isinstance(value, str):
        container[key] = rng.choice([value * 2, value[::-1], value + "\0", value.upper(), value[:1], list(value)])
    elif isinstance(value, list):
        more = rng.choice([value, value[:1], [another(rng)]])
        container[key] = rng.choice([value + more, value[::-1], value[:-1], value * 50])
    elif isinstance(value, dict):
        value[rng.choice(["more", "kind", "dtype", ""])] = another(rng)
    else:
        container[key] = not value


def mutated(rng: random.Random, content: bytes) -> bytes:
    version, header, arrays = parts(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if isinstance(header, dict) and header:
            change(rng, header)
    text = json.dumps(header).encode()
    kind = rng.random()
    if kind < 0.1 and text:
        k = rng.randrange(len(text))
        text = text[:k] + bytes([rng.randrange(256)]) + text[k + rng.randrange(2) :]
    elif kind < 0.2 and len(arrays) >= 4:
        k = rng.randrange(len(arrays) // 4) * 4
        other = rng.choice([float("nan"), float("inf"), -1.0, 0.0, 1e-45, 3e38])
        arrays = arrays[:k] + struct.pack("<f", other) + arrays[k + 4 :]
    elif kind < 0.22:
        version = rng.choice([1, 2])
    return whole(version, text, arrays)


# ---------------------------------------------------------------- bombs


def with_more(text: str) -> Callable[[bytes, int], bytes]:
    """A part that no version knows: a list of so many bytes of these values."""

    def made(content: bytes, size: int) -> bytes:
        version, header, arrays = parts(content)
        more = f'"more":[{",".join([text] * (size // (len(text) + 1)))}],'.encode()
        return whole(version, b"{" + more + json.dumps(header).encode()[1:], arrays)

    return made


def changed(make: Callable[[Any, int], None]) -> Callable[[bytes, int], bytes]:
    def made(content: bytes, size: int) -> bytes:
        version, header, arrays = parts(content)
        make(header, size)
        return whole(version, header, arrays)

    return made


def many_labels(header: Any, size: int) -> None:
    values = sorted([f"{k:05}" for k in range(size // 50)] + ["x" * (size // 2)])
    header["task"]["classes"] = {"dtype": f"U{size}", "values": values}


def long_names(header: Any, size: int) -> None:
    header["feature_names"] = [f"{k}" for k in range(size // 8)]


def layers(size: int) -> bytes:
    """As many layers as there are numbers for: each a record of its own to whoever builds them."""
    path = Path(tempfile.mkdtemp()) / "layer"
    xlstm.RNN(1, 1, seed=0, device="cpu").save(path)
    version, header, _ = parts(path.read_bytes())
    header["layer"]["num_layers"] = number = size // 12
    header["arrays"][0]["shape"] = [3 * number]
    return whole(version, header, bytes(12 * number))


def an_array(content: bytes, size: int) -> bytes:
    version, header, _ = parts(content)
    header["arrays"] = [{"dtype": "float32", "shape": [size // 4]}]
    return whole(version, header, bytes(size // 4 * 4))


def archive(size: int) -> bytes:
    """A zip archive of so many empty files."""
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for k in range(min(size, 20_000_000) // 100):
            made.writestr(f"{k}", "")
    return buffer.getvalue()


BOMBS: dict[str, Callable[[bytes, int], bytes]] = {
    "empty objects": with_more("{}"),
    "empty lists": with_more("[]"),
    "objects of one": with_more('{"":0}'),
    "small numbers": with_more("-9"),
    "numbers": with_more("999"),
    "fractions": with_more("0.5"),
    "short strings": with_more('"ab"'),
    "strings beyond ASCII": with_more('"\\u0101"'),
    "deep lists": lambda content, size: whole(2, b"[" * (size // 2) + b"]" * (size // 2), b""),
    "wide letters": with_more('"' + "x" * 1000 + "\\ud83d\\ude00" + '"'),
    "escapes": with_more('"' + "\\n" * 1000 + '"'),
    "many keys": lambda content, size: whole(2, b"{" + b",".join(b'"%d":0' % k for k in range(size // 11)) + b"}", b""),
    "labels": changed(many_labels),
    "a long loss": changed(lambda header, size: header["history"].update(loss=[0.5] * (size // 5))),
    "a wide vocabulary": changed(
        lambda header, size: header["encoder"].update(kind="integers", vocabulary=[*range(size // 8)])
    ),
    "many features": changed(
        lambda header, size: header.update(
            encoder={"kind": "series", "mean": [0.5] * (size // 10), "scale": [0.5] * (size // 10)}
        )
    ),
    "names of features": changed(long_names),
    "class weights": changed(
        lambda header, size: header["settings"].update(class_weight=[[k, 1.0] for k in range(size // 15)])
    ),
    "sides": changed(lambda header, size: header.update(sides={"trained": "AAAA" * (size // 4), "aside": ""})),
    "a setting of lists": changed(lambda header, size: header["settings"].update(cell=[["x"]] * (size // 8))),
    "a large integer": lambda content, size: with_more("9" * 4000)(content, size),
    "layers": lambda content, size: layers(size),
    "an array": an_array,
    "no array": lambda content, size: whole(2, b"{}", bytes(size)),
    "safetensors": lambda content, size: (
        struct.pack("<Q", size) + (b'{"a":[' + b"{}," * (size // 3) + b"{}]}").ljust(size)[:size]
    ),
    "a zip": lambda content, size: archive(size),
}

# ---------------------------------------------------------------- one file


def tried(path: Path, scratch: Path, measured: bool = True) -> str | None:
    """None where a file is refused as it should be, or is as good as any; else what it did instead."""
    size = path.stat().st_size
    gc.collect()
    if measured:
        tracemalloc.start()
    begin = time.process_time()
    try:
        loaded, failure = xlstm.load(path, "cpu"), None
    except ValueError as error:
        loaded, failure = None, None if str(path) in str(error) else f"a message without the file's path: {error}"
        failure = failure or (f"a message of {len(str(error))} letters" if len(str(error)) > 4000 else None)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        loaded, failure = None, f"{type(error).__name__}: {error!s:.200}"
    seconds = time.process_time() - begin
    if measured:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if peak > TIMES * size + BESIDE:
            return f"{peak / 1e6:.1f} MB for a file of {size / 1e6:.2f} MB"
    elif seconds > SECONDS + SECONDS_A_BYTE * size:
        return f"{seconds:.1f} s for a file of {size / 1e6:.2f} MB"
    if failure or loaded is None:
        return failure
    try:
        return used(loaded, scratch)
    except Exception as error:
        return f"loaded, then {type(error).__name__}: {error!s:.200}"


def hangs(*_: object) -> None:
    raise TimeoutError("no end after 60 seconds of the processor")


def used(loaded: Any, scratch: Path) -> str | None:
    """What loaded answers, and is saved and loaded again, twice the same."""
    loaded.save(scratch)
    before = scratch.read_bytes()
    again = xlstm.load(scratch, "cpu")
    again.save(scratch)
    if scratch.read_bytes() != before:
        return "loaded and saved, it is another file each time"
    if hasattr(loaded, "get_params"):
        type(loaded)(**loaded.get_params()).check_parameters()
        repr(loaded)
        call = loaded.transform if hasattr(loaded, "transform") else loaded.predict
        if (loaded.fitted_state().columns or 0) > 10**6:  # a table so wide would take the memory, not the file
            return None
        X = some_of(loaded)
        if loaded.fitted_state().encoder.kind == "integers":
            loaded.set_params(encoding="tokens")  # how X is read: whoever has the model may say it
        if len(call(X)) != len(X):
            return "another number of answers than of sequences"
    else:
        loaded(np.zeros((2, 3, loaded.input_size), loaded.dtype))
    return None


def some_of(estimator: Any) -> Any:
    fitted = estimator.fitted_state()
    encoder = fitted.encoder
    if encoder.kind == "series":
        if fitted.columns is not None:
            return np.full((2, fitted.columns), encoder.mean)
        return [np.stack([encoder.mean] * 3)] * 2
    tokens = encoder.vocabulary[:3]
    return ["".join(tokens)] * 2 if encoder.kind == "characters" else [tokens] * 2


# ---------------------------------------------------------------- the soak


def bases() -> list[bytes]:
    """Files as they are: those of every version that the tests have, and that of a training that goes on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resumed"
        kept = xlstm.SequenceClassifier(
            hidden_size=2, max_iter=2, random_state=0, early_stopping=True, validation_fraction=0.3, n_iter_no_change=9,
            class_weight={"x": 1.0, "y": 2.0}, device="cpu",
        )  # fmt: skip
        kept.fit(["ab", "ba", "b", "a"] * 3, ["x", "y", "x", "y"] * 3, resume=path)
        return [*(path.read_bytes() for path in sorted(FILES.glob("v*/*.xlstm"))), path.read_bytes()]


def cases(seeds: range, size: int) -> Iterator[tuple[str, bytes]]:
    """Changed files of these seeds; in front of the first seed the corpus, and bombs of `size` bytes."""
    every = bases()
    if seeds.start == 0:
        for path in sorted(CORPUS.glob("*.xlstm")):
            yield path.name, path.read_bytes()
        for name, make in BOMBS.items():
            yield name, make(every[-1], size)
    for seed in seeds:
        yield f"seed {seed}", mutated(random.Random(seed), every[seed % len(every)])


def portion(seeds: range, size: int, keep: Path | None = None, until_found: bool = False) -> tuple[int, list[str]]:
    """How many files were tried, and what failed."""
    signal.signal(signal.SIGPROF, hangs)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        begun = int(file.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (begun + ADDRESSES, hard))
    failures, number = [], 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, scratch = Path(folder) / "model.xlstm", Path(folder) / "scratch"
        gc.freeze()  # what is here already is not looked through again before each file
        for name, content in cases(seeds, size):
            path.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, 60)  # seconds of the processor
            found = tried(path, scratch) or (tried(path, scratch, measured=False) if len(content) > 10**6 else None)
            signal.setitimer(signal.ITIMER_PROF, 0)
            number += 1
            if found:
                failures.append(f"{name}: {found}")
                if keep is not None and len(content) < 10_000:
                    (keep / f"{hashlib.sha256(content).hexdigest()[:12]}.xlstm").write_bytes(content)
                if until_found:
                    break
    gc.unfreeze()
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return number, failures


def soak(short: bool = False, planted: bool = False, tries: int | None = None, keep: Path | None = None) -> Row:
    """Planted: nobody looks at what a header would take."""
    tries, size = tries or (120 if short else 1_000_000), 900_000 if short else 20_000_000
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    if planted:
        headers.check = lambda *_: None  # type: ignore[assignment]
        return Row("mutated", *portion(range(tries), size, until_found=True))
    # In processes of their own, one for each processor: tracemalloc keeps some kilobytes each time that it is begun.
    portions = [range(first, min(first + PORTION, tries)) for first in range(0, tries, PORTION)]
    if len(portions) == 1:
        return Row("mutated", *portion(portions[0], size, keep))
    number, failures = 0, []
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0)), maxtasksperchild=1) as pool:
        for tried_here, failed in pool.imap_unordered(functools.partial(portion, size=size, keep=keep), portions):
            number, failures = number + tried_here, failures + failed
            print(f"mutated: {number} tried, {len(failures)} failed", file=sys.stderr, flush=True)
    return Row("mutated", number, failures)
