"""Frames of the control family: a length of 4 bytes, little-endian, and so many bytes of body.

Bounded, and without any input or output: bytes go in as they come, frames come out.
"""

from collections.abc import Iterator

from icehouse.store.errors import ProtocolError

__all__ = ["Frames", "frame"]

HEAD = 4


def frame(body: bytes) -> bytes:
    """Make the frame of a body."""
    return len(body).to_bytes(HEAD, "little") + body


class Frames:
    """Takes bytes however they were split, and gives the bodies of whole frames.

    It never keeps more than one frame and what came with its end. A length that is 0 or over the
    limit is a ProtocolError, and there is no going on after one: what follows can't be told from
    the middle of a frame.
    """

    def __init__(self, limit: int) -> None:
        """Allow bodies of up to `limit` bytes."""
        self.limit = limit
        self._kept = bytearray()
        self._broken = False

    @property
    def kept(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._kept)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Give the bodies of the frames that `data` completes. Exhaust it before the next call."""
        if self._broken:
            raise ProtocolError("read a frame: the connection broke the protocol before")
        self._kept += data
        at = 0
        try:
            while len(self._kept) - at >= HEAD:
                length = int.from_bytes(self._kept[at : at + HEAD], "little")
                if not 0 < length <= self.limit:
                    self._broken = True
                    raise ProtocolError(
                        f"read a frame: its length is {length}, and 1 to {self.limit} is allowed;"
                        " are both sides of one version of icehouse?"
                    )
                end = at + HEAD + length
                if end > len(self._kept):
                    break
                body = bytes(self._kept[at + HEAD : end])
                at = end
                yield body
        finally:
            if self._broken:
                self._kept.clear()
            else:
                del self._kept[:at]
