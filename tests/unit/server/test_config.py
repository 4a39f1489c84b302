"""The configuration: its sources and their order, what is refused and how it is said."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from icehouse.server import config, settings, show, units
from icehouse.server.config import ConfigError, gather

KIB, MIB, GIB = 2**10, 2**20, 2**30


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without configuration, and nothing of who runs the tests."""
    for name in os.environ:
        if name.startswith(("ICEHOUSE_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def values(**flags: Any) -> dict[str, Any]:
    found = gather(flags, os.environ)
    return {key: chosen.value for key, chosen in found.items()}


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("0", 0),
            ("4096", 4096),
            ("2GiB", 2 * GIB),
            ("2 gib", 2 * GIB),
            ("1.5G", 3 * GIB // 2),
            ("500MB", 500_000_000),
            ("64k", 64 * KIB),
            ("7TiB", 7 * 2**40),
            ("12B", 12),
        ],
    )
    def test_sizes(self, text: str, size: int) -> None:
        assert units.size(text) == size

    @pytest.mark.parametrize(
        "text", ["", "GiB", "-1", "1e9", "2 G iB", "1.G", "٣", "9" * 30, "2Gs"]
    )
    def test_no_sizes(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".*"):
            units.size(text)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("10", 10.0),
            ("250ms", 0.25),
            ("90s", 90.0),
            ("5m", 300.0),
            ("1h", 3600.0),
            ("2d", 172800.0),
        ],
    )
    def test_times(self, text: str, seconds: float) -> None:
        assert units.seconds(text) == seconds
        assert units.seconds(units.seconds_text(seconds)) == seconds

    @pytest.mark.parametrize("size", [0, 1, 1023, KIB, 3 * MIB, GIB + 1, 5 * 2**40])
    def test_sizes_there_and_back(self, size: int) -> None:
        assert units.size(units.size_text(size)) == size


