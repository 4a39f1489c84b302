"""The public names, exactly. Adding one here is adding a promise."""

import icehouse

EXPORTS = """
Conflict CorruptImage FrozenArray FrozenBytes FrozenDict FrozenError FrozenList FrozenObject
FrozenSet FrozenTuple Handle HandleGone IcehouseError InterpreterError NotFreezableError
NotPermitted ProtocolError Record Store StoreClosed StoreFull StoreUnavailable UnknownName connect
cow dumps enc_hook freeze get is_frozen json_default open_image register_freezable same save thaw
to_pandas type_name
""".split()

# Submodules that an import of the package brings along.
MODULES = {"aio", "client", "interpreters", "native", "server", "store"}


def test_all_is_the_list() -> None:
    assert sorted(icehouse.__all__) == EXPORTS


def test_nothing_else_is_public() -> None:
    public = {name for name in vars(icehouse) if not name.startswith("_")}
    assert public - MODULES - {"TYPE_CHECKING"} == set(EXPORTS)


def test_every_public_name_says_what_it_is() -> None:
    silent = [name for name in EXPORTS if not (getattr(icehouse, name).__doc__ or "").strip()]
    assert silent == []
