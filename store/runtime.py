"""What each Python version calls its interpreters: create, execute, destroy.

3.11 and 3.12 have `_xxsubinterpreters`, 3.13 `_interpreters`, 3.14 and later the public
`concurrent.interpreters`. Nothing else of the package needs to know.
"""

import importlib
import sys
from typing import Any, Protocol


class PlainFailure(Exception):
    """Code raised in another interpreter; the text says what."""


class Runtime(Protocol):
    """How interpreters are made and used; `reference` is what create() gave."""

    def create(self) -> Any:
        """Make an interpreter, isolated: with its own GIL where there is one."""

    def execute(self, reference: Any, source: str) -> None:
        """Run source in its `__main__`. PlainFailure if it raises."""

    def destroy(self, reference: Any) -> None:
        """End it."""


class _Old:
    """3.11 and 3.12."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("_xxsubinterpreters")
        # 3.12.1 aborts at exit if a subinterpreter is the first to import hashlib.
        importlib.import_module("hashlib")

    def create(self) -> Any:
        return self.module.create(isolated=True)

    def execute(self, reference: Any, source: str) -> None:
        try:
            self.module.run_string(reference, source)
        except self.module.RunFailedError as error:
            raise PlainFailure(str(error)) from None

    def destroy(self, reference: Any) -> None:
        self.module.destroy(reference)


class _Thirteen:
    """3.13."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("_interpreters")

    def create(self) -> Any:
        return self.module.create("isolated")

    def execute(self, reference: Any, source: str) -> None:
        failure = self.module.exec(reference, source)
        if failure is not None:
            raise PlainFailure(getattr(failure, "errdisplay", None) or failure.formatted)

    def destroy(self, reference: Any) -> None:
        self.module.destroy(reference)


class _Public:
    """3.14 and later."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("concurrent.interpreters")

    def create(self) -> Any:
        return self.module.create()

    def execute(self, reference: Any, source: str) -> None:
        try:
            reference.exec(source)
        except self.module.ExecutionFailed as error:
            info = error.excinfo
            raise PlainFailure(getattr(info, "errdisplay", None) or info.formatted) from None

    def destroy(self, reference: Any) -> None:
        reference.close()


_found: list[Runtime | None] = []


def runtime() -> Runtime | None:
    """Return the one of this Python, None if it has none. Imported at the first call."""
    if not _found:
        kind = _Old
        if sys.version_info >= (3, 14):
            kind = _Public
        elif sys.version_info >= (3, 13):
            kind = _Thirteen
        try:
            _found.append(kind())
        except ImportError:
            _found.append(None)
    return _found[0]
