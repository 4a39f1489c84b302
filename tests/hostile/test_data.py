"""H4: arrays and tables of another user are private copies, or in memory that nobody can write."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon

import icehouse

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from test_users import PRODUCER, as_user, open_to_all  # noqa: E402

sys.path.remove(HERE)

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
np = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")


def mapped_at(address: int) -> str:
    """The name of what is mapped at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, _, end = line.split()[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return line.partition("/")[2]
    return ""


def test_h04_what_another_user_made_is_copied_unless_nobody_can_write_it(tmp_path: Path) -> None:
    objects: dict[str, Any] = {
        "numbers": np.arange(100_000),
        "dates": np.arange(100_000).astype("M8[s]"),
        "table": pa.table({"n": range(100_000), "t": [str(i) for i in range(100_000)]}),
    }
    # The other user can't import what lies in our folders.
    assert icehouse.freeze(objects)["table"].equals(objects["table"])
    roles = {"producer": {"uids": [PRODUCER]}}
    with Daemon(tmp_path / "d", capacity="64MiB", roles=roles) as daemon:
        open_to_all(tmp_path / "d")

        def work() -> None:
            with icehouse.connect(daemon.socket) as store:
                store.put(objects, name="open")
                store.put(objects, name="sealed", seal=True)

        as_user(PRODUCER, work)
        with icehouse.connect(daemon.socket) as store:
            for name, in_place in (("open", False), ("sealed", True)):
                found = store.get(name)
                table = found["table"]
                assert table.equals(objects["table"])
                addresses = [
                    found["numbers"].__array_interface__["data"][0],
                    found["dates"].__array_interface__["data"][0],
                    table["n"].chunk(0).buffers()[1].address,
                    table["t"].chunk(0).buffers()[1].address,
                ]
                for address in addresses:
                    assert ("icehouse" in mapped_at(address)) == in_place
                private = icehouse.cow(found["numbers"])
                private[0] = 7
                assert found["numbers"][0] == 0
