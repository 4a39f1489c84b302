"""Memory, address space and descriptors run out: a typed error, and nothing is lost (H13)."""

import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cgroups import inside

import icehouse
from icehouse import Store, StoreFull

pytestmark = pytest.mark.slow
MIB = 1 << 20
LIMIT = 256 * MIB
under_asan = "libasan" in os.environ.get("LD_PRELOAD", "")
needs_numpy = pytest.mark.skipif(
    importlib.util.find_spec("numpy") is None, reason="numpy is not installed"
)


def test_h13_a_full_store_says_so_and_stays_usable() -> None:
    with Store(capacity="64MiB") as store:
        handles: list[icehouse.Handle] = []
        with pytest.raises(StoreFull) as caught:
            handles.extend(store.put([i, i.to_bytes(4, "big") * 5000]) for i in range(100_000))
        error = caught.value
        usage = store.usage()
        assert error.capacity == 64 * MIB == store.capacity
        assert error.used == usage.used
        assert error.committed == usage.committed <= error.capacity
        assert error.wanted > 20_000
        assert error.largest_free < error.wanted
        for figure in (error.wanted, error.used):
            assert str(figure) in str(error).replace(",", "") or "MiB" in str(error), str(error)
        assert "delete" in str(error), str(error)
        assert len(handles) * 20_000 > 56 * MIB
        for i, handle in enumerate(handles):
            view = store.get(handle)
            assert view[0] == i
            assert view[1] == i.to_bytes(4, "big") * 5000
        del view
        with pytest.raises(StoreFull):
            store.put(b"x" * 65 * MIB)
        store.check()
        # Small ones still fit into what is left, and a place freed is a place to use.
        assert store.get(store.put({"small": 1})) == {"small": 1}
        for handle in handles[::2]:
            store.delete(handle)
        again = [store.put([i, bytes(20_000)]) for i in range(len(handles) // 2)]
        for i, handle in enumerate(handles[1::2]):
            assert store.get(handle)[0] == 2 * i + 1
        for i, handle in enumerate(again):
            assert store.get(handle) == [i, bytes(20_000)]
        store.check()


@pytest.mark.parametrize("capacity", [None, "1GiB"], ids=["default", "1GiB"])
def test_h13_under_a_cgroups_limit(child: Any, cgroup: Path, capacity: str | None) -> None:
    child("limits.in_a_cgroup", LIMIT, capacity, prefix=inside(cgroup))


@needs_numpy
@pytest.mark.skipif(under_asan, reason="ASan's own memory counts in the cgroup")
def test_h13_arrays_under_a_cgroups_limit(child: Any, cgroup: Path) -> None:
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    child("limits.arrays_in_a_cgroup", LIMIT, prefix=inside(cgroup), environment=environment)


SMALL = "mount -t tmpfs -o size=64k none /dev/shm"
ABSENT = (
    "mount -t tmpfs -o mode=755 none /dev && mknod -m 666 /dev/null c 1 3"
    " && mknod -m 666 /dev/urandom c 1 9"
)


@pytest.mark.parametrize(("state", "script"), [("small", SMALL), ("absent", ABSENT)])
def test_h13_the_size_of_dev_shm_does_not_matter(child: Any, state: str, script: str) -> None:
    tool = shutil.which("unshare")
    if tool is None:
        pytest.skip("there is no unshare")
    prefix = [tool, "--mount", "sh", "-c", f'{script} && exec "$@"', "sh"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no mount namespace of our own: {tried.stderr.strip()}")
    child("limits.without_shared_folder", state, prefix=prefix)


def test_h13_few_descriptors(child: Any) -> None:
    child("limits.few_descriptors")


def test_h13_little_address_space(child: Any) -> None:
    child("limits.little_address_space")


@pytest.fixture
def failing_malloc(tmp_path: Path) -> dict[str, str]:
    """An environment in which fail_malloc.c stands before libc's malloc."""
    compiler = shutil.which("cc")
    if compiler is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("needs a C compiler and glibc")
    source, library = Path(__file__).parent / "fail_malloc.c", tmp_path / "fail_malloc.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    # A preloaded sanitizer comes first, as it must.
    preloaded = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{preloaded} {library}".strip(), "PYTHONMALLOC": "malloc"}


@pytest.mark.parametrize("window", [1, 3, 40])
@pytest.mark.skipif(under_asan, reason="ASan has its own malloc")
def test_h13_every_allocation_fails(
    child: Any, soak_factor: int, failing_malloc: dict[str, str], window: int
) -> None:
    step = 1 if soak_factor > 1 else 7
    child("limits.allocations_fail", window, 1, step, environment=failing_malloc)
