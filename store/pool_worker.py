"""What runs in the workers of `icehouse.interpreters.pool`, and how calls and answers are written.

It is imported by every worker, so it imports little. Worker and pool have the same Python, so what
goes between them is pickle, and a request or an answer is:

    request   (kind, key, function, args, kwargs), with kind one of CALL, EACH and FORGET
    answer    (succeeded, value, text), and after the pickle one byte: whether views are kept here

Frozen things go by reference. A frozen function comes once, in a box that is a view, under a key
by which it is called from then on.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

from icehouse.native._image import Store, _locate, _reopen, freeze, is_frozen

CALL, EACH, FORGET = range(3)

# What no pickler has to be asked about: it refers to nothing.
_ATOMS = frozenset((type(None), bool, int, float, complex, str, bytes))
_NONE_KEPT, _KEPT = b"\0", b"\1"
_ARGUMENTS_LOST = "the arguments could not be opened in the worker:\n"


class _Pickler(pickle.Pickler):
    """Pickles views and stores as references that hold within the process."""

    views = False  # whether there were any

    def reducer_override(self, obj: Any) -> Any:
        # Not called for the builtin types that make up most of plain data.
        place = _locate(obj)
        if place is not None:
            self.views = True
            return _reopen, place
        if isinstance(obj, Store):
            return Store.attach, (obj.token,)
        return NotImplemented


def pack(value: Any) -> Any:
    """Pickle a value for another interpreter of this process: a bytes-like object."""
    target = io.BytesIO()
    pickler = _Pickler(target, protocol=5)
    pickler.dump(value)
    target.write(_KEPT if pickler.views else _NONE_KEPT)
    return target.getbuffer()


def pack_request(kind: int, key: Any, function: Any, args: Any, kwargs: Any) -> Any:
    """Pickle a request, quickly if its arguments are few and refer to nothing."""
    request = (kind, key, function, args, kwargs)
    if key is not None and function is None and not kwargs and kind == CALL:
        for each in args:
            if type(each) not in _ATOMS:
                break
        else:
            return pickle.dumps(request, 5)
    return pack(request)


def _pack_answer(value: Any) -> Any:
    if type(value) in _ATOMS:
        return pickle.dumps((True, value, ""), 5) + _NONE_KEPT
    return pack((True, value, ""))


def keeps_views(answer: Any) -> bool:
    """Whether the worker keeps the views of an answer until it is told to let them go."""
    return bool(answer[-1])


def process_pack(value: Any) -> Any:
    """Pickle a value for another process, as multiprocessing does: views by reference."""
    from multiprocessing.reduction import ForkingPickler

    dumps: Callable[[Any], Any] = ForkingPickler.dumps
    return dumps(value)


# --- the worker -----------------------------------------------------------------------------------


class Server:
    """Answers requests in a worker."""

    def __init__(self, pack: Callable[[Any], Any], *, frozen: bool) -> None:
        """`frozen`: results are frozen before they go."""
        self._pack = pack
        self._frozen = frozen
        self._functions: dict[int, Any] = {}
        self._kept: Any = None

    def __call__(self, request: Any) -> Any:
        """Return the answer; None to None, which lets the views of the last answer go."""
        self._kept = None
        if request is None:
            return None
        try:
            kind, key, function, args, kwargs = pickle.loads(request)
        except BaseException as error:
            return self._failure(error, _ARGUMENTS_LOST)
        try:
            result = self._act(kind, key, function, args, kwargs)
            del args, kwargs, function
            if self._frozen and not is_frozen(result):
                result = freeze(result)
            self._kept = result
            return self._pack(result)
        except BaseException as error:
            return self._failure(error)

    def _act(self, kind: int, key: Any, function: Any, args: Any, kwargs: Any) -> Any:
        if kind == FORGET:
            for each in args:
                self._functions.pop(each, None)
            return None
        if key is not None:
            if function is not None:
                self._functions[key] = function[0]
            function = self._functions[key]
        if kind == EACH:
            return [function(*each) for each in args]
        return function(*args, **kwargs)

    def _failure(self, error: BaseException, before: str = "") -> Any:
        import traceback

        text = before + "".join(traceback.format_exception(error)).rstrip()
        error = error.with_traceback(None)
        # What it was raised from or during is in the text.
        self._kept = error
        try:
            answer = self._pack_failure((False, error, text))
            pickle.loads(answer)
        except Exception:
            answer = self._pack_failure((False, None, text))
        return answer

    def _pack_failure(self, failure: Any) -> Any:
        return pack(failure) if self._pack is _pack_answer else self._pack(failure)


def begin(door: int, *, frozen: bool) -> None:
    """Serve the calls of a door from here on: run in a new interpreter."""
    from icehouse.native._image import _door_open

    _door_open(door, Server(_pack_answer, frozen=frozen))


def _process_pack_answer(value: Any) -> Any:
    return process_pack((True, value, ""))


def serve_process(connection: Any, frozen: bool) -> None:
    """Serve what comes over a connection until it ends: the main function of a worker process."""
    server = Server(_process_pack_answer, frozen=frozen)
    while True:
        try:
            request = connection.recv_bytes()
        except (EOFError, ConnectionError, KeyboardInterrupt):
            return
        connection.send_bytes(server(request))
