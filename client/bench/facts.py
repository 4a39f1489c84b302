"""What a result depends on: the machine, the versions, and a process's memory."""

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import icehouse


def private_bytes() -> int:
    """Measure the memory that this process alone has: private pages of all its mappings.

    From /proc/self/smaps_rollup; reading it costs a walk over the page tables.
    """
    total = 0
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1]) * 1024
    return total


def processor() -> str:
    """Give the model of the processor, as the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def version_of(package: str) -> str | None:
    """Give the installed version of another package, if it is there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, object]:
    """Collect the facts that belong beside every measurement."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    is_gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": pages,
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "compiler": platform.python_compiler(),
        "gil": is_gil_enabled(),
        "icehouse": icehouse.__version__,
        "msgspec": version_of("msgspec"),
        "numpy": version_of("numpy"),
    }
