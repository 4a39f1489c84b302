"""Images as files: `save` writes one, `open_image` reads it in place.

docs/image-file.md is the format: a file is an image whose header, where the arena keeps what means
nothing elsewhere, says what the file is and has the digest of the rest.
"""

import contextlib
import errno
import io
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from icehouse.native._image import (
    CorruptImage,
    Handle,
    Store,
    _census,
    _image_bytes,
    _image_of,
    _open_buffer,
    _put_image,
)

if TYPE_CHECKING:
    from _hashlib import HASH
    from pathlib import Path

__all__ = ["open_image", "save"]

MAGIC = b"\x89IH\r\n\x1a"
VERSION = 1
SHA256 = 1
HEADER = struct.Struct("<6sBBQ32s")
# Where the body begins, which the digest covers, and the least that a file has.
BODY = HEADER.size
SIZE_MIN = 64
# Of the image's header behind it: a byte of flags, and the one for links.
FLAGS = 51
LINKS = 1

# Files up to here are read into memory: a mapping of its own costs more, and there may be 65,530.
MAP_MIN = 64 << 10
# Read, hashed and written at a time.
CHUNK = 1 << 20

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_PATHS = (str, bytes, os.PathLike)


class Readable(Protocol):
    """A binary file object to read from."""

    def read(self, count: int, /) -> bytes | None:
        """Give at most so many bytes."""


class Writable(Protocol):
    """A binary file object to write to."""

    def write(self, data: Any, /) -> int | None:
        """Write bytes, and say how many."""


class Written(NamedTuple):
    """What a file is that was written or read."""

    size: int
    digest: str


def corrupt(name: str, reason: str, offset: int) -> CorruptImage:
    """Make the exception for a file that is none of ours, or damaged."""
    error = CorruptImage(
        f"{name} can't be opened as an image: {reason} at offset {offset};"
        " save the object again, or take a sound copy of the file"
    )
    error.offset = offset
    error.reason = reason
    return error


def sha256() -> "HASH":
    """Begin a digest.

    Not by hashlib, nor with `usedforsecurity`: 3.12.1 aborts at exit where a subinterpreter is the
    first to import the one or to give the other.
    """
    try:
        from _hashlib import openssl_sha256 as make
    except ImportError:
        from hashlib import sha256 as make
    return make()


# --- writing ---------------------------------------------------------------------------------


def image_of(obj: Any) -> memoryview:
    """Give the bytes of the image of an object; the first 48 are to be replaced."""
    return memoryview(_image_of(obj) or _image_bytes(obj))


def image_of_handle(handle: Handle, get: Callable[[Handle], Any]) -> memoryview:
    """Give the bytes of an image as it is, or with what its links lead to."""
    return memoryview(_image_of(handle) or _image_bytes(get(handle)))


def chunks_of(image: memoryview) -> Iterator[bytes]:
    """Copy the body out piece by piece: what is hashed is what is written, whoever writes it."""
    for at in range(BODY, len(image), CHUNK):
        yield bytes(image[at : at + CHUNK])


def write_seekable(image: memoryview, write: Callable[[bytes], object]) -> Written:
    """Write the body behind a place for the header, which is known at the end."""
    digest = sha256()
    write(bytes(BODY))
    for chunk in chunks_of(image):
        digest.update(chunk)
        write(chunk)
    return Written(len(image), digest.hexdigest())


def header_of(written: Written) -> bytes:
    """Make the header of a file."""
    return HEADER.pack(MAGIC, VERSION, SHA256, written.size, bytes.fromhex(written.digest))


def write_stream(image: memoryview, write: Callable[[bytes], object]) -> Written:
    """Write header and body in order, for which the bytes are looked at twice.

    CorruptImage where they have changed in between, as another user's may.
    """
    digest, again = sha256(), sha256()
    for chunk in chunks_of(image):
        digest.update(chunk)
    written = Written(len(image), digest.hexdigest())
    write(header_of(written))
    for chunk in chunks_of(image):
        again.update(chunk)
        write(chunk)
    if again.digest() != digest.digest():
        raise corrupt("what was to be saved", "it changed while it was written", BODY)
    return written


def write_all(descriptor: int) -> Callable[[bytes], None]:
    """Give a function that writes all of what it gets."""

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write


def write_object(stream: Writable) -> Callable[[bytes], None]:
    """Give a function that writes all of what it gets, also to a stream without a buffer."""

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            count = stream.write(rest)
            rest = rest[len(rest) if count is None else count :]

    return write


