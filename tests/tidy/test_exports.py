"""The public names, exactly. Adding one here is adding a promise."""

import pickle

import icehouse
from icehouse import interpreters
from icehouse.client import lazy

EXPORTS = """
Conflict CorruptImage FREEZABLE_EXPLICIT FREEZABLE_NO FREEZABLE_PROXY FREEZABLE_YES FrozenArray
FrozenBytes FrozenDict FrozenError FrozenFunction FrozenList FrozenObject FrozenSet FrozenTuple
Handle HandleGone IcehouseError ImmutableModule InterpreterError InterpreterLocal NotFreezable
NotFreezableError NotPermitted ProtocolError Record SharedField Store StoreClosed StoreFull
StoreUnavailable UnknownName connect cow disabled dumps enc_hook explain_freeze explicitly_freezable
freezable freeze frozen get is_frozen json_default open_image register_freezable same save
set_freezable thaw to_pandas type_name unfreezable
""".split()

# Submodules that an import of the package brings along.
MODULES = {"aio", "client", "immutable", "interpreters", "metrics", "native", "server", "store"}


def test_all_is_the_list() -> None:
    assert sorted(icehouse.__all__) == EXPORTS


def test_nothing_else_is_public() -> None:
    for name in lazy.LAZY_NAMES:
        getattr(icehouse, name)  # it is there from then on
    public = {name for name in vars(icehouse) if not name.startswith("_")}
    assert public - MODULES - {"TYPE_CHECKING"} == set(EXPORTS)


def test_classes_are_of_the_module_that_has_them() -> None:
    """Messages and tracebacks show the name that a user can import."""
    assert icehouse.Record.__module__ == icehouse.InterpreterError.__module__ == "icehouse"
    assert interpreters.BrokenPool.__module__ == interpreters.__name__
    assert pickle.loads(pickle.dumps(interpreters.BrokenPool("b"))).args == ("b",)


def test_every_public_name_says_what_it_is() -> None:
    silent = [name for name in EXPORTS if not (getattr(icehouse, name).__doc__ or "").strip()]
    assert silent == []
