"""The compiled modules; everything else about the package is in pyproject.toml.

Switches, all by environment, for builds of our own (a plain `pip install` sets none of them):

ICEHOUSE_WERROR=1      warnings of our own C are errors, and there are more of them
ICEHOUSE_DEBUG=1       asserts and the `check_*()` invariants are on, optimisation is low
ICEHOUSE_SANITIZE=...  for example `address,undefined`: build with these sanitizers
"""

import copy
import hashlib
import os
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Each is compiled into `_image`; `native/ffi/build.py` names what goes into `_arena`.
C_FOLDERS = ["native/arena", "native/arena/os", "native/image", "native/module"]
FFI_BUILDER = "native/ffi/build.py"
# The headers of Python are not ours to mend: as system headers they give no warnings.
STRICT = [
    "-Werror",
    "-Wconversion",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wvla",
    "-isystem",
    sysconfig.get_path("include"),
]


def switch(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def compile_flags(*, strict: bool) -> tuple[list[str], list[str]]:
    """Flags for the compiler and for the linker."""
    compiling = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra"]
    linking: list[str] = []
    if strict:
        compiling += STRICT
    if switch("ICEHOUSE_DEBUG"):
        compiling += ["-O1", "-g", "-UNDEBUG", "-DICEHOUSE_DEBUG=1"]
    if sanitizers := os.environ.get("ICEHOUSE_SANITIZE", ""):
        chosen = f"-fsanitize={sanitizers}"
        compiling += ["-O1", "-g", chosen, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
        linking += [chosen]
    return compiling, linking


class BuildExt(build_ext):
    """Compiles file by file, in parallel, and only what is older than its source or any header.

    The two modules share the arena's files but not their objects, which are also kept apart by
    flags: a debug build does not spoil the next ordinary one.
    """

    def build_extension(self, ext: Extension) -> None:
        # What cffi generates is not ours to mend either; the arena's own files are
        # compiled strictly in `_image`.
        strict = switch("ICEHOUSE_WERROR") and ext.name == "icehouse.native._image"
        compiling, linking = compile_flags(strict=strict)
        inputs = [*Path("native").rglob("*.h"), Path("setup.py")]
        newest = max(path.stat().st_mtime for path in inputs)
        digest = hashlib.sha256(repr(compiling).encode()).hexdigest()[:8]
        folder = Path(self.build_temp, f"{ext.name}-{digest}")

        def compile_one(source: str) -> str:
            [target] = self.compiler.object_filenames([source], output_dir=str(folder))
            needed = max(newest, Path(source).stat().st_mtime)
            if not Path(target).exists() or Path(target).stat().st_mtime < needed:
                self.compiler.compile(
                    [source],
                    output_dir=str(folder),
                    include_dirs=ext.include_dirs,
                    macros=[*ext.define_macros, *[(name,) for name in ext.undef_macros]],
                    extra_postargs=[*ext.extra_compile_args, *compiling],
                )
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, ext.sources))
        linked = copy.copy(ext)
        linked.sources = []
        linked.extra_objects = [*ext.extra_objects, *objects]
        linked.extra_link_args = [*ext.extra_link_args, *linking]
        linked.depends = objects
        super().build_extension(linked)


setup(
    cmdclass={"build_ext": BuildExt},
    ext_modules=[
        Extension(
            "icehouse.native._image",
            sources=sorted(str(path) for folder in C_FOLDERS for path in Path(folder).glob("*.c")),
            include_dirs=["native"],
        )
    ],
    cffi_modules=[f"{FFI_BUILDER}:ffibuilder"] if Path(FFI_BUILDER).exists() else [],
)
