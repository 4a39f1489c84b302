"""The allocator of a segment through cffi: against a naive model, and damaged on purpose."""

import secrets
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

arena = pytest.importorskip("icehouse.native._arena")
ffi, lib = arena.ffi, arena.lib

SEGMENT_BYTES = 64 << 10
UNIT = 64


def create(size: int = SEGMENT_BYTES) -> Any:
    out = ffi.new("ih_admin **")
    error = ffi.new("ih_error *")
    result = lib.ih_admin_create(secrets.randbelow(2**40 - 1) + 1, size, out, error)
    assert result == lib.IH_OK, ffi.string(error.what)
    return ffi.gc(out[0], lib.ih_admin_destroy)


def check(segment: Any) -> tuple[int, str]:
    message = ffi.new("char[200]")
    result = lib.ih_admin_check(segment, message, 200)
    return result, ffi.string(message).decode()


def recover(segment: Any) -> int:
    return lib.ih_admin_recover(segment, ffi.new("char[200]"), 200)  # type: ignore[no-any-return]


class Block(NamedTuple):
    locator: int
    nonce: int
    bytes: int
    size: int
    state: int


def blocks(segment: Any) -> list[Block]:
    count = ffi.new("size_t *")
    out = ffi.new("ih_admin_block[]", SEGMENT_BYTES // UNIT)
    assert lib.ih_admin_blocks(segment, out, len(out), count) == lib.IH_OK
    # Copies: the items themselves point into `out`, which goes when we return.
    return [Block(*(getattr(out[i], name) for name in Block._fields)) for i in range(count[0])]


class Allocator(RuleBasedStateMachine):
    """What is allocated stays, where it is and as it is, until it is freed."""

    live = Bundle("live")

    def __init__(self) -> None:
        super().__init__()
        self.segment = create()
        self.model: dict[int, tuple[int, int | None]] = {}  # locator: units, nonce

    @rule(target=live, size=st.integers(64, SEGMENT_BYTES // 3))
    def alloc(self, size: int) -> int:
        locator = ffi.new("uint64_t *")
        result = lib.ih_admin_alloc(self.segment, size, locator)
        if result == lib.IH_FULL:
            return 0
        assert result == lib.IH_OK
        assert locator[0] not in self.model
        self.model[locator[0]] = (-(-size // UNIT), None)
        return int(locator[0])

    @rule(locator=live, nonce=st.integers(0, 2**64 - 1), less=st.integers(0, 63))
    def seal(self, locator: int, nonce: int, less: int) -> None:
        units, sealed = self.model.get(locator, (0, None))
        size = max(64, units * UNIT - less)
        result = lib.ih_admin_seal(self.segment, locator, nonce, size)
        if units == 0 or sealed is not None:
            assert result == lib.IH_GONE
            return
        assert result == lib.IH_OK
        self.model[locator] = (units, nonce)
        found = ffi.new("uint64_t *")
        assert lib.ih_admin_find(self.segment, locator, nonce, found) == lib.IH_OK
        assert found[0] == size
        assert lib.ih_admin_find(self.segment, locator, nonce ^ 1, found) == lib.IH_GONE

    @rule(locator=consumes(live))
    def free(self, locator: int) -> None:
        known = self.model.pop(locator, None)
        result = lib.ih_admin_free(self.segment, locator)
        assert result == (lib.IH_GONE if known is None else lib.IH_OK)

    @rule()
    def crash(self) -> None:
        """The writer dies: what was not sealed is free after recovery."""
        assert recover(self.segment) == lib.IH_OK
        self.model = {at: kept for at, kept in self.model.items() if kept[1] is not None}

    @rule(offset=st.integers(0, SEGMENT_BYTES - 1), junk=st.binary(min_size=1, max_size=64))
    def damage_and_undo(self, offset: int, junk: bytes) -> None:
        junk = junk[: SEGMENT_BYTES - offset]
        size = ffi.new("uint64_t *")
        memory = lib.ih_admin_map(self.segment, size)
        before = bytes(ffi.buffer(memory + offset, len(junk)))
        lib.ih_admin_poke(self.segment, offset, junk, len(junk))
        assert check(self.segment)[0] in (lib.IH_OK, lib.IH_CORRUPT)
        assert lib.ih_admin_alloc(self.segment, 64, ffi.new("uint64_t *")) == lib.IH_CORRUPT
        lib.ih_admin_poke(self.segment, offset, before, len(before))
        self.crash()

    @invariant()
    def holds(self) -> None:
        assert check(self.segment) == (lib.IH_OK, "")
        found = {
            block.locator: (block.bytes // UNIT, block.nonce if block.size else None)
            for block in blocks(self.segment)
            if block.state != 0
        }
        assert found == self.model
        stats = ffi.new("ih_admin_stats *")
        assert lib.ih_admin_stats_of(self.segment, stats) == lib.IH_OK
        assert stats.sealed + stats.allocated == len(self.model)
        assert stats.largest_free <= stats.free_bytes <= stats.bytes


TestAllocator = Allocator.TestCase
TestAllocator.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def filled() -> Any:
    segment = create()
    locator = ffi.new("uint64_t *")
    for index in range(200):
        if lib.ih_admin_alloc(segment, 64 + index * 7 % 900, locator) != lib.IH_OK:
            break
        if index % 3:
            lib.ih_admin_seal(segment, locator[0], index, 64)
        elif index % 2:
            lib.ih_admin_free(segment, locator[0])
    return segment


def test_h10_every_byte_poked() -> None:
    """Damage anywhere is IH_CORRUPT or harmless; what recover accepts passes check and works."""
    segment = filled()
    size = ffi.new("uint64_t *")
    memory = lib.ih_admin_map(segment, size)
    genuine = bytes(ffi.buffer(memory, size[0]))
    refused = 0
    # The header and start map byte by byte, then each block's header, then some of the rest.
    places = list(range(200)) + list(range(4096, 4096 + 128))
    for block in blocks(segment):
        start = (block.locator & 0xFFFFFF) * UNIT
        places += range(start, start + UNIT, 3)
    for place in places:
        for value in (genuine[place] ^ 0xFF, 0, 0x80):
            lib.ih_admin_poke(segment, place, bytes([value]), 1)
            checked, _ = check(segment)
            recovered = recover(segment)
            assert checked in (lib.IH_OK, lib.IH_CORRUPT)
            assert recovered in (lib.IH_OK, lib.IH_CORRUPT)
            if recovered == lib.IH_OK:
                assert check(segment) == (lib.IH_OK, "")
            else:
                assert checked == lib.IH_CORRUPT
                refused += 1
            lib.ih_admin_poke(segment, 0, genuine, len(genuine))
    assert refused > 0
    assert recover(segment) == lib.IH_OK


def test_bad_arguments() -> None:
    out = ffi.new("ih_admin **")
    for number, size in ((0, SEGMENT_BYTES), (2**40, SEGMENT_BYTES), (1, 4096), (1, 2**31)):
        assert lib.ih_admin_create(number, size, out, ffi.NULL) == lib.IH_INVALID
    segment = create()
    locator = ffi.new("uint64_t *")
    assert lib.ih_admin_alloc(segment, 63, locator) == lib.IH_INVALID
    assert lib.ih_admin_alloc(segment, 2**40, locator) == lib.IH_FULL
    assert lib.ih_admin_free(segment, 5) == lib.IH_GONE
    assert lib.ih_admin_poke(segment, SEGMENT_BYTES, b"x", 1) == lib.IH_INVALID
    assert lib.ih_admin_alloc(segment, 100, locator) == lib.IH_OK
    assert lib.ih_admin_free(segment, locator[0] + 1) == lib.IH_GONE
    assert lib.ih_admin_seal(segment, locator[0], 1, 129) == lib.IH_INVALID
    assert lib.ih_admin_free(segment, locator[0]) == lib.IH_OK
    assert lib.ih_admin_free(segment, locator[0]) == lib.IH_GONE


def test_a_store_through_cffi() -> None:
    """The whole of arena.h is there, for the daemon and the doctor."""
    process = ffi.new("ih_process **")
    store = ffi.new("ih_store **")
    assert lib.ih_process_create(process, ffi.NULL) == lib.IH_OK
    options = ffi.new("ih_store_options *", {"capacity": 1 << 20})
    assert lib.ih_store_open(process[0], options, store, ffi.NULL) == lib.IH_OK
    block, handle = ffi.new("ih_block *"), ffi.new("ih_handle *")
    assert lib.ih_reserve(store[0], 100, 0, block, ffi.NULL) == lib.IH_OK
    assert lib.ih_block_write(block, 64, b"x" * 36, 36, ffi.NULL) == lib.IH_OK
    assert lib.ih_block_seal(block, bytes(16), handle, ffi.NULL, ffi.NULL) == lib.IH_OK
    lease = ffi.new("ih_lease **")
    assert lib.ih_open(process[0], handle[0], lease, ffi.NULL) == lib.IH_OK
    assert bytes(ffi.buffer(lease[0].image + 64, 36)) == b"x" * 36
    lib.ih_lease_release(lease[0])
    usage = ffi.new("ih_usage *")
    assert lib.ih_store_usage(store[0], usage, ffi.NULL) == lib.IH_OK
    assert (usage.images, usage.puts, usage.opens) == (1, 1, 1)
    lib.ih_store_drop(store[0])
    lib.ih_process_destroy(process[0])
