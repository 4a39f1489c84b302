"""Private, writable copies of arrays that cost a page when a page is written."""

from typing import Any

from icehouse.native._image import FrozenArray, _copies

__all__ = ["cow"]


def cow(array: Any) -> Any:
    """Give a private, writable array with the content of a frozen one, copied by page on write.

    `array` is what a store gives: a read-only ndarray over shared memory, or a part of one, or a
    FrozenArray. The result is an ndarray (without numpy a writable memoryview) that nobody else
    sees, and that forgets what was written when it goes; the image stays open as long. What it
    costs: a system call, and a page's copy for each page that is written first. Where the memory
    file is not at hand (images of the daemon's store, of other users, from files), for parts that
    are not contiguous, and for arrays that are not in shared memory, it is an ordinary copy; the
    mask of a masked array always is.

    TypeError for what is no array.
    """
    numpy = _numpy()
    if numpy is not None and type(array) is not numpy.ndarray and isinstance(array, numpy.ndarray):
        return _of_subclass(array, numpy)
    view = _view_of(array, numpy)
    if view is None:
        if numpy is None or not isinstance(array, numpy.ndarray):
            raise TypeError(f"cow() takes an array of a store, not {type(array).__name__}")
        return array.copy(order="K")
    memory = _copies(view)
    if memory is None:
        return _copy(array, numpy)
    if numpy is None:
        flat: Any = memoryview(memory).cast("B")
        return flat.cast(view.format, view.shape)
    whole = numpy.asarray(view)
    return _part(numpy, numpy.frombuffer(memory, "u1"), whole, numpy.asarray(array))


def _numpy() -> Any:
    from icehouse.store.freezing.packages import package

    return package("numpy")


def _of_subclass(array: Any, numpy: Any) -> Any:
    """Copy what is another face of plain arrays: a masked array, a matrix, a record array."""
    masked = numpy.ma
    if not isinstance(array, masked.MaskedArray):
        return cow(array.view(numpy.ndarray)).view(type(array))
    mask = array.mask if array.mask is masked.nomask else array.mask.copy()
    made = masked.array(cow(array.data), mask=mask, fill_value=array.fill_value, copy=False)
    if array.hardmask:
        made.harden_mask()
    return made


def _view_of(array: Any, numpy: Any) -> FrozenArray | None:
    """Find the view whose memory an array shows."""
    while numpy is not None and isinstance(array, numpy.ndarray):
        array = array.base
    if isinstance(array, memoryview):
        array = array.obj
    return array if isinstance(array, FrozenArray) else None


def _copy(array: Any, numpy: Any) -> Any:
    if numpy is not None:
        return numpy.array(array, copy=True, order="K")
    plain = memoryview(bytearray(array.tobytes()))
    return plain.cast(array.format, array.shape)


def _part(numpy: Any, memory: Any, whole: Any, part: Any) -> Any:
    """Lay an array over the copies as `part` lies over the whole."""
    offset = part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return numpy.ndarray(part.shape, part.dtype, memory, offset, part.strides)
