"""The examples of the documentation print what it says."""

import doctest
import sys
import types
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if "\n>>> " in path.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_examples_print_what_the_page_says(
    root: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page == "data.md":
        for name in ("numpy", "pandas", "polars", "pyarrow"):
            pytest.importorskip(name)
    text = (root / "docs" / page).read_text(encoding="utf-8")
    # Classes of the page are found again under the name of a module, as those of a program are.
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    parser = doctest.DocTestParser()
    test = parser.get_doctest(text, vars(main), page, page, 0)
    test.globs = vars(main)
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    lines: list[str] = []
    runner.run(test, out=lines.append, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0, "".join(lines)
