"""What comes back for an object whose class may not, or can't, be found."""

import threading
from collections.abc import Iterator
from typing import Any, NoReturn

# How many records one repr() shows, those inside others included; counted by thread.
SHOWN_MAX = 1000
_shown = threading.local()


class Record:
    """The fields of an object, read-only, and the name of its type.

    It comes back in place of an object whose class can't be imported here, or may not be since
    somebody else made the image (`allow_classes=` of `get` allows classes). Fields are read as
    attributes and by name: `record.width`, `record["width"]`. Records are equal when their types'
    names and their fields are, and hash if all fields do.
    """

    # Where it is found: the registry of what freezes knows it by this name.
    __module__ = "icehouse"
    __slots__ = ("_Record__fields", "_Record__type_name")

    # Slots by these names, which a field can't have.
    __fields: dict[str, Any]
    __type_name: str

    def __init__(self, type_name: str, names: Any, values: Any) -> None:
        fields = dict(zip(names, values, strict=True))
        if not all(type(name) is str for name in fields) or type(type_name) is not str:
            raise TypeError("names of types and fields are str")
        object.__setattr__(self, "_Record__fields", fields)
        object.__setattr__(self, "_Record__type_name", type_name)

    @property
    def type_name(self) -> str:
        """`module.qualname` of the class. A field of this name is `record["type_name"]`."""
        return self.__type_name

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__fields[name]
        except KeyError:
            raise AttributeError(
                f"the record of a {self.__type_name} has no field {name!r}"
            ) from None

    def __getitem__(self, name: str) -> Any:
        return self.__fields[name]

    def keys(self) -> Iterator[str]:
        """Give the names of the fields, so that `dict(record)` works."""
        return iter(self.__fields)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__fields)

    def __len__(self) -> int:
        return len(self.__fields)

    def __contains__(self, name: object) -> bool:
        return name in self.__fields

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *(name for name in self.__fields if name.isidentifier())]

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        _refuse(f"assign {name!r} to")

    def __delattr__(self, name: str) -> NoReturn:
        _refuse(f"delete {name!r} of")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self.__type_name == other.__type_name and self.__fields == other.__fields

    def __hash__(self) -> int:
        return hash((self.__type_name, frozenset(self.__fields.items())))

    def __repr__(self) -> str:
        # Records may share parts again and again: what is shown in one repr() has a bound (H24).
        left = getattr(_shown, "left", None)
        if left is None:
            _shown.left = SHOWN_MAX
        elif left <= 0:
            return f"<Record of {self.__type_name}: ...>"
        try:
            _shown.left -= 1
            parts = (f"{name or 'value'}={value!r}" for name, value in self.__fields.items())
            return f"<Record of {self.__type_name}: {', '.join(parts)}>"
        finally:
            if left is None:
                _shown.left = None

    def __reduce__(self) -> Any:
        fields = self.__fields
        return Record, (self.__type_name, tuple(fields), tuple(fields.values()))

    def __copy__(self) -> "Record":
        return self

    def __deepcopy__(self, memo: object) -> "Record":
        return self


def _refuse(what: str) -> NoReturn:
    from icehouse.store.errors import FrozenError

    raise FrozenError(f"can't {what} a Record: it is frozen. Make a dict of it: dict(record)")
