"""Classes of attrs, msgspec and pydantic such as users write."""

import functools
from typing import Any, Generic, TypeVar

import attrs
import msgspec
import pydantic
from user_classes import ran

T = TypeVar("T")


@attrs.define
class Slim:
    """attrs with slots."""

    a: int
    b: list[int] = attrs.field(factory=list)

    @functools.cached_property
    def doubled(self) -> int:
        return 2 * self.a


@attrs.define(slots=False)
class Wide:
    a: int
    b: Any = None


@attrs.frozen
class Stone:
    a: int = attrs.field()
    b: Any = attrs.field(default=None, metadata={"unit": "m"})

    @a.validator
    def _check(self, attribute: Any, value: int) -> None:
        ran("Stone._check")


@attrs.define
class SlimChild(Slim):
    c: str = "c"


class User(msgspec.Struct):
    name: str
    age: int = 0
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ran("User.__post_init__")

    def greet(self) -> str:
        return f"I am {self.name}"


class Admin(User, frozen=False):
    rights: list[str] = []


class Coin(msgspec.Struct, frozen=True, order=True):
    value: int
    unit: str = "cent"


class Tagged(msgspec.Struct, tag="t", rename="camel", omit_defaults=True):
    first_name: str
    other: Any = None


class Loose(msgspec.Struct, dict=True, weakref=True):
    a: int


class BoxStruct(msgspec.Struct, Generic[T]):
    content: T


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


class Customer(pydantic.BaseModel):
    name: str
    address: Address | None = None
    marks: tuple[int, ...] = ()
    notes: list[str] = []
    _secret: str = pydantic.PrivateAttr("hush")

    @pydantic.field_validator("name")
    @classmethod
    def _check(cls, value: str) -> str:
        ran("Customer._check")
        return value

    def model_post_init(self, context: Any) -> None:
        ran("Customer.model_post_init")

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.name[0]

    @functools.cached_property
    def loud(self) -> str:
        return self.name.upper()


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int


class Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    a: int
    b: str = "b"


class Numbers(pydantic.RootModel[tuple[int, ...]]):
    pass


class Page(pydantic.BaseModel, Generic[T]):
    items: tuple[T, ...]


@pydantic.dataclasses.dataclass
class Checked:
    a: int
    b: str = "b"


class Later(pydantic.BaseModel):
    """Not complete: the type that it names does not exist."""

    model_config = pydantic.ConfigDict(defer_build=True)
    other: "NotThereYet | None" = None  # type: ignore[name-defined]  # noqa: F821
