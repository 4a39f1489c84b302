"""Every public exception, one small tree.

They are made in the compiled module, which raises most of them. Each message says what was
attempted, why it failed with the figures, and what to do next.

    IcehouseError
        NotFreezableError (TypeError)             an object, or one that it reaches, can't be frozen
        FrozenError (TypeError, AttributeError)   a write to something frozen
        HandleGone (LookupError)                  a handle names nothing that lives: .reason
        UnknownName (KeyError)                    nothing is bound to a name
        StoreFull (MemoryError)                   no memory for an image, with the figures
        CorruptImage (ValueError)                 damaged bytes, with offset and reason
        StoreUnavailable (ConnectionError)        not here: the system, a forked child, no daemon
        NotPermitted (PermissionError)            the daemon gives this user no such role
        StoreClosed (ValueError)                  the store was closed before
        ProtocolError                             the other side broke the protocol
        Conflict                                  a compare-and-swap lost; names in a delete's way;
                                                  a name bound anew faster than it can be opened
        InterpreterError                          code failed in another interpreter
"""

from icehouse.native._image import (
    Conflict,
    CorruptImage,
    FrozenError,
    HandleGone,
    IcehouseError,
    NotFreezableError,
    NotPermitted,
    ProtocolError,
    StoreClosed,
    StoreFull,
    StoreUnavailable,
    UnknownName,
)

__all__ = [
    "Conflict",
    "CorruptImage",
    "FrozenError",
    "HandleGone",
    "IcehouseError",
    "InterpreterError",
    "NotFreezableError",
    "NotPermitted",
    "ProtocolError",
    "StoreClosed",
    "StoreFull",
    "StoreUnavailable",
    "UnknownName",
]


class InterpreterError(IcehouseError):
    """Code failed in another interpreter, or its interpreter can't be used (any more).

    The message has the traceback of that interpreter, where there is one. An exception that can
    be pickled is raised as itself instead, with an InterpreterError as its cause.
    """

    # Where it is found, as those that are made in C.
    __module__ = "icehouse"
