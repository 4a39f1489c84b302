"""Immutable Python objects in shared memory, read in place.

`freeze(obj)` copies an object graph once; any number of processes and subinterpreters of this
machine then open it in about a microsecond and read only the parts that they touch.
"""

from icehouse.client.connect import connect
from icehouse.store.cow import cow
from icehouse.store.embedded import Store, get
from icehouse.store.errors import (
    Conflict,
    CorruptImage,
    FrozenError,
    HandleGone,
    IcehouseError,
    InterpreterError,
    NotFreezableError,
    NotPermitted,
    ProtocolError,
    StoreClosed,
    StoreFull,
    StoreUnavailable,
    UnknownName,
)
from icehouse.store.files import open_image, save
from icehouse.store.handle import Handle
from icehouse.store.image import (
    FrozenArray,
    FrozenBytes,
    FrozenDict,
    FrozenFunction,
    FrozenList,
    FrozenObject,
    FrozenSet,
    FrozenTuple,
    Record,
    dumps,
    enc_hook,
    freeze,
    is_frozen,
    json_default,
    register_freezable,
    same,
    thaw,
    type_name,
)
from icehouse.store.to_pandas import to_pandas

# What is imported when it is first used; type checkers follow imports alone. They know the name
# TYPE_CHECKING by itself, and learn about icehouse.aio from its import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from icehouse.store.declarations.decorators import (
        explicitly_freezable,
        freezable,
        frozen,
        unfreezable,
    )
    from icehouse.store.declarations.explain import explain_freeze
    from icehouse.store.declarations.fields import InterpreterLocal, SharedField
    from icehouse.store.declarations.modules import ImmutableModule
    from icehouse.store.declarations.status import (
        FREEZABLE_EXPLICIT,
        FREEZABLE_NO,
        FREEZABLE_PROXY,
        FREEZABLE_YES,
        NotFreezable,
        disabled,
        set_freezable,
    )
else:
    from icehouse.client.lazy import __getattr__ as __getattr__

__version__ = "0.1.0.dev0"

__all__ = [
    "FREEZABLE_EXPLICIT",
    "FREEZABLE_NO",
    "FREEZABLE_PROXY",
    "FREEZABLE_YES",
    "Conflict",
    "CorruptImage",
    "FrozenArray",
    "FrozenBytes",
    "FrozenDict",
    "FrozenError",
    "FrozenFunction",
    "FrozenList",
    "FrozenObject",
    "FrozenSet",
    "FrozenTuple",
    "Handle",
    "HandleGone",
    "IcehouseError",
    "ImmutableModule",
    "InterpreterError",
    "InterpreterLocal",
    "NotFreezable",
    "NotFreezableError",
    "NotPermitted",
    "ProtocolError",
    "Record",
    "SharedField",
    "Store",
    "StoreClosed",
    "StoreFull",
    "StoreUnavailable",
    "UnknownName",
    "connect",
    "cow",
    "disabled",
    "dumps",
    "enc_hook",
    "explain_freeze",
    "explicitly_freezable",
    "freezable",
    "freeze",
    "frozen",
    "get",
    "is_frozen",
    "json_default",
    "open_image",
    "register_freezable",
    "same",
    "save",
    "set_freezable",
    "thaw",
    "to_pandas",
    "type_name",
    "unfreezable",
]