def replace(image: memoryview, target: "Path") -> Written:
    """Write a new file beside the target and put it in its place, whole and on disk."""
    mode = 0o666
    with contextlib.suppress(FileNotFoundError):
        mode = stat.S_IMODE(target.stat().st_mode)
    temporary = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(temporary, flags, mode)
    except OSError as error:
        error.filename = str(target)  # nobody knows the file beside it
        raise
    try:
        try:
            written = write_seekable(image, write_all(descriptor))
            os.pwrite(descriptor, header_of(written), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(target.parent)
    return written


def sync_folder(folder: "Path") -> None:
    """See that a renamed file is found after a crash, where the file system can tell."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_stream(stream: Any, method: str, what: str) -> None:
    """Raise TypeError for what is neither a path nor a binary file object."""
    if isinstance(stream, io.TextIOBase):
        raise TypeError(f"{what} a path or a binary file object; this one is for text: open it 'b'")
    if not callable(getattr(stream, method, None)):
        raise TypeError(
            f"{what} a path or a binary file object, not an object of type {type(stream).__name__}"
        )


def is_special(path: "Path") -> bool:
    """Tell whether a path leads to a pipe, a device or the like, which a file can't replace."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_image(image: memoryview, target: AnyPath | Writable) -> Written:
    """Write the bytes of an image to a path or a stream, behind the header of a file."""
    from pathlib import Path

    if not isinstance(target, _PATHS):
        return write_stream(image, write_object(target))
    path = Path(os.fsdecode(target))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(target))
    if not is_special(path):
        return replace(image, path.resolve())
    with path.open("wb", buffering=0) as out:
        return write_stream(image, write_all(out.fileno()))


def save(obj: Any, target: AnyPath | Writable, /) -> str:
    """Save a view, or any object that freezes, as an image file; return its SHA-256 in hex.

    `target` is a path or a binary file object. A path's file is replaced whole or not at all: a
    new file is written beside it, synced to disk and renamed, so that whoever has the old one open
    goes on reading it. What links lead to is copied into the file, which stands alone. Equal plain
    objects give equal files.

    NotFreezableError names what can't be frozen; OSError where the file can't be written. One copy
    and one digest: O(size).
    """
    if isinstance(obj, Handle):
        # A handle is plain data to freeze(), and its 16 bytes are hardly what is wanted in a file.
        raise TypeError("save() takes an object, not a Handle: save(store.get(handle), path)")
    if not isinstance(target, _PATHS):
        check_stream(target, "write", "an image is saved to")
    return write_image(image_of(obj), target).digest


# --- into a store ----------------------------------------------------------------------------


def wants_trust(data: Any) -> bool:
    """Check every node of an image, and tell whether it names classes or has what runs code."""
    from icehouse.store.freezing import codes

    # Data alone, whatever their payload: opening one looks nothing up and runs nothing that the
    # image could choose.
    plain = {
        *range(codes.DATE, codes.MAPPING_PROXY + 1),
        codes.RECORD,
        codes.FROZENDICT,
        *range(codes.NUMPY_SCALAR, codes.TORCH + 1),
    }
    _, forms, found, _ = _census(data)
    return bool(forms) or any(found >> code & 1 for code in range(64) if code not in plain)


def put_image(store: Store, data: Any, *, name: str | None, pin: bool) -> Handle:
    """Put the bytes of an image into a store as they are; nothing stays if that fails half-way."""
    handle = _put_image(store, data)
    try:
        if pin:
            store.pin(handle)
        if name is not None:
            store.bind(name, handle)
    except BaseException:
        store.delete(handle, force=True)
        raise
    return handle


# --- reading ---------------------------------------------------------------------------------


class Header(NamedTuple):
    """The checked header of a file."""

    size: int
    digest: bytes


def header_from(data: bytes, name: str) -> Header:
    """Check the first 48 bytes of a file."""
    if len(data) < BODY:
        raise corrupt(name, "it is shorter than a header", len(data))
    magic, version, kind, size, digest = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise corrupt(name, "not an image file: wrong magic number", 0)
    if version != VERSION:
        raise corrupt(name, f"an image file of version {version}, not {VERSION}", 6)
    if kind != SHA256:
        raise corrupt(name, f"a digest of an unknown kind {kind}", 7)
    if size < SIZE_MIN:
        raise corrupt(name, "a size below that of a header", 8)
    return Header(size, digest)


def check_digest(whole: memoryview, header: Header, name: str) -> None:
    """Compare the digest of a file's body; piece by piece, so that Ctrl-C is heard."""
    digest = sha256()
    for at in range(BODY, len(whole), 16 * CHUNK):
        with whole[at : at + 16 * CHUNK] as part:
            digest.update(part)
    compare(digest, header, name)


def compare(digest: "HASH", header: Header, name: str) -> None:
    """Raise CorruptImage unless the digest is the one stated."""
    if digest.digest() != header.digest:
        raise corrupt(name, "the digest does not match: the file is damaged", 16)


