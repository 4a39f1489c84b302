"""What the tests run where nothing may have imported multiprocessing."""

import pickle
import sys

import icehouse


def nothing_at_import() -> None:
    """Neither an import of ours nor a pickle of a view loads multiprocessing."""
    view = icehouse.freeze({"a": [1, 2, 3]})
    assert pickle.loads(pickle.dumps(view)) == {"a": [1, 2, 3]}
    assert "icehouse.store.travel" not in sys.modules
    assert not any(name.startswith("multiprocessing") for name in sys.modules)
