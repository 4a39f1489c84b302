"""The configuration of the daemon: where it comes from, and that it is right.

Sources, later ones win: defaults, a TOML file, the environment (ICEHOUSE_CAPACITY, ...), flags. The
file is the one that --config or ICEHOUSE_CONFIG names, else $XDG_CONFIG_HOME/icehouse/config.toml
(~/.config), else /etc/icehouse/config.toml; the first that is there, and only that one.

The keeper gets the result as JSON in its environment, and its children from there.
"""

import difflib
import importlib.util
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from icehouse.server import settings
from icehouse.server.keeper import SETTINGS_VARIABLE

PREFIX = "ICEHOUSE_"
FILE_VARIABLE = "ICEHOUSE_CONFIG"
FLAGS_USAGE = "--config FILE, --KEY VALUE for the keys of `icehouse config show`"
MACHINE_FILE = "/etc/icehouse/config.toml"
ROLE_NUMBERS = {"reader": 1, "producer": 2, "admin": 3}


class ConfigError(Exception):
    """A configuration that can't be used: what, where, what it should be."""


class Principals(msgspec.Struct, frozen=True):
    """Who has a role."""

    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()


class Roles(msgspec.Struct, frozen=True):
    """Who has which role, beside the daemon's own user, who is admin."""

    reader: Principals = Principals()
    producer: Principals = Principals()
    admin: Principals = Principals()


class Limits(msgspec.Struct, frozen=True):
    """The bounds of what clients may cost; settings.py says what each is."""

    connections_max: int
    sessions_max: int
    sessions_per_uid_max: int
    segments_max: int
    segments_per_session_max: int
    lease_blocks_max: int
    names_max: int
    watches_max: int
    request_bytes_max: int
    reply_bytes_max: int
    backlog_bytes_max: int
    hello_seconds: float
    stall_seconds: float
    warm_seconds: float


class Config(msgspec.Struct, frozen=True):
    """All settings, checked. Sizes are bytes, times are seconds; "" is off."""

    socket: str
    capacity: int
    segment_size: int
    spill: str
    spill_capacity: int
    http: str
    http_nice: int
    admin_tokens: str
    orphan_ttl: float
    log_format: str
    log_level: str
    stop_seconds: float
    restart_delay_max: float
    roles: Roles
    limits: Limits

    def role_of(self, uid: int, gids: Sequence[int]) -> int:
        """Give IH_ROLE_* of a user, the highest that fits; 0: none, and is refused."""
        if uid == os.geteuid():
            return ROLE_NUMBERS["admin"]
        for role in ("admin", "producer", "reader"):
            who: Principals = getattr(self.roles, role)
            if uid in who.uids or not set(gids).isdisjoint(who.gids):
                return ROLE_NUMBERS[role]
        return 0

    @property
    def serves_others(self) -> bool:
        """Whether anybody but the daemon's own user has a role."""
        everybody = (self.roles.reader, self.roles.producer, self.roles.admin)
        own = {os.geteuid()}
        return any(set(who.uids) - own or who.gids for who in everybody)

    def to_json(self) -> str:
        """Give what from_environment() of a child takes, and the keeper reads."""
        document = msgspec.to_builtins(self)
        document["socket_mode"] = 0o666 if self.serves_others else 0o600
        return json.dumps(document)

    def check_place(self) -> None:
        """Check what a running daemon needs of this machine; ConfigError."""
        if self.http:
            needed = ("fastapi", "jinja2", "uvicorn", "prometheus_client")
            missing = [name for name in needed if importlib.util.find_spec(name) is None]
            if missing:
                raise ConfigError(
                    f"http = {self.http} needs {', '.join(missing)}: "
                    "pip install 'icehouse[service]', or leave http off"
                )
            self._check_tokens()
        if self.spill:
            self._check_spill(Path(self.spill))

    def _check_tokens(self) -> None:
        """Check that the file of tokens, if it is there, is of this user alone, and is right."""
        from icehouse.server import tokens

        if not self.admin_tokens:
            return
        try:
            tokens.read(self.admin_tokens)
        except tokens.TokenFileError as error:
            raise ConfigError(f"admin_tokens = {error}") from None

    def _check_spill(self, folder: Path) -> None:
        """Check that spilled images can be written there; the daemon makes only the last part."""
        told = f"spill = {folder}:"
        if not folder.parent.is_dir():
            raise ConfigError(f"{told} there is no folder {folder.parent}: make it")
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{told} it is no folder: remove it, or name another")
        place = folder if folder.exists() else folder.parent
        if not os.access(place, os.W_OK | os.X_OK):
            raise ConfigError(f"{told} uid {os.geteuid()} may not write in {place}: name another")


class Chosen(NamedTuple):
    """A value and the source that it comes from, in words."""

    value: Any
    source: str


TABLE = {setting.key: setting for setting in settings.all_settings()}
# Other words for the same.
ALIASES = {
    f"roles.{role}.{alias}": f"roles.{role}.{name}"
    for role in settings.ROLES
    for alias, name in (("users", "uids"), ("groups", "gids"))
}


