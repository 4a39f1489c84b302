"""What is kept beside objects that have no place for it."""

from typing import Any, Generic, TypeVar
from weakref import ref

_Value = TypeVar("_Value")


class Aside(Generic[_Value]):
    """Values for objects, by identity, that go when the object goes."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[ref[Any], _Value]] = {}

    def get(self, obj: Any) -> _Value | None:
        """Find the value of an object."""
        entry = self._entries.get(id(obj))
        # An entry whose object is just going may have the id of another already.
        return entry[1] if entry is not None and entry[0]() is obj else None

    def set(self, obj: Any, value: _Value) -> None:
        """Keep a value; TypeError where an object can't be referred to weakly."""
        key = id(obj)
        entries = self._entries

        def forget(reference: "ref[Any]") -> None:
            entry = entries.get(key)
            if entry is not None and entry[0] is reference:
                del entries[key]

        entries[key] = ref(obj, forget), value

    def forget(self, obj: Any) -> None:
        """Keep nothing for an object any more."""
        if self.get(obj) is not None:
            del self._entries[id(obj)]

    def __len__(self) -> int:
        return len(self._entries)
