"""What runs in the workers of `icehouse.interpreters.pool`, and how calls and answers are written.

It is imported by every worker, so it imports little. Worker and pool have the same Python, so what
goes between them is pickle, and a request or an answer is:

    request   (kind, key, function, args, kwargs), with kind one of CALL, EACH and FORGET; between
              interpreters also the places of the args that are views, by their index
    answer    (succeeded, value, text); between interpreters one byte more: what is kept for it

Frozen things go by reference. A function comes once, in a box (of a frozen one a view), under a key
by which it is called from then on; what else can be called comes each time.
"""

import io
import pickle
from typing import Any

from icehouse.native._image import Handle, Store, _door_open, _locate, _reopen, freeze, is_frozen

CALL, EACH, FORGET = range(3)

# What no pickler has to be asked about: it refers to nothing.
_ATOMS = frozenset((type(None), bool, int, float, complex, str, bytes))
# The byte after an answer. KEPT: the worker keeps the views in it until it is told to let them go.
# PLACE: that, and the value is the place of a view.
_NOTHING, KEPT, PLACE = b"\0", b"\1", b"\2"

_Request = tuple[int, Any, Any, Any, Any]
_Answer = tuple[bool, Any, str]


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


def _pack(value: Any) -> bytes:
    target = io.BytesIO()
    pickler = _Pickler(target, protocol=5)
    pickler.dump(value)
    target.write(KEPT if pickler.views else _NOTHING)
    return target.getvalue()  # the very bytes that were written, not a copy


def _place(view: Any) -> tuple[bytes, int] | None:
    place = _locate(view)
    return None if place is None else (bytes(place[0]), place[1])


def _open(place: tuple[bytes, int]) -> Any:
    return _reopen(Handle(place[0]), place[1])


def pack_request(request: _Request) -> bytes:
    """Pickle a request for another interpreter of this process.

    Quickly, if the function is known there and the arguments themselves are all it refers to.
    """
    kind, key, function, args, kwargs = request
    whole = (kind, key, function, args, kwargs, ())
    if kwargs or function is not None:
        return _pack(whole)
    places: list[tuple[int, tuple[bytes, int]]] = []
    for index, each in enumerate(args):
        if type(each) not in _ATOMS:
            place = _place(each)
            if place is None:
                return _pack(whole)
            places.append((index, place))
    if places:
        args = list(args)
        for index, _ in places:
            args[index] = None
    return pickle.dumps((kind, key, function, args, kwargs, places), 5)


def _pack_answer(answer: _Answer) -> bytes:
    succeeded, value, text = answer
    if type(value) in _ATOMS:
        return pickle.dumps(answer, 5) + _NOTHING
    place = _place(value)
    if place is not None:
        return pickle.dumps((succeeded, place, text), 5) + PLACE
    return _pack(answer)


def open_answer(answer: Any) -> _Answer:
    """Read what an interpreter answered."""
    opened: _Answer = pickle.loads(answer)  # noqa: S301 - from a worker of ours
    if answer[-1] == PLACE[0]:
        return opened[0], _open(opened[1]), opened[2]
    return opened


def pack_for_process(value: Any) -> memoryview:
    """Pickle a request or an answer as multiprocessing does: views as store/travel.py has it."""
    from multiprocessing.reduction import ForkingPickler

    # Its stub leaves the method without types.
    dumps: Any = ForkingPickler.dumps
    packed: memoryview = dumps(value)
    return packed


# --- the worker -----------------------------------------------------------------------------------


class _Server:
    """Answers requests in a worker."""

    def __init__(self, *, frozen: bool) -> None:
        self._frozen = frozen
        self._functions: dict[int, Any] = {}

    def answer(self, request: Any) -> _Answer:
        try:
            call: Any = pickle.loads(request)  # noqa: S301 - from the pool
            kind, key, function, args, kwargs, *more = call
            for index, place in more[0] if more else ():
                args[index] = _open(place)
        except BaseException as error:
            return self.fail(error, "the call could not be opened in the worker:\n\n")
        try:
            result = self._act(kind, key, function, args, kwargs)
            if self._frozen and not is_frozen(result):
                result = freeze(result)
        except BaseException as error:
            return self.fail(error)
        return True, result, ""

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

    def fail(self, error: BaseException, before: str = "") -> _Answer:
        """Say what was raised, and raise it at the other side if it can be pickled."""
        import traceback

        text = before + "".join(traceback.format_exception(error)).rstrip()
        # What it was raised from, or while, is in the text.
        error = error.with_traceback(None)
        try:
            pickle.loads(pickle.dumps(error, 5))  # noqa: S301 - what was made here
        except Exception:
            return False, None, text
        return False, error, text


class _Interpreter(_Server):
    """In another interpreter: what a door calls."""

    _kept: Any = None

    def __call__(self, request: Any) -> Any:
        """Return the answer; None to None, which lets go what was kept for the last answer."""
        self._kept = None
        if request is None:
            return None
        answer = self.answer(request)
        try:
            packed = _pack_answer(answer)
        except BaseException as error:
            answer = self.fail(error)
            packed = _pack_answer(answer)
        if packed[-1] != _NOTHING[0]:
            self._kept = answer
        return packed


def begin(door: int, *, frozen: bool) -> None:
    """Serve the calls of a door from here on: run in a new interpreter."""
    _door_open(door, _Interpreter(frozen=frozen))


def serve_process(connection: Any, frozen: bool) -> None:
    """Serve what comes over a connection until it ends: the main function of a worker process."""
    server = _Server(frozen=frozen)
    while True:
        try:
            request = connection.recv_bytes()
        except (EOFError, ConnectionError, KeyboardInterrupt):
            return
        answer = server.answer(request)
        try:
            packed = pack_for_process(answer)
        except BaseException as error:
            packed = pack_for_process(server.fail(error))
        del answer
        with packed:
            connection.send_bytes(packed)