def default_socket(environment: Mapping[str, str]) -> str:
    """Where clients of this user look, without ICEHOUSE_SOCKET."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return f"{runtime}/icehouse/socket"
    return f"/tmp/icehouse-{os.geteuid()}/socket"  # noqa: S108 (the folder's owner is checked)


def default_tokens(environment: Mapping[str, str]) -> str:
    """Where the tokens of this user are; "": there is no such place."""
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    # Without a home it would be a folder of the machine's root.
    return f"{home}/icehouse/tokens" if home.startswith("/") and home != "/.config" else ""


def default_capacity() -> int:
    """Half of what the cgroup or the machine has."""
    from icehouse.native._arena import lib

    return int(lib.ih_default_capacity())


def usual_segment_size(capacity: int) -> int:
    """At most 64 MiB; an eighth of a small store, so that it has several segments."""
    size = 2**26
    while size > capacity // 8 and size > 2**16:
        size //= 2
    return size


def parsed(key: str, value: Any, source: str) -> Chosen:
    """Check one value; ConfigError names source, key, what is expected and what was found."""
    try:
        return Chosen(TABLE[key].parse(value), source)
    except settings.WrongValueError as error:
        raise ConfigError(f"{source}: {key} must be {error}; found {value!r}") from None


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the dotted keys of a TOML document."""
    for name, value in document.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in TABLE:
            yield from flat(value, f"{key}.")
        else:
            yield key, value


def known(key: str, source: str) -> str:
    """Give the key of a setting, whichever word was used for it; ConfigError if there is none."""
    key = ALIASES.get(key, key)
    if key in TABLE:
        return key
    similar = difflib.get_close_matches(key, TABLE, 1)
    hint = f"; is it {similar[0]}?" if similar else "; `icehouse config show` lists them"
    raise ConfigError(f"{source}: no setting is called {key}{hint}")


def find_file(named: str | None, environment: Mapping[str, str]) -> Path | None:
    """Give the configuration file; None if there is none. One that was named must be there."""
    named = named or environment.get(FILE_VARIABLE)
    if named:
        return Path(named)
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    for folder in (home, "/etc"):
        path = Path(folder, "icehouse", "config.toml")
        if path.is_absolute() and path.is_file():
            return path
    return None


def from_file(path: Path) -> dict[str, Chosen]:
    """Read a TOML file."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; the configuration is the file that --config or "
            f"{FILE_VARIABLE} names, else ~/.config/icehouse/config.toml, else {MACHINE_FILE}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    found: dict[str, Chosen] = {}
    for name, value in flat(document):
        key = known(name, str(path))
        found[key] = parsed(key, value, str(path))
    return found


def variable(key: str) -> str:
    """Name the environment variable of a key."""
    return PREFIX + key.replace(".", "_").upper()


def gather(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: str | None = None
) -> dict[str, Chosen]:
    """Give each setting with its source; ConfigError for the first that is wrong."""
    found = {key: parsed(key, setting.default, "default") for key, setting in TABLE.items()}
    path = find_file(file, environment)
    if path is not None:
        found.update(from_file(path))
    for key in TABLE:
        if variable(key) in environment:
            found[key] = parsed(key, environment[variable(key)], variable(key))
    for name, value in flags.items():
        source = f"--set {name}" if "." in name else f"--{name}"
        key = known(name.replace("-", "_"), source)
        found[key] = parsed(key, value, source)
    if not found["socket"].value:
        found["socket"] = Chosen(default_socket(environment), "default")
    if found["admin_tokens"].source == "default":
        found["admin_tokens"] = Chosen(default_tokens(environment), "default")
    if not found["capacity"].value:
        found["capacity"] = Chosen(default_capacity(), "default")
    capacity = found["capacity"].value
    if not found["segment_size"].value:
        found["segment_size"] = Chosen(usual_segment_size(capacity), "default")
    elif found["segment_size"].value > capacity:
        source = found["segment_size"].source
        raise ConfigError(f"{source}: segment_size must not be larger than capacity ({capacity})")
    return found


def build(found: Mapping[str, Chosen]) -> Config:
    """Make the configuration of its settings."""
    document: dict[str, Any] = {}
    for key, chosen in found.items():
        *folders, name = key.split(".")
        place = document
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = chosen.value
    return msgspec.convert(document, Config)


def parse_arguments(arguments: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Take `--key value` and `--key=value` apart: the file that --config names, and the rest."""
    file = None
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or (not equals and not rest):
            raise ConfigError(f"cannot understand {name!r}; expected {FLAGS_USAGE}")
        value = value if equals else rest.pop(0)
        if name == "--config":
            file = value
        else:
            flags[name[2:]] = value
    return file, flags


def from_arguments(arguments: Sequence[str]) -> Config:
    """Give the configuration of a command line, this environment and the file; ConfigError."""
    file, flags = parse_arguments(arguments)
    return build(gather(flags, os.environ, file))


def from_environment() -> Config:
    """Give the configuration that the keeper passed on. KeyError: no keeper started this."""
    return msgspec.json.decode(os.environ[SETTINGS_VARIABLE], type=Config)
