"""Modules held by name: proxies, and what an image makes of them."""

import collections.abc
import copy
import json
import os.path
import pickle
import sys
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import FrozenError, ImmutableModule, Record, immutable, interpreters
from icehouse.store.freezing import codes, hooks
from icehouse.store.freezing.trust import NONE, OWN


def test_attributes_are_those_of_the_module() -> None:
    proxy = ImmutableModule("json")
    assert proxy.dumps is json.dumps
    assert proxy.__name__ == "json"
    assert dir(proxy) == dir(json)
    assert vars(proxy)["loads"] is json.loads
    assert type(vars(proxy)) is types.MappingProxyType
    with pytest.raises(AttributeError, match="nothing"):
        _ = proxy.nothing


def test_by_name_or_by_module() -> None:
    assert ImmutableModule(json) == ImmutableModule("json")
    assert ImmutableModule(os.path).join is os.path.join
    assert ImmutableModule("os.path").join is os.path.join
    assert ImmutableModule(collections.abc).Sized is collections.abc.Sized
    assert ImmutableModule(sys.modules["__main__"]).__name__ == "__main__"
    assert ImmutableModule("json") != ImmutableModule("pickle")
    assert ImmutableModule("json") != "json"
    assert len({ImmutableModule(json), ImmutableModule("json"), "json"}) == 2
    assert repr(ImmutableModule("os.path")) == "ImmutableModule('os.path')"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "a_module_that_counts.py").write_text("count = 0\nitems = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "a_module_that_counts"
    sys.modules.pop("a_module_that_counts", None)


def test_it_is_imported_when_it_is_used(module: str) -> None:
    proxy = icehouse.freeze([ImmutableModule(module)])[0]
    assert module not in sys.modules
    assert proxy == ImmutableModule(module)
    assert module not in sys.modules
    assert proxy.count == 0
    assert module in sys.modules


def test_importing_it_at_once(module: str) -> None:
    proxy = immutable.import_module(module)
    assert module in sys.modules
    proxy.items.append(1)
    assert sys.modules[module].items == [1]
    with pytest.raises(ImportError):
        immutable.import_module("a_module_that_is_not_there")


def test_writes_are_refused(module: str) -> None:
    proxy = ImmutableModule(module)
    with pytest.raises(FrozenError, match="setting attribute 'count' is refused"):
        proxy.count = 1
    with pytest.raises(FrozenError, match="deleting attribute 'count' is refused"):
        del proxy.count
    with pytest.raises(FrozenError):
        proxy.__class__ = object
    with pytest.raises(TypeError):
        vars(proxy)["count"] = 1
    assert proxy.count == 0


def test_a_module_that_is_not_there() -> None:
    proxy = ImmutableModule("a_module_that_is_not_there")
    with pytest.raises(ModuleNotFoundError) as caught:
        _ = proxy.x
    assert "ImmutableModule" in caught.value.__notes__[0]


@pytest.mark.parametrize("name", ["", ".json", "a b", "json.", "a-b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="no absolute name"):
        ImmutableModule(name)


def test_what_is_no_module() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="takes a module or its name"):
        ImmutableModule(wrong)
    with pytest.raises(ValueError, match=r"sys\.modules"):
        ImmutableModule(types.ModuleType("json"))
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (ImmutableModule,), {})


def test_it_is_frozen_and_copies_are_itself() -> None:
    proxy = ImmutableModule("json")
    assert icehouse.is_frozen(proxy)
    assert icehouse.is_frozen((1, proxy))
    assert copy.copy(proxy) is proxy
    assert copy.deepcopy([proxy])[0] is proxy
    assert pickle.loads(pickle.dumps(proxy)) == proxy
    assert weakref.ref(proxy)() is proxy


def test_it_travels() -> None:
    with icehouse.Store(capacity=1 << 20) as store:
        handle = store.put({"module": ImmutableModule("json")})
        assert store.get(handle)["module"].dumps([1]) == "[1]"
        assert icehouse.thaw(store.get(handle)) == {"module": ImmutableModule("json")}
        if not interpreters.supported():
            pytest.skip("no interpreters here")
        with interpreters.Interpreter() as other:
            other.run(
                "import icehouse\n"
                f"module = icehouse.get({str(handle)!r})['module']\n"
                "assert module.dumps([1]) == '[1]'\n"
                f"assert id(module.dumps) != {id(json.dumps)}\n"
            )


def test_h21_without_trust_in_code_it_is_a_record(tmp_path: Path) -> None:
    icehouse.save([ImmutableModule("json")], tmp_path / "image")
    found = icehouse.open_image(tmp_path / "image")[0]
    assert type(found) is Record
    assert icehouse.type_name(found) == "icehouse.ImmutableModule"
    assert found.name == "json"
    trusted = icehouse.open_image(tmp_path / "image", trust=True)
    assert trusted[0] == ImmutableModule("json")


@pytest.mark.parametrize("payload", [5, None, "", ".x", "a b", ("json",), b"json"])
def test_damaged_payloads(payload: object) -> None:
    for trust in (OWN, NONE):
        with pytest.raises(ValueError, match="module"):
            hooks.make_value(codes.MODULE, payload, trust)
