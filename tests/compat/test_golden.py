"""Golden images: committed files of every kind of node, form, code and family, which every later
version must read. `python tests/compat/golden.py write tests/compat/images/format-3` made them.

An image that was committed is never written again: where a writer changes, readers go on reading
what the old one wrote. A new kind of node or code needs an image here, or
`test_there_is_an_image_of_everything` fails.
"""

from pathlib import Path
from typing import Any

import golden
import pytest

import icehouse
from icehouse.native import _image
from icehouse.store.freezing import codes, registry

IMAGES = Path(__file__).parent / "images"
FORMATS = sorted(IMAGES.iterdir())
# What a file can't have: links lead nowhere from there.
LINK = 28
KINDS = set(range(32)) - {LINK}
FORMS = set(range(4))

CASES = [(package, path) for path in FORMATS for package in ("", *golden.PACKAGES)]


def members(mask: int) -> set[int]:
    return {bit for bit in range(63) if mask >> bit & 1}


@pytest.mark.parametrize(
    ("package", "folder"),
    CASES,
    ids=[f"{path.name}-{package or 'plain'}" for package, path in CASES],
)
def test_old_images_are_read(package: str, folder: Path) -> None:
    if not golden.available(package):
        pytest.skip(f"{package} is not installed")
    values = golden.values(package)
    assert values
    problems = [
        golden.wrong(name, value, golden.file_of(folder, name)) for name, value in values.items()
    ]
    assert [problem for problem in problems if problem is not None] == []


@pytest.mark.parametrize("package", ["", *golden.PACKAGES])
def test_what_is_written_now_is_read(package: str, tmp_path: Path) -> None:
    if not golden.available(package):
        pytest.skip(f"{package} is not installed")
    for name, value in golden.values(package).items():
        path = golden.file_of(tmp_path, name)
        golden.save(value, path)
        assert golden.wrong(name, value, path) is None


def test_there_is_an_image_of_everything() -> None:
    found = [0, 0, 0, 0]
    for path in IMAGES.glob("*/*.ih"):
        census = _image._census(path.read_bytes())
        found = [mask | more for mask, more in zip(found, census, strict=True)]
    kinds, forms, values, families = map(members, found)
    assert kinds == KINDS
    assert forms == FORMS
    assert values == set(registry.OPENERS)
    assert families == set(registry.MAKERS)


def test_every_code_has_a_number_of_its_own() -> None:
    numbers = {name: value for name, value in vars(codes).items() if name.isupper()}
    assert set(numbers.values()) >= set(registry.OPENERS) | set(registry.MAKERS)


def test_every_image_belongs_to_a_value() -> None:
    wanted = set(golden.PLAIN) | {name for _, name in package_names()}
    for folder in FORMATS:
        files = {path.name for path in folder.iterdir()}
        known = {golden.file_of(folder, name).name for name in wanted}
        missing_packages = not all(golden.available(package) for package in golden.PACKAGES)
        assert known <= files
        assert missing_packages or files == known


def package_names() -> list[tuple[str, str]]:
    return [
        (package, name)
        for package in golden.PACKAGES
        if golden.available(package)
        for name in golden.values(package)
    ]


@pytest.mark.parametrize("folder", FORMATS, ids=lambda path: path.name)
def test_h20_h21_nothing_of_users_is_made_without_trust(folder: Path) -> None:
    for name in ("dataclass", "plain-object", "sealed", "reduced", "exception", "namedtuple"):
        opened: Any = icehouse.open_image(folder / f"{name}.ih")
        first = opened[0] if name == "dataclass" else opened
        assert type(first) in (icehouse.FrozenObject, icehouse.Record), name
        assert icehouse.type_name(first).startswith("golden_types."), name


@pytest.mark.parametrize("folder", FORMATS, ids=lambda path: path.name)
def test_h20_allowed_classes_alone_resolve(folder: Path) -> None:
    import golden_types

    points = icehouse.open_image(folder / "dataclass.ih", allow_classes=[golden_types.Point])
    assert isinstance(points[0], golden_types.Point)
    assert points[0].total() == 3
    plain = icehouse.open_image(folder / "plain-object.ih", allow_classes=[golden_types.Point])
    assert not isinstance(plain, golden_types.Plain)
    assert plain.a == 1
