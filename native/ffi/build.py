"""Builds `icehouse.native._arena`: the arena for administration and tests, through cffi.

The declarations are the public headers of the arena themselves, so there is no second copy to keep
in step; in API mode the C compiler checks them besides. This file does not import icehouse.
"""

import re
from pathlib import Path

from cffi import FFI

NATIVE = Path(__file__).resolve().parent.parent
HEADERS = ("arena/arena.h", "arena/admin.h", "arena/board.h", "arena/wire.h", "arena/catalog.h")
FOLDERS = ("native/arena", "native/arena/os")


def declarations(header: str) -> str:
    """A header without comments, preprocessor lines and assertions, which cffi does not read."""
    text = re.sub(r"/\*.*?\*/", "", (NATIVE / header).read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"^_Static_assert\(.*?\);$", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def constants(header: str) -> str:
    """The header's plain integer macros; the compiler fills in their values."""
    text = (NATIVE / header).read_text(encoding="utf-8")
    number = r"(?:0x)?[0-9a-f]+u?|UINT64_MAX|UINT64_C\(\w+\)|\(4096u \+ .*\)"
    names = re.findall(rf"^#define (IH_\w+) (?:{number})(?:\s|$)", text, flags=re.MULTILINE)
    return "\n".join(f"#define {name} ..." for name in names)


ffibuilder = FFI()
for path in HEADERS:
    ffibuilder.cdef(constants(path) + "\n" + declarations(path))
ffibuilder.set_source(
    "icehouse.native._arena",
    "\n".join(f'#include "{path}"' for path in HEADERS),
    sources=sorted(
        str(path.relative_to(NATIVE.parent))
        for folder in FOLDERS
        for path in (NATIVE.parent / folder).glob("*.c")
    ),
    include_dirs=["native"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
