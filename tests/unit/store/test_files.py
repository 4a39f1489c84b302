"""`save` and `open_image`: what a file is, that damage is told, that nothing kills the reader."""

import hashlib
import io
import mmap
import os
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from icehouse.store import files

VALUE = {"a": [1, 2, 3], "text": "grün", "deep": ({"x": (1.5, None)}, b"bytes"), 7: {1, 2}}
# Over what is read into memory.
LARGE = {"blob": bytes(range(256)) * 1024, "value": VALUE}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "image.ih"
    icehouse.save(VALUE, path)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.ih"
    icehouse.save(LARGE, path)
    return path


def mapping_of(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("value", [VALUE, LARGE, None, 5, "text", (), (1, "a"), [], {}, 2.5, b""])
def test_what_is_saved_is_opened(tmp_path: Path, value: Any) -> None:
    for number, source in enumerate((value, icehouse.freeze(value))):
        path = tmp_path / str(number)
        icehouse.save(source, path)
        for options in ({}, {"copy": True}, {"verify": False}, {"copy": True, "verify": False}):
            opened = icehouse.open_image(path, **options)  # type: ignore[arg-type]
            assert opened == value
            assert icehouse.thaw(opened) == value


def test_a_file_is_as_its_page_says(saved: Path) -> None:
    data = saved.read_bytes()
    magic, version, kind, size = struct.unpack_from("<6sBBQ", data)
    assert (magic, version, kind, size) == (b"\x89IH\r\n\x1a", 1, 1, len(data))
    assert data[16:48] == hashlib.sha256(data[48:]).digest()
    assert data[48:51] == b"IH\x03"
    assert data[48:] == _image._image_bytes(VALUE)[48:]


def test_h16_equal_objects_give_equal_files(tmp_path: Path) -> None:
    with icehouse.Store() as store:
        sources = [VALUE, icehouse.freeze(VALUE), store.get(store.put(VALUE))]
        digests = {icehouse.save(source, tmp_path / "x") for source in sources}
    assert digests == {hashlib.sha256((tmp_path / "x").read_bytes()[48:]).hexdigest()}


def test_h16_nothing_of_the_store_goes_into_a_file(tmp_path: Path) -> None:
    with icehouse.Store() as store:
        handle = store.put(VALUE)
        icehouse.save(store.get(handle), tmp_path / "x")
    assert bytes(handle)[8:] not in (tmp_path / "x").read_bytes()


def test_h16_what_links_lead_to_is_in_the_file(tmp_path: Path) -> None:
    with icehouse.Store() as store:
        part = store.get(store.put({"numbers": [str(i) for i in range(2000)]}))
        handle = store.put({"part": part, "more": 1})
        whole = store.get(handle)
        assert store.stat(handle).links == 1
        icehouse.save(whole, tmp_path / "x")
        image = files.image_of_handle(handle, store.get)
        assert bytes(image[48:]) == (tmp_path / "x").read_bytes()[48:]
    opened = icehouse.open_image(tmp_path / "x")
    assert opened["part"]["numbers"][1999] == "1999"
    assert (tmp_path / "x").read_bytes()[51] == 0


def test_parts_of_views_are_saved(tmp_path: Path) -> None:
    view = icehouse.freeze({"list": list(range(100)), "inner": VALUE, "blob": LARGE["blob"]})
    for part in (view["list"], view["list"][10:20], view["inner"], view["blob"][5:100_000]):
        icehouse.save(part, tmp_path / "x")
        assert icehouse.open_image(tmp_path / "x") == part


def test_views_of_files_are_saved_and_put(saved: Path, large: Path) -> None:
    for path in (saved, large):
        view = icehouse.open_image(path)
        icehouse.save(view, path.with_suffix(".again"))
        assert path.with_suffix(".again").read_bytes() == path.read_bytes()
        with icehouse.Store() as store:
            assert store.get(store.put(view)) == view


def test_large_files_are_mapped_and_live_as_long_as_their_views(large: Path) -> None:
    view = icehouse.open_image(large)
    blob = view["blob"]
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert mapping_of(large)
    del view
    large.unlink()
    assert bytes(blob) == LARGE["blob"]
    held = memoryview(blob)
    del blob
    assert mapping_of(large)
    assert held[255] == 255
    held.release()
    assert not mapping_of(large)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_copy_outlives_a_truncated_file(large: Path) -> None:
    view = icehouse.open_image(large, copy=True)
    assert not mapping_of(large)
    os.truncate(large, 100)
    assert icehouse.thaw(view) == LARGE


def test_a_small_file_may_be_truncated_while_it_is_open(saved: Path) -> None:
    view = icehouse.open_image(saved)
    os.truncate(saved, 0)
    assert icehouse.thaw(view) == VALUE


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_h04_what_others_may_write_is_copied(large: Path, mode: int) -> None:
    large.chmod(mode)
    view = icehouse.open_image(large)
    assert not mapping_of(large)
    with large.open("r+b") as file:
        file.seek(len(LARGE["blob"]))
        file.write(bytes(5000))
    assert view["blob"] == LARGE["blob"]


def test_h04_buffers_of_files_are_handed_out_in_place(large: Path) -> None:
    for copy in (False, True):
        view = icehouse.open_image(large, copy=copy)["blob"]
        with memoryview(view) as whole, memoryview(view) as again:
            assert whole.readonly
            assert address(whole) == address(again)


def address(data: memoryview) -> int:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    return int(numpy.frombuffer(data, "u1").ctypes.data)


# --- damage ----------------------------------------------------------------------------------


def refusal(path: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(icehouse.CorruptImage) as caught:
        icehouse.open_image(path, **options)
    assert caught.value.reason in str(caught.value)
    return caught.value.offset, caught.value.reason


def test_every_damaged_byte_is_found(saved: Path) -> None:
    data = saved.read_bytes()
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        saved.write_bytes(damaged)
        refusal(saved)
        with pytest.raises(icehouse.CorruptImage):
            icehouse.open_image(io.BytesIO(damaged))


def test_every_truncation_is_found(saved: Path) -> None:
    data = saved.read_bytes()
    for size in range(len(data)):
        saved.write_bytes(data[:size])
        for verify in (True, False):
            offset, reason = refusal(saved, verify=verify)
            assert offset == size
            assert "truncated" in reason or "shorter" in reason
            assert refusal(io.BytesIO(data[:size]), verify=verify)[0] == size


@pytest.mark.parametrize(
    ("at", "data", "offset", "words"),
    [
        (0, b"PK\x03\x04", 0, "not an image file"),
        (6, b"\x02", 6, "version 2"),
        (7, b"\x09", 7, "digest of an unknown kind 9"),
        (8, struct.pack("<Q", 63), 8, "size below"),
        (8, struct.pack("<Q", 1 << 63), None, "truncated"),
        (20, b"\x00\x01", 16, "digest does not match"),
    ],
)
def test_the_refusal_says_where_and_why(
    saved: Path, at: int, data: bytes, offset: int | None, words: str
) -> None:
    with saved.open("r+b") as file:
        file.seek(at)
        file.write(data)
    found, reason = refusal(saved)
    assert words in reason
    assert found == (saved.stat().st_size if offset is None else offset)
    assert words in refusal(io.BytesIO(saved.read_bytes()))[1]


def test_another_image_version_is_told(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[50] = 9
    data[16:48] = hashlib.sha256(data[48:]).digest()
    saved.write_bytes(data)
    assert refusal(saved) == (50, "an image of another format version")


def test_what_stands_behind_the_image_is_refused(saved: Path) -> None:
    size = saved.stat().st_size
    with saved.open("ab") as file:
        file.write(b"!")
    offset, reason = refusal(saved)
    assert (offset, "behind" in reason) == (size, True)


def test_without_verifying_damage_is_safe(large: Path) -> None:
    data = bytearray(large.read_bytes())
    for at in range(64, 400, 3):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        large.write_bytes(damaged)
        try:
            icehouse.thaw(icehouse.open_image(large, verify=False))
        except (icehouse.CorruptImage, TypeError):
            continue


def test_a_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        icehouse.open_image(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        icehouse.open_image(tmp_path)
    with pytest.raises(IsADirectoryError):
        icehouse.save(VALUE, tmp_path)
    with pytest.raises(FileNotFoundError):
        icehouse.save(VALUE, tmp_path / "none" / "x")
    with pytest.raises(TypeError, match=r"store\.get"):
        icehouse.save(_image.Handle(bytes(16)), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# --- writing ---------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    with pytest.raises(icehouse.NotFreezableError):
        icehouse.save({"lock": threading.Lock()}, saved)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        icehouse.save(LARGE, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_who_has_the_old_file_open_goes_on_reading_it(large: Path) -> None:
    view = icehouse.open_image(large)
    icehouse.save([1], large)
    assert icehouse.open_image(large) == [1]
    assert icehouse.thaw(view) == LARGE


def test_modes_and_links(tmp_path: Path) -> None:
    path, link = tmp_path / "x", tmp_path / "link"
    before = os.umask(0o027)
    try:
        icehouse.save(1, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    link.symlink_to("x")
    icehouse.save(2, link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert icehouse.open_image(path) == 2


def test_streams(tmp_path: Path, saved: Path) -> None:
    stream = io.BytesIO()
    digest = icehouse.save(VALUE, stream)
    assert stream.getvalue() == saved.read_bytes()
    assert digest == hashlib.sha256(stream.getvalue()[48:]).hexdigest()
    stream.seek(0)
    assert icehouse.open_image(stream) == VALUE
    two = io.BytesIO(stream.getvalue() * 2)
    assert [icehouse.open_image(two), icehouse.open_image(two)] == [VALUE, VALUE]
    with saved.open("rb") as file:
        assert icehouse.open_image(file) == VALUE


@pytest.mark.parametrize("value", [VALUE, LARGE])
def test_pipes(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=icehouse.save, args=(value, path))
    writer.start()
    try:
        assert icehouse.open_image(path) == value
    finally:
        writer.join()
    assert stat.S_ISFIFO(path.stat().st_mode)


class Stingy(io.RawIOBase):
    """Takes and gives a few bytes at a time."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def write(self, data: Any) -> int:
        self.data += data[:7]
        return min(len(data), 7)

    def read(self, count: int = -1) -> bytes:
        given, self.data = self.data[: min(count, 5)], self.data[min(count, 5) :]
        return bytes(given)


def test_streams_that_take_little_at_a_time(saved: Path) -> None:
    stingy = Stingy()
    icehouse.save(VALUE, stingy)
    assert stingy.data == saved.read_bytes()
    assert icehouse.open_image(Stingy(saved.read_bytes())) == VALUE


def test_a_stream_that_lies_about_its_size_takes_no_memory() -> None:
    head = files.HEADER.pack(files.MAGIC, 1, 1, 1 << 50, bytes(32))
    assert "truncated" in refusal(io.BytesIO(head + bytes(1000)))[1]


def test_other_processes_and_interpreters_open_files(large: Path) -> None:
    code = f"import icehouse; print(list(icehouse.open_image({str(large)!r})['value']['a']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1, 2, 3]\n"
    interpreters = pytest.importorskip("icehouse.store.interpreters")
    if not interpreters.supported():
        pytest.skip("this Python has no subinterpreters")
    with interpreters.Interpreter() as other:
        other.run(
            f"import icehouse\nassert icehouse.open_image({str(large)!r})['value']['a'][2] == 3"
        )
        path = str(large.with_suffix(".new"))
        other.run(f"icehouse.save({{'from': 'there'}}, {path!r})")
    assert icehouse.open_image(path) == {"from": "there"}


def test_an_interpreter_that_hashes_first_ends_well(large: Path) -> None:
    """3.12.1 aborts at exit where a subinterpreter is the first to import hashlib."""
    code = f"""
import importlib, sys
name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
module = importlib.import_module(name)
this = module.create("isolated") if sys.version_info >= (3, 13) else module.create(isolated=True)
run = getattr(module, "exec", None) or module.run_string
run(this, "import icehouse; icehouse.open_image({str(large)!r})")
module.destroy(this)
assert "hashlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_census_knows_what_is_in_an_image() -> None:
    kinds, *others = _image._census(_image._image_bytes([{"a": 1.5}]))
    assert kinds == sum(1 << bit for bit in (63, 4, 10, 19, 22))
    assert others == [0, 0, 0]
    with pytest.raises(icehouse.CorruptImage):
        _image._census(b"x" * 64)


def test_mapped_memory_is_aligned(large: Path) -> None:
    with mmap.mmap(-1, 4096) as plain:
        assert address(memoryview(plain)) % 4096 == 0
    assert address(memoryview(icehouse.open_image(large)["blob"])) % 64 == 0


def test_paths_of_bytes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "image")
    icehouse.save({"a": 1}, path)
    assert icehouse.open_image(path)["a"] == 1
    (tmp_path / "image").write_bytes(b"")
    with pytest.raises(icehouse.CorruptImage, match="image can't be opened"):
        icehouse.open_image(path)


@pytest.mark.parametrize("what", [None, 5, [], io.StringIO("x" * 100)])
def test_what_is_no_file(what: Any) -> None:
    with pytest.raises(TypeError, match="an image is saved to a path or a binary file object"):
        icehouse.save([1], what)
    with pytest.raises(TypeError, match="an image is read from a path or a binary file object"):
        icehouse.open_image(what)
