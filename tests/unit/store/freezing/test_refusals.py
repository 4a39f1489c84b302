"""What does not freeze: each reason says what to do instead."""

import asyncio
import collections
import contextvars
import csv
import ctypes
import functools
import hashlib
import io
import itertools
import logging
import mmap
import os
import queue
import re
import select
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import types
import weakref
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
from pairs import taken

from icehouse.store.freezing import hooks, refused, registry


def generate() -> Iterator[int]:
    yield 1


async def work() -> None:
    return None


async def stream() -> Any:
    yield 1


class Thing:
    def method(self) -> None:
        return None


class Worker(threading.Thread):
    pass


class Log(io.FileIO):
    pass


THING = Thing()
COROUTINE = work()
COROUTINE.close()
SOCKET = socket.socket()
SOCKET.close()
DATABASE = sqlite3.connect(":memory:")
DATABASE.close()
FILE = Path(os.devnull).open()  # noqa: SIM115 - closed at once
FILE.close()
EPOLL = select.epoll()
EPOLL.close()
PROCESS = subprocess.Popen(["true"])
PROCESS.wait()
MAP = mmap.mmap(-1, 10)
LOG = Log(os.devnull)
LOG.close()

# An object, and words that the reason has.
CASES: list[tuple[Any, str]] = [
    (threading.Lock(), "threads of one process"),
    (threading.RLock(), "threads of one process"),
    (threading.Event(), "make one where it is needed"),
    (threading.Condition(), "threads of one process"),
    (threading.BoundedSemaphore(), "threads of one process"),
    (threading.Thread(), "freeze what it works on"),
    (Worker(), "a subclass of Thread: .*freeze what it works on"),
    (threading.local(), "freeze the value"),
    (asyncio.Lock(), "threads of one process"),
    (asyncio.Queue(), "freeze a list of its items"),
    (queue.Queue(), "freeze a list of its items"),
    (queue.SimpleQueue(), "freeze a list of its items"),
    (futures.Future(), "freeze its result"),
    (futures.ThreadPoolExecutor(1), "make one where it is used"),
    (FILE, "freeze its content or its name"),
    (FILE.buffer, "freeze its content or its name"),
    (LOG, "a subclass of _IOBase: .*freeze its content"),
    (io.BytesIO(), "getvalue"),
    (io.StringIO(), "getvalue"),
    (tempfile.TemporaryDirectory.__new__(tempfile.TemporaryDirectory), "open file"),
    (SOCKET, "freeze the address"),
    (DATABASE, "freeze the rows"),
    (EPOLL, "make one where it is used"),
    (PROCESS, "freeze what it works on"),
    (MAP, "freeze bytes"),
    (generate(), "list of what it yields"),
    (COROUTINE, "half-way through"),
    (stream(), "half-way through"),
    (iter([1]), "freeze a list of what it gives"),
    (iter({}), "freeze a list of what it gives"),
    (map(int, []), "freeze a list of what it gives"),
    (zip(), "freeze a list of what it gives"),
    (enumerate([]), "freeze a list of what it gives"),
    (reversed([]), "freeze a list of what it gives"),
    (itertools.count(), "freeze a list of what it gives"),
    (csv.reader([]), "freeze a list of what it gives"),
    ({}.keys(), r"list\(x\)"),
    ({}.values(), r"list\(x\)"),
    ({}.items(), r"list\(x\)"),
    (collections.OrderedDict().keys(), r"list\(x\)"),
    (sys, "freeze icehouse.ImmutableModule"),
    (generate, "freeze it first"),
    (lambda: 1, "freeze it first"),
    (functools.lru_cache(generate), "f.__wrapped__"),
    (THING.method, "take the method where it is used"),
    ([].append, "freeze the object, and take its method"),
    ((1).__add__, "take the method where it is used"),
    (generate.__code__, "traceback.format_exception"),
    (sys._getframe(), "traceback.format_exception"),
    (types.CellType(1), "freeze what it holds"),
    (property(), "part of a class"),
    (classmethod(generate), "part of a class"),
    (functools.cached_property(generate), "part of a class"),
    (super(Worker, Worker()), "part of a class"),
    (weakref.ref(THING), "freeze the object itself"),
    (weakref.proxy(THING), "freeze the object itself"),
    (weakref.WeakSet(), r"set\(x\)"),
    (weakref.WeakValueDictionary(), r"dict\(x\)"),
    (weakref.WeakKeyDictionary(), r"dict\(x\)"),
    (contextvars.ContextVar("x"), "freeze the value"),
    (contextvars.copy_context(), "freeze the value"),
    (hashlib.sha256(), "digest"),
    (hashlib.blake2b(), "digest"),
    (hashlib.md5(usedforsecurity=False), "digest"),
    (re.match("a", "a"), "groupdict"),
    (struct.Struct("i"), "freeze its format"),
    (logging.StreamHandler(), "configure logging"),
    (ctypes.c_int(1), "freeze its value"),
    (ctypes.pointer(ctypes.c_int(1)), "freeze what it points to"),
    ((ctypes.c_int * 3)(), "freeze bytes"),
]


@pytest.mark.parametrize(("obj", "words"), CASES, ids=lambda x: type(x).__name__)
def test_the_reason_says_what_to_do(obj: Any, words: str) -> None:
    kind = weakref.ProxyType if type(obj) is weakref.ProxyType else type(obj)
    rule = registry.plain_rule_of(kind)
    if isinstance(rule, str):
        assert re.search(words, rule)
    else:
        with pytest.raises(hooks.Refusal, match=words):
            rule[2](obj)


def test_local_classes_are_refused_by_name() -> None:
    class Local:
        pass

    with pytest.raises(hooks.Refusal, match="top of a module"):
        taken(Local)


def test_classes_that_hide_behind_anothers_name_are_refused() -> None:
    mimic = type("int", (), {"__module__": "builtins"})
    with pytest.raises(hooks.Refusal, match="is not this class"):
        taken(mimic)


def test_reasons_are_sentences_that_end_open() -> None:
    """They follow "cannot freeze PATH: " in the message."""
    for name, reason in refused.REASONS.items():
        assert reason[0].islower(), name
        assert not reason.endswith("."), name


def test_a_finalizer_of_a_subclass_of_a_value_type_is_refused() -> None:
    import datetime as dt

    class Closing(dt.datetime):
        def __del__(self) -> None:
            raise AssertionError("a finalizer ran")

    assert "__del__" in str(registry.plain_rule_of(Closing))


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    MAP.close()