class TestSources:
    def test_defaults(self) -> None:
        made = config.build(gather({}, os.environ))
        assert made.socket == f"/tmp/icehouse-{os.geteuid()}/socket"
        assert made.capacity == config.default_capacity() > 0
        assert made.segment_size & (made.segment_size - 1) == 0
        assert made.http == made.spill == ""
        assert made.orphan_ttl == 3600.0
        assert made.limits.sessions_max == 1024
        assert not made.serves_others

    def test_every_setting_has_a_place(self) -> None:
        """The table and the structs name the same settings."""
        names = set()
        for key in config.TABLE:
            value: Any = config.build(gather({}, os.environ))
            for part in key.split("."):
                value = getattr(value, part)
            names.add(key)
        built = msgspec.to_builtins(config.build(gather({}, os.environ)))
        assert {key for key, _ in config.flat(built)} == names

    def test_the_socket_of_the_session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
        assert values()["socket"] == "/run/user/7/icehouse/socket"
        monkeypatch.setenv("ICEHOUSE_SOCKET", "/run/other")
        assert values()["socket"] == "/run/other"

    def test_later_ones_win(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = home / ".config" / "icehouse" / "config.toml"
        file.parent.mkdir(parents=True)
        file.write_text(
            'capacity = "100MiB"\nspill = "/a"\norphan_ttl = 60\n[limits]\nsessions_max = 5\n'
        )
        monkeypatch.setenv("ICEHOUSE_SPILL", "/b")
        monkeypatch.setenv("ICEHOUSE_LIMITS_SESSIONS_MAX", "6")
        monkeypatch.setenv("ICEHOUSE_ORPHAN_TTL", "2m")
        found = gather({"orphan-ttl": "3m"}, os.environ)
        assert found["capacity"] == (100 * MIB, str(file))
        assert found["spill"] == ("/b", "ICEHOUSE_SPILL")
        assert found["limits.sessions_max"] == (6, "ICEHOUSE_LIMITS_SESSIONS_MAX")
        assert found["orphan_ttl"] == (180.0, "--orphan-ttl")
        assert found["log_level"] == ("info", "default")

    def test_a_file_that_is_named_is_the_only_one(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (home / "one.toml").write_text('log_level = "debug"')
        (home / "two.toml").write_text('log_level = "error"')
        monkeypatch.setenv("ICEHOUSE_CONFIG", str(home / "one.toml"))
        assert gather({}, os.environ)["log_level"].value == "debug"
        named = gather({}, os.environ, str(home / "two.toml"))
        assert named["log_level"].value == "error"

    def test_the_home_of_configuration(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
        (home / "icehouse").mkdir()
        (home / "icehouse" / "config.toml").write_text("capacity = 4000000")
        assert values()["capacity"] == 4000000 // 4096 * 4096

    def test_a_small_store_has_small_segments(self) -> None:
        assert values(capacity="64MiB")["segment_size"] == 8 * MIB
        assert values(capacity="1MiB")["segment_size"] == 128 * KIB
        assert values(capacity="100GiB")["segment_size"] == 64 * MIB


class TestRoles:
    def test_by_user_and_group(self, home: Path) -> None:
        path = home / "c.toml"
        path.write_text(
            "[roles.reader]\nusers = [50001, 50002]\n"
            "[roles.producer]\nuids = [50002]\ngids = [60001]\n"
            '[roles.admin]\ngroups = "60002"\n'
        )
        made = config.build(gather({}, os.environ, str(path)))
        assert made.serves_others
        assert made.role_of(os.geteuid(), [9]) == 3
        assert made.role_of(50001, [9]) == 1
        assert made.role_of(50002, [9]) == 2
        assert made.role_of(50001, [9, 60001]) == 2
        assert made.role_of(50009, [60001, 60002]) == 3
        assert made.role_of(50009, [9]) == 0
        assert json.loads(made.to_json())["socket_mode"] == 0o666

    def test_names_of_users_and_groups(self) -> None:
        assert settings.users("root") == (0,)
        assert settings.groups(["root", 0, "7"]) == (0, 7)
        assert settings.users("") == ()

    def test_the_own_user_opens_nothing_to_others(self) -> None:
        made = config.build(gather({"roles.reader.uids": str(os.geteuid())}, os.environ))
        assert json.loads(made.to_json())["socket_mode"] == 0o600


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("capacity = '5X'", ["capacity", "a size like 2GiB", "'5X'"]),
            ("capacity = 4096", ["capacity", "at least 1MiB", "4096"]),
            ("capacity = true", ["capacity", "a size", "True"]),
            ("capacity = -1", ["capacity", "a size", "-1"]),
            ("segment_size = '3MiB'", ["segment_size", "a power of two", "3MiB"]),
            ("capacity = '1MiB'\nsegment_size = '2MiB'", ["segment_size", "larger than capacity"]),
            ("socket = 'here'", ["socket", "an absolute path", "here"]),
            ("http = '0.0.0.0:80'", ["http", "loopback", "0.0.0.0"]),
            ("http = 'example.org:80'", ["http", "loopback", "example.org"]),
            ("http = '127.0.0.1:99999'", ["http", "127.0.0.1:8420", "99999"]),
            ("http = '::1:80'", ["http", "[::1]:8420"]),
            ("http = 8420", ["http", "HOST:PORT"]),
            ("spill = 'x'", ["spill", "off, or an absolute path"]),
            ("orphan_ttl = 'soon'", ["orphan_ttl", "a time like", "soon"]),
            ("orphan_ttl = nan", ["orphan_ttl", "a time like", "nan"]),
            ("log_format = 'xml'", ["log_format", "auto, json, text", "xml"]),
            ("[limits]\nsessions_max = 0", ["limits.sessions_max", "from 1 to", "found 0"]),
            ("[limits]\nsession_max = 1", ["limits.session_max", "is it limits.sessions_max?"]),
            ("[roles]\nreader = 5", ["no setting is called roles.reader"]),
            ("[roles.reader]\nuids = ['no such user']", ["roles.reader.uids", "'no such user'"]),
            ("[roles.reader]\nuids = 5", ["roles.reader.uids", "a list of users"]),
            ("[roles.writer]\nuids = [5]", ["no setting is called roles.writer.uids"]),
            ("capacity", ["not valid TOML"]),
        ],
    )
    def test_a_file(self, home: Path, text: str, words: list[str]) -> None:
        path = home / "c.toml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            gather({}, os.environ, str(path))
        for word in (str(path), *words):
            assert word in str(caught.value)

    def test_bytes_that_are_no_text(self, home: Path) -> None:
        (home / "c.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="not valid TOML"):
            gather({}, os.environ, str(home / "c.toml"))

    def test_a_named_file_must_be_there(self, home: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
            gather({}, os.environ, str(home / "none.toml"))

    def test_variables_and_flags(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigError, match=r"^--log-level: log_level must be one of"):
            gather({"log-level": "loud"}, os.environ)
        with pytest.raises(ConfigError, match=r"^--set limits\.names_max: "):
            gather({"limits.names_max": "many"}, os.environ)
        monkeypatch.setenv("ICEHOUSE_CAPACITY", "much")
        with pytest.raises(ConfigError, match=r"^ICEHOUSE_CAPACITY: capacity must be a size"):
            gather({}, os.environ)

    @pytest.mark.parametrize("arguments", [["capacity"], ["--capacity"], ["-c", "x"]])
    def test_arguments(self, arguments: list[str]) -> None:
        with pytest.raises(ConfigError, match="cannot understand"):
            config.from_arguments(arguments)

    def test_what_the_machine_lacks(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(config.importlib.util, "find_spec", lambda name: None)
        made = config.from_arguments(["--http=127.0.0.1:0"])
        with pytest.raises(ConfigError, match=r"pip install 'icehouse\[service\]'"):
            made.check_place()
        made = config.from_arguments(["--spill", "/no/such/folder"])
        with pytest.raises(ConfigError, match="there is no folder /no/such: make it"):
            made.check_place()
        file = tmp_path / "file"
        file.write_text("")
        made = config.from_arguments(["--spill", str(file)])
        with pytest.raises(ConfigError, match="it is no folder: remove it, or name another"):
            made.check_place()
        if os.geteuid() != 0:
            tmp_path.chmod(0o500)
            made = config.from_arguments(["--spill", str(tmp_path / "new")])
            with pytest.raises(ConfigError, match="may not write in"):
                made.check_place()


def test_children_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = config.from_arguments(["--roles.reader.uids=5,6", "--spill=/var/x", "--capacity=3MiB"])
    monkeypatch.setenv("ICEHOUSE_SETTINGS", made.to_json())
    assert config.from_environment() == made


@pytest.mark.parametrize("http", ["127.0.0.1:0", "127.8.9.1:65535", "[::1]:8420", "localhost:1"])
def test_http_on_loopback(http: str) -> None:
    assert values(http=http)["http"] == http


class TestShow:
    def test_the_text_could_be_the_file(
        self, home: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["--capacity=5MiB", "--roles.admin.gids=7,8", "--http=[::1]:1"]
        assert show.main(arguments) == 0
        text = capsys.readouterr().out
        (home / "c.toml").write_text(text)
        again = gather({}, os.environ, str(home / "c.toml"))
        expected = config.from_arguments(arguments)
        assert config.build(again) == expected
        (line,) = [line for line in text.splitlines() if line.startswith("roles.admin.gids")]
        assert "# --set roles.admin.gids " in line

    def test_json(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "c.toml").write_text("orphan_ttl = '2h'")
        assert show.main(["--json", "--config", str(home / "c.toml")]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["file"] == str(home / "c.toml")
        assert told["settings"]["orphan_ttl"]["value"] == 7200.0
        assert told["settings"]["orphan_ttl"]["source"] == str(home / "c.toml")
        assert set(told["settings"]) == set(config.TABLE)

    def test_errors(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert show.main(["--capacity=x"]) == 2
        assert capsys.readouterr().err.startswith("icehouse: --capacity: ")
