"""numpy's dtypes as plain data, and back.

A description is a str (`dtype.str`: "<f8", "<M8[ns]", "|S5"), or a tuple:

* ("sub", description, shape): a sub-array;
* ("struct", ((name, description, offset, title or None), ...), item size, aligned);
* ("text", has an NA object, NA object): numpy 2's StringDType.

Metadata of dtypes (`dtype.metadata`) is not kept.
"""

from typing import Any

from icehouse.store.freezing.packages import as_int, as_str
from icehouse.store.freezing.refusal import Refusal

Description = str | tuple[Any, ...]

# How deep structures may lie in each other: a bound for what a hostile image can ask of the stack.
_DEPTH_MAX = 32


def describe(dtype: Any) -> Description:
    """Describe a dtype; Refusal for one that has no plain description."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ("sub", describe(base), tuple(shape))
    if dtype.names is not None:
        fields = []
        for name in dtype.names:
            field = dtype.fields[name]
            title = field[2] if len(field) > 2 else None
            fields.append((name, describe(field[0]), field[1], title))
        return ("struct", tuple(fields), dtype.itemsize, bool(dtype.isalignedstruct))
    if dtype.kind == "T":
        # The NA object of a StringDType: numpy tells of it only where there is one.
        missing = hasattr(dtype, "na_object")
        return ("text", missing, dtype.na_object if missing else None)
    if dtype.kind not in "?bhilqpBHILQPefdgFDGSUVOMmbiufc":
        raise Refusal(
            f"its dtype {dtype!r} is one of another package; freeze a plain array of the content"
        )
    text: str = dtype.str
    # A long long is another type than a long of the same width.
    return text[0] + dtype.char if dtype.char in "qQ" else text


def build(numpy: Any, description: Any, depth: int = 0) -> Any:
    """Make the dtype again; ValueError or TypeError for what describes none."""
    if type(description) is str:
        if "," in description or len(description) > 64:
            raise ValueError("not the description of a dtype")
        return numpy.dtype(description)
    kind = as_str(description[0])
    if depth == _DEPTH_MAX:
        raise ValueError("the description of a dtype is too deep")
    if kind == "sub":
        base = build(numpy, description[1], depth + 1)
        return numpy.dtype((base, tuple(as_int(n) for n in description[2])))
    if kind == "struct":
        fields, itemsize, aligned = description[1:]
        names, formats, offsets, titles = [], [], [], []
        for name, field, offset, title in fields:
            names.append(as_str(name))
            formats.append(build(numpy, field, depth + 1))
            offsets.append(as_int(offset))
            titles.append(title)
        parts: dict[str, Any] = {"names": names, "formats": formats, "offsets": offsets}
        if any(title is not None for title in titles):
            parts["titles"] = titles
        parts["itemsize"] = as_int(itemsize)
        return numpy.dtype(parts, align=bool(aligned))
    if kind == "text":
        return numpy.dtypes.StringDType(**({"na_object": description[2]} if description[1] else {}))
    raise ValueError(f"there is no dtype of kind {kind!r}")


def holds_objects(dtype: Any) -> bool:
    """Whether items are, or hold, references to Python objects or strings on the heap."""
    return bool(dtype.hasobject) or dtype.kind == "T"
