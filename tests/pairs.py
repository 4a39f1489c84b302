"""What the compiled module does with rules, in a few lines of Python: taking apart, making again.

The tests of the rules use it as a model, without an image in between.
"""

from typing import Any, NamedTuple

from icehouse.store.freezing import codes, hooks, registry

PLAIN = (bool, bytes, complex, float, int, str, type(None))


class Value(NamedTuple):
    code: int
    payload: Any


class Made(NamedTuple):
    family: int
    cls: type
    names: tuple[str, ...]
    values: tuple[Any, ...]


def taken(obj: Any) -> Any:
    """Take an object apart by its rule, down to plain values."""
    cls = type(obj)
    if cls in PLAIN:
        return obj
    if cls in (list, tuple):
        return cls(map(taken, obj))
    if cls is dict:
        return {taken(key): taken(value) for key, value in obj.items()}
    rule = registry.plain_rule_of(cls)
    if isinstance(rule, str):
        raise hooks.Refusal(rule)
    if rule[0] == "value":
        payload = rule[2](obj)
        # A class that some test has frozen comes with its definition, which is more than a model.
        return Value(rule[1], taken(payload[:2] if rule[1] == codes.CLASS else payload))
    if rule[0] == "made":
        names, values = rule[2](obj)
        assert all(type(name) is str for name in names)
        return Made(rule[1], cls, tuple(names), taken(tuple(values)))
    if rule[0] == "as":
        return taken(rule[1](obj))
    raise AssertionError(f"the model knows no rule {rule}")


def opened(parts: Any, trust: hooks.Trust) -> Any:
    """Make an object again of what taken() returned."""
    if isinstance(parts, Value):
        return hooks.make_value(parts.code, opened(parts.payload, trust), trust)
    if isinstance(parts, Made):
        values = opened(parts.values, trust)
        cls = parts.cls
        found = hooks.resolve_class(cls.__module__, cls.__qualname__, trust)
        if found is None:
            return hooks.make_record(hooks.name_of(cls), parts.names, values)
        return hooks.make_object(parts.family, found, parts.names, values, trust)
    if type(parts) in (list, tuple):
        return type(parts)(opened(part, trust) for part in parts)
    if type(parts) is dict:
        return {opened(k, trust): opened(v, trust) for k, v in parts.items()}
    return parts
