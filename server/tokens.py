"""Tokens: what lets a person act through the admin process, which itself may only look.

The file that `admin_tokens` names has a line for each: name, role, and the SHA-256 of the token in
hexadecimal. A token has 256 random bits, so its hash may be plain, and guessing needs no limit: one
would let anybody of this machine keep those out who have a token. The file must be of the daemon's
user and for nobody else to read or write; it is read again when it has changed.
"""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable
from typing import NamedTuple

from icehouse.server.frames import RefusedError, Result, Role

PREFIX = "ihtk_"
TOKEN_BYTES_MAX = 256
FILE_BYTES_MAX = 1 << 20
NAME_MAX = 64
ROLES = ("reader", "producer", "admin")


class TokenFileError(Exception):
    """A file of tokens that can't be used: which, and why."""


class TokenRefusedError(RefusedError):
    """An action that is not done: `reason` is token (missing or wrong) or role."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(Result.DENIED, text)
        self.reason = reason


class Token(NamedTuple):
    """Who may act, and as what."""

    name: str
    role: Role
    digest: bytes


def digest_of(text: str) -> bytes:
    """Give what is kept of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def make(name: str, role: str) -> tuple[str, str]:
    """Make a token: itself, and its line for the file. ValueError for a name that can't be one."""
    if not is_name(name):
        raise ValueError(
            f"a token's name has 1 to {NAME_MAX} letters, digits and any of -_.@; not {name!r}"
        )
    text = PREFIX + secrets.token_urlsafe(32)
    return text, f"{name} {role} {digest_of(text).hex()}\n"


def is_name(name: str) -> bool:
    """Whether a token may be called so: it is a word of a line, and goes into the log."""
    return (
        0 < len(name) <= NAME_MAX
        and name.isascii()
        and all(letter.isalnum() or letter in "-_.@" for letter in name)
    )


def parse(text: str, path: str) -> list[Token]:
    """Read the lines of a file; TokenFileError names the first that is wrong."""
    found: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            name, role, digest = words
            token = Token(name, Role(ROLES.index(role) + 1), bytes.fromhex(digest))
        except ValueError:
            token = Token("", Role.NONE, b"")
        if not is_name(token.name) or len(token.digest) != hashlib.sha256().digest_size:
            raise TokenFileError(
                f"{path}:{number}: a line is a name, one of {', '.join(ROLES)}, and the SHA-256"
                " that `icehouse token new` writes"
            )
        if token.name in found:
            raise TokenFileError(f"{path}:{number}: a second token is called {token.name}")
        found[token.name] = token
    return list(found.values())


def check_file(found: os.stat_result, path: str) -> None:
    """See that a file is of this user alone; TokenFileError says how to mend it."""
    if not stat.S_ISREG(found.st_mode):
        raise TokenFileError(f"{path}: it is no file")
    if found.st_uid != os.geteuid():
        raise TokenFileError(
            f"{path}: it belongs to uid {found.st_uid}, not to the daemon's: chown it"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise TokenFileError(f"{path}: others may read or write it: chmod 600 {path}")


Version = tuple[int, ...]


def version_of(path: str) -> Version | None:
    """Give what changes with a file; None: it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - no pathlib in a daemon's step
    except OSError:
        return None
    # The last of these changes with content, mode and owner, whatever somebody makes of its times.
    return found.st_dev, found.st_ino, found.st_ctime_ns


def read(path: str) -> list[Token]:
    """Read a file; TokenFileError. One that is not there, or in a hidden folder, has none."""
    if version_of(path) is None:
        return []
    try:
        # A pipe that is put in its place must not hold the daemon up.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from None
    try:
        check_file(os.fstat(fd), path)
        with os.fdopen(os.dup(fd), "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    finally:
        os.close(fd)
    if len(data) > FILE_BYTES_MAX:
        raise TokenFileError(f"{path}: it is larger than {FILE_BYTES_MAX} bytes")
    return parse(data.decode("utf-8", "replace"), path)


class Tokens:
    """Those of one daemon. `tell` is told what is wrong with the file, when it has changed."""

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell
        self._version: Version | None = None
        self._known: list[Token] = []

    def verify(self, text: str) -> Token:
        """Give whose token a text is; TokenRefusedError."""
        self._refresh()
        digest = digest_of(text[:TOKEN_BYTES_MAX])
        found: Token | None = None
        for token in self._known:
            # All of them, whichever it is.
            if hmac.compare_digest(token.digest, digest):
                found = token
        if found is None:
            hint = "" if self._known else ": none is known; make one with `icehouse token new`"
            raise TokenRefusedError("token", f"this is no token of this daemon{hint}")
        return found

    def _refresh(self) -> None:
        version = version_of(self._path) if self._path else None
        if version == self._version:
            return
        self._version = version
        try:
            self._known = read(self._path) if version is not None else []
        except TokenFileError as error:
            self._known = []
            self._tell(str(error))
