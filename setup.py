"""The compiled kernels of the CPU; everything else of the build is in pyproject.toml.

backends/cpu/kernels/kernels.cpp is compiled once for each instruction set and dtype, so that one wheel runs on every
CPU of its architecture: the best of them is chosen when the module is loaded. Without a GCC or Clang the package
installs without kernels, and says so (`xlstm devices`).
"""

import os
import platform
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = "backends/cpu"

# The instruction sets of each architecture and the compiler's flags for them: the same names as in targets.h.
TARGETS = {
    "x86_64": {
        # The compiler uses the last ones of a line only where the source names them, and there the CPU is asked first.
        "avx512": [
            "-mavx512f",
            "-mavx512vl",
            "-mavx512bw",
            "-mavx512dq",
            "-mavx2",
            "-mfma",
            "-mf16c",
            "-mavx512bf16",
            "-mavx512vnni",
        ],
        "avx2": ["-mavx2", "-mfma", "-mf16c", "-mavxvnni"],
        "sse2": ["-msse2"],
    },
    "aarch64": {"neon": []},
}
ARCHITECTURES = {"AMD64": "x86_64", "arm64": "aarch64"}  # other systems' names for them
# -ffast-math is not among them: it gives wrong results for NaN, and slower products.
FLAGS = [
    "-O3",
    "-g0",
    "-std=c++17",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fvisibility=hidden",
]


class BuildKernels(build_ext):
    """Compiles kernels/kernels.cpp for each target, then the module around them."""

    built = False

    def run(self):
        # An editable installation runs the extension in the checkout. One of an earlier version goes on serving there
        # while this one is built, and must not stay where that fails.
        try:
            super().run()
        finally:
            stale = os.path.join(FOLDER, "_kernels" + sysconfig.get_config_var("EXT_SUFFIX"))
            if (self.inplace or self.editable_mode) and not self.built and os.path.exists(stale):
                os.remove(stale)

    def build_extension(self, extension):
        if self.compiler.compiler_type == "msvc":
            raise RuntimeError("the kernels need GCC or Clang")
        extra = os.environ.get("XLSTM_BUILD_FLAGS", "").split()  # sanitizers, a debugger
        flags = [*FLAGS, *extra]
        if self.compiles(["-fopenmp"], "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"):
            flags.append("-fopenmp")
            extension.extra_link_args.append("-fopenmp")
        extension.extra_link_args += extra
        machine = ARCHITECTURES.get(platform.machine(), platform.machine())

        # Older compilers lack some of these; the sources see that, and do without.
        newer = ("-mavx512bf16", "-mavx512vnni", "-mavxvnni") if machine == "x86_64" else ()
        missing = [flag for flag in newer if not self.compiles([flag])]

        def compile_for(target, real, target_flags):
            return self.compiler.compile(
                [f"{FOLDER}/kernels/kernels.cpp"],
                output_dir=os.path.join(self.build_temp, target, real),
                macros=[("XLSTM_TARGET", target), ("XLSTM_REAL", real)],
                extra_postargs=[*flags, "-fno-exceptions", "-fno-rtti", *(f for f in target_flags if f not in missing)],
                depends=extension.depends,
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            started = [
                pool.submit(compile_for, target, real, target_flags)
                for target, target_flags in TARGETS.get(machine, {"generic": []}).items()
                for real in ("float", "double")
            ]
            for objects in started:
                extension.extra_objects += objects.result()
        extension.extra_compile_args += flags
        super().build_extension(extension)
        self.built = True

    def compiles(self, flags, program="int main() { return 0; }\n"):
        """Whether the compiler takes these flags and links with them."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "empty.cpp")
            with open(source, "w", encoding="utf-8") as file:
                file.write(program)
            try:
                objects = self.compiler.compile([source], output_dir=folder, extra_postargs=flags)
                self.compiler.link_executable(objects, os.path.join(folder, "empty"), extra_postargs=flags)
            except Exception:  # distutils' errors have no common base that is public
                return False
        return True


headers = [*glob(f"{FOLDER}/*.h"), *glob(f"{FOLDER}/kernels/*.h")]
kernels = Extension(
    "xlstm.backends.cpu._kernels",
    [f"{FOLDER}/module.cpp"],
    language="c++",
    depends=[*sorted(headers), f"{FOLDER}/kernels/kernels.cpp"],  # and so in the source distribution
    optional=True,  # without a compiler the package installs without it
)
# A folder that is new for each build: from one that stays, wheels would take files that are no longer in the sources.
with tempfile.TemporaryDirectory() as build:
    setup(
        ext_modules=[] if sys.platform == "win32" else [kernels],
        cmdclass={"build_ext": BuildKernels},
        options={"build": {"build_base": build}},
    )
