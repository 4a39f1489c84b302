"""scipy.sparse: every format comes back as it was, most of them over the image's memory."""

import gc
from typing import Any

import data_cases
import pytest

import icehouse
from icehouse import CorruptImage, NotFreezableError, Store
from icehouse.native import _image

sparse = pytest.importorskip("scipy.sparse")
np = pytest.importorskip("numpy")

FORMATS = ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"]


def matrix_of(form: str, kind: str) -> Any:
    dense = np.zeros((60, 40))
    dense[3, 4], dense[5, 4], dense[50, 39], dense[0, 0] = 1.5, 2.5, -1.0, 7.0
    return getattr(sparse, f"{form}_{kind}")(dense)


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format(form: str, kind: str) -> None:
    matrix = matrix_of(form, kind)
    for found in (data_cases.round_trip(matrix), data_cases.stranger(matrix)):
        assert type(found) is type(matrix)
        assert found.shape == matrix.shape
        assert found.dtype == matrix.dtype
        assert (found.toarray() == matrix.toarray()).all()
        assert (found @ np.ones(40) == matrix @ np.ones(40)).all()
        assert (found.T @ found).sum() == (matrix.T @ matrix).sum()


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "dia"])
def test_their_arrays_lie_in_the_image(form: str) -> None:
    matrix = getattr(sparse.eye(20_000, format="csr"), f"to{form}")()
    view = icehouse.freeze([matrix])
    inside = data_cases.image_range(view)
    found = view[0]
    names = {"coo": ["data", "row", "col"], "dia": ["data"]}.get(
        form, ["data", "indices", "indptr"]
    )
    for name in names:
        array = getattr(found, name)
        assert data_cases.address(array) in inside
        assert array.dtype == getattr(matrix, name).dtype
        assert not array.flags.writeable


def test_wide_indices_stay_wide_and_in_place() -> None:
    matrix = sparse.csr_matrix(np.eye(3000))
    matrix.indices, matrix.indptr = matrix.indices.astype("i8"), matrix.indptr.astype("i8")
    view = icehouse.freeze([matrix])
    assert view[0].indices.dtype == "i8"
    assert data_cases.address(view[0].indices) in data_cases.image_range(view)


def test_odd_shapes() -> None:
    for matrix in (
        sparse.csr_matrix((0, 3)),
        sparse.coo_array(np.eye(2)),
        sparse.csr_array((5, 5)),
    ):
        found = data_cases.round_trip(matrix)
        assert found.shape == matrix.shape
        assert (found.toarray() == matrix.toarray()).all()
    if hasattr(sparse.coo_array, "coords"):
        line = sparse.coo_array(np.array([0, 1, 0, 2]))
        assert (data_cases.round_trip(line).toarray() == [0, 1, 0, 2]).all()


def test_they_outlive_view_store_and_handle() -> None:
    store = Store("64MiB")
    matrix = sparse.eye(20_000, format="csr")
    handle = store.put(matrix)
    found = store.get(handle)
    store.delete(handle)
    store.put(bytes(1 << 20))
    gc.collect()
    assert (found != matrix).nnz == 0
    store.close()
    assert (found != matrix).nnz == 0


def test_h04_indices_of_strangers_are_checked() -> None:
    matrix = sparse.csr_matrix(np.tri(40, dtype="f8"))
    image = _image._image_bytes([matrix])
    indices = matrix.indices.tobytes()
    assert image.count(indices) == 1
    wild = indices[:-4] + (1 << 30).to_bytes(4, "little")
    with pytest.raises(CorruptImage):
        data_cases.opened(bytearray(image.replace(indices, wild)))[0]
    coo = matrix.tocoo()
    image = _image._image_bytes([coo])
    rows = coo.row.tobytes()
    wild = rows[:-4] + (1 << 30).to_bytes(4, "little")
    with pytest.raises(CorruptImage):
        data_cases.opened(bytearray(image.replace(rows, wild)))[0]


def test_h04_indices_of_strangers_do_not_change_after_they_were_checked() -> None:
    matrix = sparse.csr_matrix(np.tri(40, dtype="f8"))
    image = bytearray(_image._image_bytes([matrix]))
    found = data_cases.opened(image)[0]
    image[64:] = b"\x7f" * (len(image) - 64)
    assert (found.toarray() == matrix.toarray()).all()


class Mine(sparse.csr_matrix):  # type: ignore[misc, unused-ignore]
    """A subclass of somebody."""


def test_what_can_not_be_frozen_says_why() -> None:
    with pytest.raises(NotFreezableError, match="subclass of a sparse array"):
        icehouse.freeze([Mine((2, 2))])