def read_exactly(read: Callable[[int], bytes | None], count: int) -> bytes:
    """Read until so many bytes are there or nothing comes any more."""
    parts, left = [], count
    while left:
        part = read(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_into_memory(
    read: Callable[[int], bytes | None], header: Header, head: bytes, name: str, *, verify: bool
) -> Any:
    """Read a body behind its header into memory of our own, which nobody can change."""
    digest = sha256() if verify else None
    small: list[bytes] = [head]
    large = -1 if header.size <= MAP_MIN else memfd()
    try:
        put = small.append if large < 0 else write_all(large)
        if large >= 0:
            put(head)
        left = header.size - len(head)
        while left:
            # A size that is a lie gets no memory before there are bytes for it.
            chunk = read_exactly(read, min(left, CHUNK))
            if not chunk:
                reason = f"it is truncated: {header.size - left} of {header.size} bytes"
                raise corrupt(name, reason, header.size - left)
            if digest is not None:
                digest.update(chunk)
            put(chunk)
            left -= len(chunk)
        if digest is not None:
            compare(digest, header, name)
        return b"".join(small) if large < 0 else sealed_map(large, header.size)
    finally:
        if large >= 0:
            os.close(large)


def memfd() -> int:
    """Make a file in memory that can be sealed."""
    return os.memfd_create("icehouse file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def sealed_map(descriptor: int, size: int) -> Any:
    """Map a memfd that nobody can change any more."""
    import fcntl

    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return mapped(descriptor, size)


def mapped(descriptor: int, size: int) -> Any:
    """Map a file read-only; the descriptor may be closed."""
    import mmap
    import sys

    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, prot=mmap.PROT_READ, trackfd=False)
    return mmap.mmap(descriptor, size, prot=mmap.PROT_READ)


def others_may_write(found: os.stat_result) -> bool:
    """Tell whether a file could be changed by another user than this one and root."""
    shared = bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return shared or found.st_uid not in (os.geteuid(), 0)


def read_file(descriptor: int, name: str, *, verify: bool, copy: bool) -> Any:
    """Give the bytes of a regular file: mapped, or in memory of our own."""
    found = os.fstat(descriptor)
    head = os.pread(descriptor, BODY, 0)
    header = header_from(head, name)
    if header.size > found.st_size:
        reason = f"it is truncated: {found.st_size} of {header.size} bytes"
        raise corrupt(name, reason, found.st_size)
    if header.size < found.st_size:
        raise corrupt(name, "there is something behind the end of the image", header.size)
    if copy or header.size <= MAP_MIN or others_may_write(found):
        os.lseek(descriptor, len(head), os.SEEK_SET)
        return read_into_memory(
            lambda count: os.read(descriptor, count), header, head, name, verify=verify
        )
    data = mapped(descriptor, header.size)
    if verify:
        with memoryview(data) as whole:
            check_digest(whole, header, name)
    return data


def read_stream(stream: Readable, name: str, *, verify: bool) -> Any:
    """Give the bytes of an image that comes from a pipe or the like; nothing is read behind it."""
    head = read_exactly(stream.read, BODY)
    return read_into_memory(stream.read, header_from(head, name), head, name, verify=verify)


def read_image(source: AnyPath | Readable, *, verify: bool = True, copy: bool = False) -> Any:
    """Give the bytes of an image file, header included, in memory that nobody else changes."""
    name = name_of(source)
    if not isinstance(source, _PATHS):
        check_stream(source, "read", "an image is read from")
        data = read_stream(source, name, verify=verify)
    else:
        # Not by pathlib, which takes no bytes.
        with open(source, "rb", buffering=0) as stream:  # noqa: PTH123 - as said above
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                data = read_file(stream.fileno(), name, verify=verify, copy=copy)
            else:
                data = read_stream(stream, name, verify=verify)
    if data[FLAGS] & LINKS:
        raise corrupt(name, "an image with links, which lead nowhere from a file", FLAGS)
    return data


def name_of(source: AnyPath | Readable) -> str:
    """Say in messages where an image comes from."""
    if isinstance(source, _PATHS):
        return os.fsdecode(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the stream"


def open_image(
    source: AnyPath | Readable,
    /,
    *,
    allow_classes: Iterable[type] | None = None,
    trust: bool = False,
    verify: bool = True,
    copy: bool = False,
) -> Any:
    """Open an image file that `save` wrote, and return its object.

    `source` is a path, or a binary file object to read it from. A large file is mapped and read in
    place: what is not touched is not read, and all processes that map it share its memory. Replace
    such a file by renaming, as `save` does: truncating a file that is mapped kills its readers with
    SIGBUS. With `copy` the file is copied into memory and may go or change; small files, and those
    that other users may write, always are.

    Nothing in a file is believed about who made it: of classes only those in `allow_classes` are
    used, and with `trust` whatever can be imported, also what runs code; otherwise records come
    back that know the name of their type. `trust=True` is as dangerous as unpickling.

    CorruptImage, with offset and reason, for what is truncated, damaged or no image file; OSError
    where it can't be read. `verify` compares the digest first: O(size), 0.6 GiB/s; without it
    opening a mapped file is O(1). Whatever the bytes are, reading them is safe either way.
    """
    from icehouse.store.freezing.trust import trust_of

    believed = trust_of(own=trust, allow_classes=allow_classes, code=trust)
    data = read_image(source, verify=verify, copy=copy)
    return _open_buffer(data, True, believed)  # noqa: FBT003 - positional only
