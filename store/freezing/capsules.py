"""Objects of other packages that hand out Arrow data by the PyCapsule interface."""

from typing import Any

from icehouse.store.freezing import anatomy
from icehouse.store.freezing.packages import package
from icehouse.store.freezing.refusal import Refusal

_NAMES = ("__arrow_c_stream__", "__arrow_c_array__")


def rule(cls: type) -> tuple[Any, ...] | None:
    """Classes that define the methods, here or in a base."""
    if any(name in anatomy.namespace(base) for base in anatomy.mro(cls) for name in _NAMES):
        return ("as", from_capsule)
    return None


def from_capsule(obj: Any) -> Any:
    """Make the pyarrow object over the memory that an object exports; Refusal without pyarrow."""
    pyarrow = package("pyarrow")
    if pyarrow is None:
        raise Refusal("it freezes as an Arrow table, for which pyarrow must be installed")
    if hasattr(obj, "__arrow_c_stream__"):
        return pyarrow.table(obj)
    return pyarrow.array(obj)
