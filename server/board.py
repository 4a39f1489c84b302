"""A thin face of native/arena/board.h: the names board, of which the daemon is the writer."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from icehouse.native._arena import ffi, lib
from icehouse.server.catalog import check, new_error
from icehouse.server.frames import Handle, Result


class Board:
    """The names board, of which this daemon is the writer."""

    def __init__(self, board: Any, fd: int) -> None:
        self._board = board
        self.fd = fd
        self.number = int(lib.ih_board_number(board))
        self.bytes = int(lib.ih_board_bytes(board))
        self._handle = ffi.new("ih_handle *")

    @classmethod
    def create(cls, number: int, names: int) -> "Board":
        """Make a board with room for so many names of average length."""
        out, fd, error = ffi.new("ih_board **"), ffi.new("int *"), new_error()
        check(lib.ih_board_create(number, names, out, fd, error), error, "make a names board")
        return cls(out[0], int(fd[0]))

    @classmethod
    def attach(cls, fd: int, size: int) -> "Board":
        """Map a board that a former daemon made; the descriptor is this object's then."""
        out, error = ffi.new("ih_board **"), new_error()
        writable = True
        check(lib.ih_board_attach(fd, size, writable, out, error), error, "map a names board")
        return cls(out[0], fd)

    def close(self) -> None:
        """Unmap it and close the descriptor."""
        if self._board is not None:
            lib.ih_board_destroy(self._board)
            self._board = None
            with contextlib.suppress(OSError):
                os.close(self.fd)

    def set(self, name: bytes, handle: Handle, version: int) -> bool:
        """Set a name's handle (zeros: none) and version; False: no room."""
        self._handle.locator, self._handle.nonce = handle
        result = lib.ih_board_set(self._board, name, len(name), self._handle[0], version)
        if result == Result.FULL:
            return False
        check(result, None, "write to the names board")
        return True

    def entries(self) -> Iterator[tuple[str, Handle, int]]:
        """Give every entry, in the order of creation, unbound ones too."""
        cursor, name = ffi.new("uint64_t *"), ffi.new("const char **")
        length, handle = ffi.new("size_t *"), ffi.new("ih_handle *")
        version = ffi.new("uint64_t *")
        while lib.ih_board_next(self._board, cursor, name, length, handle, version):
            text = bytes(ffi.buffer(name[0], length[0])).decode("utf-8", "replace")
            yield text, (int(handle.locator), int(handle.nonce)), int(version[0])

    def is_retired(self) -> bool:
        """Whether another has taken its place."""
        return bool(lib.ih_board_retired(self._board))

    def retire(self) -> None:
        """Say to all readers that another has taken its place."""
        lib.ih_board_retire(self._board)

    def check(self) -> str:
        """Check every invariant; the first violation, or nothing."""
        message = ffi.new("char[512]")
        if lib.ih_board_check(self._board, message, 512) == Result.OK:
            return ""
        return ffi.string(message).decode("utf-8", "replace") or "the names board is damaged"
