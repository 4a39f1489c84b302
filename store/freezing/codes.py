"""Numbers that images hold: codes of VALUE nodes, families of MADE objects.

They are part of the image format (docs/image-format.md): a number keeps its meaning for ever.
The comment beside a code is its payload, which is made of plain types: what `getter(obj)` of its
rule returns when freezing, and what the opener gets.
"""

from typing import Final

# What refers to something importable. A class is named by module and qualified name.
CLASS: Final = 1  # (module, qualname), or with a definition: (module, qualname, dict)
GLOBAL: Final = 2  # (module, qualname): a builtin function; needs trust in code
ENUM: Final = 3  # (module, qualname, name or None, value or None), and see enums.py

# Types of the standard library.
DATE: Final = 4  # the ordinal
TIME: Final = 5  # bytes (6), or (bytes, tzinfo); see dates.py
DATETIME: Final = 6  # bytes (10), or (bytes, tzinfo)
TIMEDELTA: Final = 7  # (days, seconds, microseconds)
TIMEZONE: Final = 8  # an offset in microseconds, or (offset, name)
ZONEINFO: Final = 9  # its key
DECIMAL: Final = 10  # its text
FRACTION: Final = 11  # (numerator, denominator)
UUID: Final = 12  # bytes (16), or (bytes, name of is_safe)
IP: Final = 13  # see net.py
PATH: Final = 14  # (flavour, text)
PATTERN: Final = 15  # (pattern, flags)
RANGE: Final = 16  # (start, stop, step)
SLICE: Final = 17  # (start, stop, step)
MAPPING_PROXY: Final = 18  # a dict
STRUCT_SEQUENCE: Final = 19  # (module, qualname, items, {hidden field: value}): time.struct_time

# What runs code when it is opened, or belongs to a registration.
REDUCE: Final = 20  # see reduce.py; needs trust in code
REGISTERED: Final = 21  # (type's name, what the registered `freeze` returned)
THAWED: Final = 22  # (module, qualname, what `__freeze__` returned): a class with `__thaw__`
EXCEPTION: Final = 23  # see exceptions.py; needs trust in code
RECORD: Final = 24  # (type's name, names, values)
FROZENDICT: Final = 25  # a dict: frozendict of Python 3.15

# The data ecosystem.
NUMPY_SCALAR: Final = 30
NDARRAY: Final = 31
MASKED_ARRAY: Final = 32
ARROW: Final = 33
PANDAS: Final = 34
POLARS: Final = 35
SPARSE: Final = 36
TORCH: Final = 37

# Declarations.
FUNCTION: Final = 40  # see declarations/declared.py; needs trust in code
PARTIAL: Final = 41  # (function, args, keywords, attributes); needs trust in code
MODULE: Final = 42  # the name of a module; needs trust in code
# What is changed inside frozen graphs: see declarations/fields.py. The first is known to C, which
# has no copy of an image keep it as it is (native/image/format.h).
SHARED_FIELD: Final = 43  # (id, initial value, place or None), or with the value at the time
INTERPRETER_LOCAL: Final = 44  # (id, value, None), or (id, None, factory)
TYPE_VAR: Final = 45  # see declarations/typevars.py; needs trust in code

# Families of MADE objects.
STRUCT: Final = 1
PYDANTIC: Final = 2
SUBCLASS: Final = 3
CONTENT: Final = 5  # a subclass of a container that calls its base: see containers.py
SUBVALUE: Final = 4  # a subclass of datetime, Decimal, Path, ...: subclasses.py
