"""Declarations of packages that are installed: what their authors decorate, freezes."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import FrozenError, NotFreezableError
from icehouse.native._image import FrozenFunction
from icehouse.store.declarations import capture

SOURCE = """
import dataclasses
import enum
import icehouse

LIMITS = {"day": 1}

def helper(x):
    return x + 1

class Plain:
    pass

@icehouse.frozen
class Account:
    limits = {"day": 1000}

    class Inner:
        items = [1]

    def pay(self, x):
        return helper(x)

    @property
    def two(self):
        return 2

@icehouse.freezable
class Savings(Account):
    def save(self):
        return 3

class Undecorated:
    def f(self):
        return 1

@icehouse.freezable
class OnTop(Undecorated):
    pass

@icehouse.frozen
@dataclasses.dataclass
class Point:
    x: int = 1

@icehouse.frozen
class Color(enum.Enum):
    R = 1

@icehouse.frozen
def pay(x):
    return Account().pay(x)

def limit():
    return LIMITS["day"]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a package from where packages are installed."""
    name = "icehouse_test_installed"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.setattr(capture, "_library_paths", (*capture._paths(), f"{tmp_path}/"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module(name)
    sys.modules.pop(name)


def test_what_is_decorated_freezes(installed: Any) -> None:
    for cls in (installed.Account, installed.Account.Inner, installed.Point, installed.Color):
        assert icehouse.is_frozen(cls)
    assert type(vars(installed.Account)["pay"]) is FrozenFunction
    assert (installed.Account().pay(1), installed.Account().two, installed.pay(2)) == (2, 2, 3)
    with pytest.raises(FrozenError):
        installed.Account.limits["day"] = 5
    with pytest.raises((TypeError, AttributeError)):
        installed.Account.pay = None
    with pytest.raises(FrozenError):
        installed.Color.R.extra = 1
    store = icehouse.Store()
    view = store.get(store.put([installed.Account, installed.pay, installed.Color.R]))
    assert view[0] is installed.Account
    assert view[1](4) == 5
    assert view[2] is installed.Color.R


def test_what_is_freezable_freezes_later(installed: Any) -> None:
    icehouse.freeze(installed.Savings)
    assert icehouse.is_frozen(installed.Savings)
    assert type(vars(installed.Savings)["save"]) is FrozenFunction
    assert installed.Savings().save() == 3
    with pytest.raises(NotFreezableError, match="base Undecorated"):
        icehouse.freeze(installed.OnTop)


def test_what_is_not_decorated_stays(installed: Any) -> None:
    assert icehouse.freeze(installed.Plain) is installed.Plain
    installed.Plain.attribute = 1


def test_functions_say_what_may_help(installed: Any) -> None:
    with pytest.raises(NotFreezableError, match=r"yours: .*freezable..LIMITS"):
        icehouse.freeze(installed.limit)
    assert icehouse.freeze(lambda: installed.limit())() == 1
