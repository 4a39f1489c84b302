"""What the tests of the data ecosystem share: addresses, and images of strangers."""

from typing import Any

import icehouse
from icehouse.native import _image
from icehouse.store.freezing.trust import NONE


def address(array: Any) -> int:
    """Where an ndarray's first item is."""
    found: int = array.__array_interface__["data"][0]
    return found


def image_range(view: Any) -> range:
    """The addresses of the image that a view is the root of."""
    buffer = _image._image_of(view)
    assert buffer is not None
    import numpy as np

    flat = np.frombuffer(buffer, "u1")
    return range(address(flat), address(flat) + flat.size)


def round_trip(obj: Any) -> Any:
    """What comes back for an object that is frozen inside a list."""
    return icehouse.freeze([obj])[0]


def opened(image: bytearray) -> Any:
    """An image of another user, in memory that he may still write."""
    return _image._open_buffer(image, False, NONE)  # noqa: FBT003 - positional only


def stranger(obj: Any) -> Any:
    """What comes back for it from an image of another user."""
    return opened(bytearray(_image._image_bytes([obj])))[0]
