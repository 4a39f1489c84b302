"""What encoders of others are told about views."""

import json
from typing import Any

import pytest

import icehouse

DATA = {"a": [1, 2.5, None, "é"], "b": {"c": True, "d": [[], {}]}}


def test_json_through_default() -> None:
    view = icehouse.freeze(DATA)
    mixed = {"view": view, "part": view["a"], "plain": [1]}
    expected = {"view": DATA, "part": DATA["a"], "plain": [1]}
    assert json.loads(json.dumps(mixed, default=icehouse.json_default)) == expected
    assert json.loads(icehouse.dumps(view)) == DATA
    with pytest.raises(TypeError):
        json.dumps(object(), default=icehouse.json_default)


def test_enc_hook() -> None:
    view = icehouse.freeze(DATA)
    assert icehouse.enc_hook(view) == DATA
    assert type(icehouse.enc_hook(view)) is dict
    with pytest.raises(NotImplementedError, match="object"):
        icehouse.enc_hook(object())


def test_h27_msgspec_encodes_views_by_the_hook() -> None:
    msgspec: Any = pytest.importorskip("msgspec")
    view = icehouse.freeze(DATA)
    for module in (msgspec.json, msgspec.msgpack):
        encoded = module.Encoder(enc_hook=icehouse.enc_hook).encode({"view": view})
        assert module.decode(encoded) == {"view": DATA}


def test_h27_orjson_encodes_views_by_default() -> None:
    orjson: Any = pytest.importorskip("orjson")
    view = icehouse.freeze(DATA)
    assert orjson.loads(orjson.dumps({"v": view}, default=icehouse.json_default)) == {"v": DATA}
