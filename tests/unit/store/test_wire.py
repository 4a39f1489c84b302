"""The control family without a connection: frames however they are split, and the session."""

import itertools
import random

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from icehouse.store import errors
from icehouse.store.wire import messages
from icehouse.store.wire.failures import KINDS, to_exception
from icehouse.store.wire.framing import Frames, frame
from icehouse.store.wire.session import WAITING_MAX, Session, State

BODIES = st.lists(st.binary(min_size=1, max_size=300), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[at:end] for at, end in itertools.pairwise(places)]


@given(BODIES, st.lists(st.integers(0, 4000), max_size=30))
def test_frames_come_out_however_they_were_split(bodies: list[bytes], cuts: list[int]) -> None:
    frames = Frames(300)
    out: list[bytes] = []
    for piece in pieces(b"".join(map(frame, bodies)), cuts):
        out += frames.feed(piece)
        assert frames.kept < 4 + 300
    assert out == bodies
    assert frames.kept == 0


@given(st.integers(0, 2**32 - 1), BODIES)
def test_a_hostile_length_is_refused_at_once(length: int, before: list[bytes]) -> None:
    frames = Frames(300)
    head = length.to_bytes(4, "little")
    out: list[bytes] = []
    if 1 <= length <= 300:
        out += frames.feed(b"".join(map(frame, before)) + head)
        assert out == before
        return
    with pytest.raises(errors.ProtocolError, match=str(length)):
        # extend() keeps what came before the fault.
        out.extend(frames.feed(b"".join(map(frame, before)) + head + b"x" * 5000))
    assert out == before
    assert frames.kept == 0
    with pytest.raises(errors.ProtocolError, match="before"):
        list(frames.feed(b"x"))


def reply_frame(reply: messages.Reply) -> bytes:
    return frame(msgspec.msgpack.encode(reply))


def opened() -> Session[str]:
    session: Session[str] = Session()
    session.start("hello")
    session.receive(reply_frame(messages.Welcome(id=1, store="ab")))
    assert session.state is State.OPEN
    return session


def request_of(data: bytes) -> messages.REQUESTS:
    (body,) = Frames(messages.REQUEST_BYTES_MAX).feed(data)
    return msgspec.msgpack.decode(body, type=messages.REQUESTS)


def test_a_session_greets_first() -> None:
    session: Session[str] = Session(session=7)
    with pytest.raises(RuntimeError, match="new"):
        session.ask(messages.Ping(), "a")
    data = session.start("hello")
    assert data[:8] == messages.MAGIC
    hello = request_of(data[8:])
    assert isinstance(hello, messages.Hello)
    assert (hello.id, hello.version, hello.session) == (1, messages.VERSION, 7)
    with pytest.raises(RuntimeError, match="once"):
        session.start("again")


def test_replies_find_those_who_wait() -> None:
    session = opened()
    numbers = [request_of(session.ask(messages.Ping(), who)).id for who in "abc"]
    assert len(set(numbers)) == 3
    shuffled = list(zip(numbers, "abc", strict=True))
    random.Random(1).shuffle(shuffled)
    data = b"".join(reply_frame(messages.Done(id=number)) for number, _ in shuffled)
    data += reply_frame(messages.Changed(name="n", version=3))
    arrived = session.receive(data[:5]) + session.receive(data[5:])
    assert [item.waiter for item in arrived[:3]] == [who for _, who in shuffled]
    assert arrived[3] == messages.Changed(name="n", version=3)
    assert session.waiting == 0


def test_a_lost_connection_gives_back_who_waits() -> None:
    session = opened()
    session.ask(messages.Ping(), "a")
    session.ask(messages.Ping(), "b")
    assert session.lose() == ["a", "b"]
    assert session.lose() == []
    with pytest.raises(RuntimeError, match="closed"):
        session.ask(messages.Ping(), "c")


@pytest.mark.parametrize(
    "reply",
    [
        messages.Done(id=99),
        messages.Failure(code="protocol", text="a frame is too long"),
        messages.Welcome(id=0),
    ],
)
def test_what_nobody_asked_ends_the_session(reply: messages.Reply) -> None:
    session = opened()
    with pytest.raises(errors.ProtocolError):
        session.receive(reply_frame(reply))
    assert session.state is State.CLOSED


@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error_or_nothing(data: bytes) -> None:
    session = opened()
    session.ask(messages.Ping(), "a")
    try:
        session.receive(frame(data) if data else b"")
    except errors.ProtocolError:
        assert session.state is State.CLOSED


def test_a_greeting_that_is_refused_ends_the_session() -> None:
    session: Session[str] = Session()
    session.start("hello")
    (answer,) = session.receive(reply_frame(messages.Failure(id=1, code="denied", text="no")))
    assert isinstance(answer, tuple)
    assert answer.waiter == "hello"
    assert session.state is State.CLOSED


def test_what_is_in_flight_is_bounded() -> None:
    session = opened()
    for _ in range(WAITING_MAX):
        session.ask(messages.Ping(), "a")
    with pytest.raises(RuntimeError, match="wait for their replies"):
        session.ask(messages.Ping(), "b")


def test_a_request_that_the_daemon_would_refuse_is_not_sent() -> None:
    session = opened()
    with pytest.raises(ValueError, match="is a name too long"):
        session.ask(messages.Watch(name="x" * messages.REQUEST_BYTES_MAX), "a")
    assert session.waiting == 0


def test_newer_peers_are_understood() -> None:
    body = msgspec.msgpack.encode({"op": "done", "id": 2, "something": "new"})
    session = opened()
    session.ask(messages.Ping(), "a")
    (answer,) = session.receive(frame(body))
    assert isinstance(answer, tuple)


@pytest.mark.parametrize(("code", "kind"), sorted(KINDS.items(), key=lambda item: item[0]))
def test_each_refusal_is_an_exception_of_the_store(code: str, kind: type[Exception]) -> None:
    failure = messages.Failure(code=code, text="so it is", why="expired", version=3)
    failure.figures = {"wanted": 5, "waiting_pid": 12}
    error = to_exception(failure, "try", "/a/socket")
    assert type(error) is kind
    assert "try" in str(error)
    assert "so it is" in str(error)
    if isinstance(error, errors.HandleGone):
        assert error.reason == "expired"
    if isinstance(error, errors.StoreFull):
        assert (error.wanted, error.capacity, error.waiting_pid) == (5, 0, 12)
    if isinstance(error, errors.Conflict):
        assert error.version == 3
    if isinstance(error, errors.StoreUnavailable):
        assert error.socket == "/a/socket"


def test_an_unknown_refusal_is_a_protocol_error() -> None:
    error = to_exception(messages.Failure(code="new", text="x"), "try", "/s")
    assert type(error) is errors.ProtocolError
