"""A WSGI application that opens its data before gunicorn forks its workers."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import icehouse

STORE = icehouse.Store("64MiB")
VIEW = STORE.get(STORE.put({"rows": [{"id": i, "name": f"row {i}"} for i in range(1000)]}))


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the worker's pid and the row that the path names."""
    row = VIEW["rows"][int(environ["PATH_INFO"].strip("/"))]
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), icehouse.thaw(row)]).encode()]
