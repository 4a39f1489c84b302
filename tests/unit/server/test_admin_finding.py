"""Finding images by what they are, and in an order: against a model that looks at all of them."""

import importlib.util
import itertools
import operator
import random
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from admin_client import Admin
from daemons import Daemon, wait_until

import icehouse
from icehouse.client.control import Control
from icehouse.store.wire import messages

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

from icehouse.server.admin.finding import KEY, TYPES  # noqa: E402 - after the look
from icehouse.server.frames import HANDLE  # noqa: E402 - after the look
from icehouse.server.kinds import ROOTS  # noqa: E402 - after the look

PRODUCER = """
import sys, icehouse
store = icehouse.connect(sys.argv[1])
for number in range(300):
    store.put(["left behind", number] if number % 2 else {"n": number})
for number in range(40):
    store.put({"kept": number}, name=f"left/{number}")
"""

READER = """
import sys, icehouse
store = icehouse.connect(sys.argv[1])
views = [store.get(handle) for handle in sys.argv[2:]]
print("ready", flush=True)
sys.stdin.read()
"""


def test_types_are_those_that_are_known() -> None:
    assert set(TYPES) == {name for name in ROOTS if name is not None}


class World:
    """Some thousands of images of all kinds and states."""

    def __init__(self, daemon: Daemon) -> None:
        self.admin = Admin(daemon)
        self.store = store = icehouse.connect(daemon.socket)
        self.random = chance = random.Random(7)
        subprocess.run([sys.executable, "-c", PRODUCER, daemon.socket], check=True, timeout=100)
        kinds: list[Any] = [[1, "a"], {"b": 2}, "text", 7, 1.5, (1, "x"), b"bytes", None, True]
        self.handles = [
            store.put(
                [chance.choice(kinds), "x" * chance.randrange(400)]
                if chance.random() < 0.7
                else chance.choice(kinds)
            )
            for _ in range(2500)
        ]
        self.handles += [store.put(bytes(100_000 + 10_000 * at)) for at in range(8)]
        self.handles += [store.put(bytes(70_000), evictable=True) for _ in range(3)]
        for at in range(0, 1200, 3):
            store.bind(f"name/{at % 40}/{at}", self.handles[at])
        for at in range(0, 600, 10):
            store.bind(f"second/{at}", self.handles[at])
        # Deleted ones stay while they are read.
        self.views = [store.get(handle) for handle in self.handles[-300:]]
        for handle in self.handles[-200:]:
            store.delete(handle)
        with Control(daemon.socket) as control:
            wait_until(lambda: self.is_settled(control), "the dead producer's images")

    @staticmethod
    def is_settled(control: Control) -> bool:
        request = messages.AskObjects(state="orphan", limit=1)
        return bool(control.ask(request, messages.Objects).items)

    def close(self) -> None:
        self.admin.close()
        del self.views
        self.store.close()

    def pages(self, limit: int = 1000, **filters: Any) -> list[dict[str, Any]]:
        """All items of a list."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            query = urllib.parse.urlencode({**filters, "limit": limit, "cursor": cursor})
            answer = self.admin(f"/api/v1/objects?{query}")
            assert answer.status == 200, answer
            page = answer.json
            assert len(page["items"]) <= limit
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = page["next"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("d")
    with Daemon(folder, http="127.0.0.1:0", capacity="64MiB", segment_size="256KiB") as daemon:
        made = World(daemon)
        yield made
        made.close()


def fits(item: dict[str, Any], filters: dict[str, Any], names: dict[str, set[str]]) -> bool:
    """What the API promises, in the plainest words."""
    wanted = filters.get("type")
    kind = item["type"]
    return (
        filters.get("state") in (None, item["state"])
        and (
            wanted is None
            or (
                kind is not None and kind.startswith(wanted[:-1])
                if wanted[-1:] == "*"
                else kind == wanted
            )
        )
        and (
            "name" not in filters
            or any(name.startswith(filters["name"]) for name in names.get(item["handle"], ()))
        )
        and filters.get("pid") in (None, item["pid"])
        and filters.get("uid") in (None, item["uid"])
        and filters.get("min_size", 0) <= item["size"] <= filters.get("max_size", 2**63)
    )


def sorted_by(items: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """In the order that is asked for; equal ones by their places."""
    if sort == "place":
        return items
    if sort.endswith("size"):
        return sorted(items, key=lambda item: item["size"], reverse=sort.startswith("-"))
    return sorted(items, key=created, reverse=sort.startswith("-"))


def created(item: dict[str, Any]) -> datetime:
    """When it was put: written without a fraction where that is 0, so text would not do."""
    return datetime.fromisoformat(item["created"])


def chosen(world: World, everything: list[dict[str, Any]]) -> dict[str, Any]:
    """Some filters, of which something or nothing passes."""
    chance = world.random
    some = chance.choice(everything)
    possible: dict[str, Any] = {
        "state": chance.choice(["live", "deleted", "orphan", "spilled"]),
        "type": chance.choice([*TYPES, some["type"], "b*", "str*", "*", "none"]),
        "name": chance.choice(["name/", "name/1", "second/", "left/3", "", "nothing"]),
        "pid": chance.choice([some["pid"], 1]),
        "uid": chance.choice([some["uid"], 12345]),
        "min_size": chance.choice([some["size"], 0, 200, 10**12]),
        "max_size": chance.choice([some["size"], 300, 10**12]),
    }
    keys = chance.sample(list(possible), chance.choice([0, 1, 1, 2, 2, 3]))
    return {key: possible[key] for key in keys if possible[key] not in (None, "")}


@pytest.mark.parametrize("query", [{}, {"sort": "size"}, {"type": "*"}, {"state": "deleted"}])
def test_lists_tell_by_how_many_an_image_is_leased(world: World, query: dict[str, str]) -> None:
    leased = {str(handle) for handle in world.handles[-300:]}
    # What is deleted is leased to nobody else.
    twice = [str(handle) for handle in world.handles[-300:-200:7]]
    reader = [sys.executable, "-c", READER, world.store.remote.socket, *twice]
    with subprocess.Popen(reader, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        # Numbers, text and short tuples are copied, so that nobody leases them.
        told = {
            item["handle"]: item["leases"]
            for item in world.pages(777, **query)
            if item["type"] in ("dict", "list")
        }
        other.communicate(timeout=100)
    assert told == {handle: (handle in leased) + (handle in twice) for handle in told}
    deleted = query.get("state") == "deleted"
    assert sum(count > 0 for count in told.values()) > (100 if deleted else 150)
    assert (2 in told.values()) is not deleted


@pytest.mark.slow
@pytest.mark.watchdog(300)
def test_every_filter_and_order_against_a_model(world: World, soak_factor: int) -> None:
    everything = world.pages()
    assert len(everything) > 2500
    deleted = world.pages(state="deleted")
    assert 100 < len(deleted) <= 200
    assert {item["state"] for item in everything} == {"live", "deleted", "orphan"}
    assert {item["type"] for item in everything} >= {"list", "dict", "str", "int", "bytes", "tuple"}
    names: dict[str, set[str]] = {}
    cursor = ""
    while True:
        page = world.admin(f"/api/v1/names?limit=1000&cursor={cursor}").json
        for item in page["items"]:
            names.setdefault(item["handle"], set()).add(item["name"])
        if page["next"] is None:
            break
        cursor = page["next"]
    found = 0
    for _ in range(80 * soak_factor):
        filters = chosen(world, everything)
        sort = world.random.choice(["place", "size", "-size", "created", "-created"])
        limit = world.random.choice([1000, 1000, 333, 50])
        # What is deleted and read by nobody is told only to who asks for what is deleted.
        among = deleted if filters.get("state") == "deleted" else everything
        wanted = [item for item in among if fits(item, filters, names)]
        if len(wanted) > 20 * limit:
            limit = 1000
        told = world.pages(limit, sort=sort, **filters)
        if sort == "place" and "name" in filters:
            # In the order of their names.
            assert {item["handle"] for item in told} == {item["handle"] for item in wanted}
            assert len(told) == len(wanted), filters
        else:
            assert [item["handle"] for item in told] == [
                item["handle"] for item in sorted_by(wanted, sort)
            ], (filters, sort, limit)
        found += bool(wanted)
    assert found > 20


def test_ages(world: World) -> None:
    everything = world.pages()
    assert world.pages(max_age=10_000_000) == everything
    assert world.pages(min_age=10_000_000) == []
    old = [item for item in everything if item["state"] == "orphan"]
    new = [item for item in everything if item["state"] != "orphan"]
    assert max(map(created, old)) <= min(map(created, new))
    first = created(new[0])
    age = (datetime.now(first.tzinfo) - first).total_seconds()
    assert len(world.pages(max_age=age + 1000, sort="-created")) == len(everything)
    for told in (world.pages(min_age=0), world.pages(max_age=1e11)):
        assert len(told) == len(everything)


def test_what_was_put_just_now_has_an_age(world: World) -> None:
    """Also within the second in which it was put."""
    for turn in range(3):
        handle = str(world.store.put({"just": "now"}))
        for filters in ({"min_age": 0}, {"max_age": 5}, {"min_age": 0, "max_age": 5}):
            # A page of another length is none that is kept.
            told = world.pages(sort="-created", limit=1000 - turn, **filters)
            assert told[0]["handle"] == handle, filters
        assert handle not in [item["handle"] for item in world.pages(min_age=3600)]
        world.store.delete(icehouse.Handle.from_text(handle))


def all_live(control: Control) -> list[messages.Object]:
    items: list[messages.Object] = []
    cursor = ""
    while True:
        asked = messages.AskObjects(state="live", cursor=cursor, limit=256)
        page = control.ask(asked, messages.Objects)
        items += page.items
        cursor = page.cursor
        if not cursor:
            return items


def test_a_step_gives_the_first_of_the_places_that_it_has_passed(tmp_path: Path) -> None:
    """However many images there are of which only a second look tells whether they are wanted.

    Else what goes between two steps would hide others, which were held to come after it.
    """
    with (
        Daemon(tmp_path, capacity="64MiB", segment_size="256KiB") as daemon,
        icehouse.connect(daemon.socket) as store,
        Control(daemon.socket) as control,
    ):
        for number in range(10):
            store.put([number] * (number + 1))
        subprocess.run([sys.executable, "-c", PRODUCER, daemon.socket], check=True, timeout=100)
        wait_until(lambda: World.is_settled(control), "the dead producer's images")
        for number in range(5):
            store.put(bytes(200_000 + number), seal=True)
        items = all_live(control)
        assert len(items) == 55
        for sort, limit in itertools.product(("size", "-size", "created", "-created"), (1, 3, 300)):
            read = operator.attrgetter("size" if sort.endswith("size") else "created_ns")
            keys = sorted(
                (2**64 - 1 - read(item) if sort.startswith("-") else read(item), *handle)
                for item in items
                for handle in [HANDLE.unpack(item.handle)]
            )
            cursor, passed = "", -1
            while True:
                asked = messages.AskKeys(state="live", sort=sort, limit=limit, cursor=cursor)
                step = control.ask(asked, messages.Keys)
                least, passed = passed, int(step.cursor, 16) if step.cursor else 2**64
                wanted = [key for key in keys if least < key[1] <= passed][:limit]
                assert list(KEY.iter_unpack(step.keys)) == wanted, (sort, limit)
                cursor = step.cursor
                if not cursor:
                    break


def test_free_text(world: World) -> None:
    everything = world.pages()
    some = everything[100]
    assert world.pages(q=some["handle"]) == [some]
    assert world.pages(q=some["handle"], max_size=1) == []
    assert world.pages(q=str(icehouse.Handle.from_bytes(b"\1" * 16))) == []
    assert world.pages(q="ih1_nonsense") == []
    lists = [item for item in everything if item["type"] == "list"]
    assert world.pages(q=" list ") == lists
    named = world.pages(q="name/39")
    assert named
    assert all(item["names"][0].startswith("name/39") for item in named)
    assert world.pages(q="name/39", type="int") == [item for item in named if item["type"] == "int"]
    assert world.pages(q="no such thing") == []
    assert world.pages(q="") == everything


WRONG = [
    "state=frozen",
    "sort=random",
    "sort=-place",
    "min_size=-1",
    "min_size=9223372036854775808",
    "max_size=x",
    "min_age=-1",
    "max_age=nan",
    "max_age=inf",
    "max_age=1e400",
    "pid=-1",
    "pid=4294967296",
    "uid=x",
    "session=1.5",
    "limit=0",
    "limit=1001",
    "limit=",
    "cursor=%21",
    "cursor=" + "A" * 3000,
    "sort=size&cursor=AAAA",
    "sort=size&cursor=LTEuMQ",
    "sort=size&cursor=MTAwMDAwMDAwMDAwMDAwMDAwLjE",
    "cursor=LTE",
    "name=" + "x" * 513,
    "type=" + "x" * 65,
]


@pytest.mark.parametrize("query", WRONG)
def test_what_makes_no_sense_is_said(world: World, query: str) -> None:
    answer = world.admin(f"/api/v1/objects?{query}")
    assert (answer.status, answer.json["type"]) == (400, "urn:icehouse:problem:invalid-request")


def test_what_there_can_not_be_is_not_found(world: World) -> None:
    for query in (
        "name=%00",
        "name=ih1_cell_",
        "type=%F0%9F%A7%8A",
        "q=%00",
        "q=%ED%A0%80",
        "session=1",
        "pid=0",
        "max_size=0",
        "min_size=9223372036854775807",
        "min_age=1e11&max_age=0",
        "sort=size&name=zzz",
    ):
        page = world.admin(f"/api/v1/objects?{query}").json
        assert page == {"items": [], "next": None}, query
