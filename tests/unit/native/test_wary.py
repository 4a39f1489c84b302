"""Opening an image whose maker is trusted with nothing, and checking one where it lies."""

import datetime
import enum

import pytest

import icehouse
from icehouse.native._image import _census, _open_wary, _validate
from icehouse.store.freezing.trust import NONE

Colour = enum.Enum("Colour", "RED", module=__name__)


class Point:
    def __init__(self, x: object) -> None:
        self.x = x


def test_h20_own_instances_open_as_records() -> None:
    with icehouse.Store() as store:
        handle = store.put({"point": Point(1), "colour": Colour.RED, "day": datetime.date.min})
        own, wary = store.get(handle), _open_wary(handle, NONE)
        assert isinstance(own["point"], Point)
        assert own["colour"] is Colour.RED
        assert not isinstance(wary["point"], Point)
        assert wary["point"].x == 1
        assert icehouse.type_name(wary["point"]) == f"{__name__}.Point"
        assert isinstance(wary["colour"], icehouse.Record)
        assert wary["day"] == datetime.date.min
        # One does not change what the other is.
        assert isinstance(store.get(handle)["point"], Point)


def test_h20_links_lead_to_no_more_trust() -> None:
    with icehouse.Store() as store:
        inner = store.put({"point": Point(2), "pad": "x" * 2000})
        middle = store.put({"inner": store.get(inner), "pad": "y" * 2000})
        outer = store.put([store.get(middle)])
        assert store.stat(outer).links == 1
        assert isinstance(store.get(outer)[0]["inner"]["point"], Point)
        found = _open_wary(outer, NONE)[0]["inner"]["point"]
        assert not isinstance(found, Point)
        assert found.x == 2


def test_h21_a_root_that_runs_code_is_a_record() -> None:
    with icehouse.Store() as store:
        found = _open_wary(store.put(ValueError("no")), NONE)
        assert isinstance(found, icehouse.Record)
        assert found.args == ("no",)


def test_an_image_is_checked_where_it_lies() -> None:
    with icehouse.Store() as store:
        inner = store.put(["x" * 2000])
        outer = store.put({"link": store.get(inner), "n": 1.5})
        for handle in (inner, outer):
            assert _validate(handle) is None  # type: ignore[func-returns-value]
            assert _census(handle)[0] != 0
        store.delete(outer)
        with pytest.raises(icehouse.HandleGone):
            _validate(outer)
        with pytest.raises(icehouse.HandleGone):
            _open_wary(outer, NONE)


def test_wrong_arguments() -> None:
    with icehouse.Store() as store:
        handle = store.put(1)
        for wrong in ((), (handle,), (str(handle), NONE), (b"", NONE)):
            with pytest.raises(TypeError):
                _open_wary(*wrong)
