"""Does the library call cuDNN as its header declares it? For somebody who has the headers.

Usage::

    python benchmarks/cudnn_signatures.py FOLDER             the folder that holds cudnn.h
    python benchmarks/cudnn_signatures.py FOLDER CUDA        and that of CUDA's own headers

A C++ compiler is asked what each parameter of each function is, and which number each constant. The headers come with
NVIDIA's packages (`nvidia/cudnn/include` in pip's nvidia-cudnn-cu12); their licence lets them be used only in systems
with NVIDIA's GPUs. Without CUDA's headers the types that cudnn.h takes from them are declared anew. The exit code is 1
if anything differs, 2 if there is no header or no compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from xlstm.backends.cuda.cudnn import plan
from xlstm.backends.cuda.cudnn.library import SIGNATURES

KINDS = {
    ctypes.c_void_p: "pointer",
    ctypes.c_char_p: "pointer",
    ctypes.c_int: "int",
    ctypes.c_uint32: "unsigned",
    ctypes.c_size_t: "size_t",
    None: "void",
}
NUMBERS = {
    "CUDNN_RNN_ALGO_STANDARD": plan.STANDARD,
    "CUDNN_RNN_ALGO_PERSIST_STATIC": plan.PERSIST_STATIC,
    "CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H": plan.SMALL_H,
    "CUDNN_RNN_TANH": plan.RNN_TANH,
    "CUDNN_LSTM": plan.LSTM,
    "CUDNN_GRU": plan.GRU,
    "CUDNN_RNN_SINGLE_INP_BIAS": plan.SINGLE_INP_BIAS,
    "CUDNN_RNN_DOUBLE_BIAS": plan.DOUBLE_BIAS,
    "CUDNN_UNIDIRECTIONAL": plan.UNIDIRECTIONAL,
    "CUDNN_LINEAR_INPUT": plan.LINEAR_INPUT,
    "CUDNN_RNN_PADDED_IO_ENABLED": plan.PADDED_IO_ENABLED,
    "CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED": plan.BATCH_MAJOR_UNPACKED,
    "CUDNN_DATA_FLOAT": plan.FLOAT,
    "CUDNN_DATA_DOUBLE": plan.DOUBLE,
    "CUDNN_DATA_HALF": plan.HALF,
    "CUDNN_DATA_BFLOAT16": plan.BFLOAT16,
    "CUDNN_DEFAULT_MATH": plan.DEFAULT_MATH,
    "CUDNN_TENSOR_OP_MATH": plan.TENSOR_OP_MATH,
    "CUDNN_FMA_MATH": plan.FMA_MATH,
    "CUDNN_FWD_MODE_INFERENCE": int(False),
    "CUDNN_FWD_MODE_TRAINING": int(True),
    "CUDNN_WGRAD_MODE_ADD": plan.WGRAD_MODE_ADD,
    "CUDNN_STATUS_NOT_SUPPORTED": 3000,
    "CUDNN_STATUS_EXECUTION_FAILED": 5000,
}
PROGRAM = """
#include <cudnn.h>
#include <cstdio>
#include <type_traits>
template <class T> const char *kind() {
  if (std::is_void_v<T>) return "void";
  if (std::is_pointer_v<T>) return "pointer";
  if constexpr (std::is_enum_v<T>) return sizeof(T) == sizeof(int) ? "int" : "an enumeration of another size";
  if (std::is_same_v<T, size_t>) return "size_t";
  if (std::is_same_v<T, int>) return "int";
  if (std::is_same_v<T, unsigned>) return "unsigned";
  return "another type";
}
template <class R, class... A> void function(const char *name, R (*)(A...)) {
  std::printf("%s\\t%s(", name, kind<R>());
  const char *comma = "";
  ((std::printf("%s%s", comma, kind<A>()), comma = ", "), ...);
  std::puts(")");
}
int main() {
"""
SHIM = {
    "cuda_runtime_api.h": "#pragma once\n#include <stddef.h>\ntypedef struct CUstream_st *cudaStream_t;\n"
    "typedef struct CUgraph_st *cudaGraph_t;\n",
    "library_types.h": "#pragma once\ntypedef enum { CUDA_R_32F = 0 } cudaDataType_t;\n"
    "typedef enum { MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL } libraryPropertyType;\n",
}


def declared(folders: list[Path], compiler: str) -> dict[str, str]:
    """What the header says of each function and number that is used; the compiler's error where it lacks one."""
    lines = [f'  function("{name}", static_cast<decltype(&{name})>(nullptr));' for name in SIGNATURES]
    lines += [f'  std::printf("{name}\\t%d\\n", int({name}));' for name in NUMBERS]
    with tempfile.TemporaryDirectory() as work:
        program = Path(work) / "signatures.cpp"
        program.write_text(PROGRAM + "\n".join(lines) + "\n}\n", encoding="utf-8")
        for name, text in SHIM.items():
            if not any((folder / name).is_file() for folder in folders):
                (Path(work) / name).write_text(text, encoding="utf-8")
        includes = [f"-I{folder}" for folder in (*folders, Path(work))]
        command = [compiler, "-std=c++17", "-Wno-deprecated-declarations", *includes, str(program), "-o", f"{work}/run"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the header lacks something that is used:\n{done.stderr}")
        told = subprocess.run([f"{work}/run"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("\t") for line in told.splitlines())  # type: ignore[arg-type]


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where cudnn.h is, and CUDA's headers")
    folders = [folder.resolve() for folder in made.parse_args().folders]
    if not (folders[0] / "cudnn.h").is_file():
        made.error(f"there is no cudnn.h in {folders[0]}")
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
    if compiler is None:
        made.error("it needs g++ or clang++")
    header = declared(folders, compiler)
    ours = {name: str(number) for name, number in NUMBERS.items()}
    for name, (result, arguments) in SIGNATURES.items():
        ours[name] = f"{KINDS[result]}({', '.join(KINDS[argument] for argument in arguments)})"
    wrong = [name for name in ours if header[name] != ours[name]]
    for name in wrong:
        print(f"{name}: the header has {header[name]}, the library {ours[name]}")
    print(f"{len(SIGNATURES)} functions and {len(NUMBERS)} numbers {'are compared' if wrong else 'agree'}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
