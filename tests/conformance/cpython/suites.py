"""Which of CPython's tests run against which views, and running them.

    python suites.py NAME     runs a suite and prints {case: [outcome, detail]} as JSON

Outcomes: `ok`; `untouched`: it passed and no view was made; `skipped` by the test itself;
`writes`: it ended with FrozenError, so it is about changing the object; `foreign`: it needs
instances of its own classes in the view (see view_types.ForeignError); `failed`.
"""

import importlib
import json
import sys
import unittest
import warnings
from collections.abc import Callable
from typing import Any

from view_types import (
    BYTES,
    DICT,
    FROZENSET,
    LIST,
    MADE,
    SET,
    TUPLE,
    ForeignError,
    with_frozen_displays,
)

import icehouse

Classes = list[type[unittest.TestCase]]


def derived(module: Any, names: str, **attributes: Any) -> Classes:
    """Test classes of a module with the type under test replaced."""
    made = []
    for name in names.split():
        base = getattr(module, name, None)
        if base is not None:
            bases = (base,) if issubclass(base, unittest.TestCase) else (base, unittest.TestCase)
            made.append(type(name, bases, attributes))
    return made


def lists() -> Classes:
    module = importlib.import_module("test.list_tests")
    return derived(module, "CommonTest", type2test=LIST)


def tuples() -> Classes:
    module = importlib.import_module("test.test_tuple")
    return derived(module, "TupleTest", type2test=TUPLE)


def dicts() -> Classes:
    module = importlib.import_module("test.mapping_tests")

    def full(self: Any, data: Any) -> Any:
        return DICT(data)

    names = "BasicTestMappingProtocol TestMappingProtocol TestHashMappingProtocol"
    return derived(module, names, type2test=DICT, _full_mapping=full)


def sets() -> Classes:
    module = importlib.import_module("test.test_set")
    return [
        *derived(module, "TestSet", thetype=SET, basetype=SET),
        *derived(module, "TestFrozenSet", thetype=FROZENSET, basetype=FROZENSET),
    ]


def bytes_() -> Classes:
    module = importlib.import_module("test.test_bytes")
    fixtype = staticmethod(lambda value: value.encode() if isinstance(value, str) else value)
    return [
        *derived(module, "BytesTest", type2test=BYTES),
        *derived(module, "BytesAsStringTest", type2test=BYTES, fixtype_of=fixtype),
    ]


def memoryviews() -> Classes:
    module = importlib.import_module("test.test_memoryview")
    names = "BytesMemoryviewTest BytesMemorySliceTest BytesMemorySliceSliceTest"
    return derived(module, names, ro_type=BYTES, rw_type=None)


def displays(name: str, *chosen: str) -> Callable[[], Classes]:
    """All test classes of a module, or those chosen, with displays frozen."""

    def load() -> Classes:
        module = with_frozen_displays(name)
        found = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, unittest.TestCase)
            and value.__module__ == module.__name__
        ]
        return [each for each in found if not chosen or each.__name__ in chosen]

    return load


SUITES: dict[str, Callable[[], Classes]] = {
    "lists": lists,
    "tuples": tuples,
    "dicts": dicts,
    "sets": sets,
    "bytes": bytes_,
    "memoryviews": memoryviews,
    "list displays": displays("test.test_list", "ListTest"),
    "dict displays": displays("test.test_dict", "DictTest"),
    "dict views": displays("test.test_dictviews"),
    "set displays": displays("test.test_set"),
    "patterns": displays("test.test_patma"),
    "iterators": displays("test.test_iter"),
    "unpacking": displays("test.test_unpack"),
    "containment": displays("test.test_contains"),
    "comparing": displays("test.test_richcmp"),
    "bisecting": displays("test.test_bisect"),
    "indices": displays("test.test_index"),
    "enumerate and reversed": displays("test.test_enumerate"),
    "length hints": displays("test.test_iterlen"),
    "copying": displays("test.test_copy"),
}


class Outcomes(unittest.TestResult):
    """Collects how each case ended, the worst of its subtests counting."""

    def __init__(self) -> None:
        super().__init__()
        self.cases: dict[str, tuple[str, str]] = {}

    def note(self, test: Any, outcome: str, detail: str = "") -> None:
        case = getattr(test, "test_case", test)
        name = f"{type(case).__name__}.{case._testMethodName}"
        if self.cases.get(name, ("ok", ""))[0] != "failed":
            self.cases[name] = (outcome, detail)

    def problem(self, test: Any, error: Any) -> None:
        kind, value, _ = error
        chain, seen = value, []
        while chain is not None and chain not in seen:
            seen.append(chain)
            chain = chain.__cause__
        if any(isinstance(each, icehouse.FrozenError) for each in seen):
            outcome = "writes"
        elif any(isinstance(each, icehouse.NotFreezableError | ForeignError) for each in seen):
            outcome = "foreign"
        else:
            outcome = "failed"
        place = value.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        self.note(test, outcome, f"{kind.__name__}: {value}"[:300])

    def addSuccess(self, test: Any) -> None:  # noqa: N802 - unittest's names
        self.note(test, "ok" if MADE[0] > 0 else "untouched")

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self.note(test, "skipped", reason)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.problem(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.problem(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.problem(test, err)


def run(name: str) -> dict[str, tuple[str, str]]:
    """Run a suite; each case by itself, so that what one leaves does not touch the next."""
    outcomes = Outcomes()
    for cls in SUITES[name]():
        for method in unittest.defaultTestLoader.getTestCaseNames(cls):
            print(f"{cls.__name__}.{method}", file=sys.stderr, flush=True)
            try:
                case = cls(method)
            except Exception as error:
                outcomes.problem(
                    type("Made", (), {"_testMethodName": method})(), (type(error), error, None)
                )
                continue
            MADE[0] = 0
            case.run(outcomes)
    return outcomes.cases


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(sys.argv[1])))
