"""Fabrics in files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from aerloom import AerloomError, Fabric
from aerloom.models import fabrics
from aerloom.models.fabric import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    fabrics.write(Fabric.preset(name), file := tmp_path / "chip.json")
    assert fabrics.read(file) == fabrics.named(str(file)) == fabrics.named(name) == Fabric.preset(name)


def test_sizes_left_out_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "four.json").write_text('{"lanes": 4}')
    assert fabrics.read(tmp_path / "four.json") == dataclasses.replace(Fabric(), name="four", lanes=4)


@pytest.mark.parametrize("text, says", [
    ("{", "not a Fabric in JSON"), ("[1]", "must be an object"), ('{"lines": 4}', "a Fabric has no 'lines'"),
    ('{"lanes": 3}', "lanes must be a power of two, not 3"),
    (json.dumps({"lanes": "4"}), "must be an integer of at least 1")])
def test_damaged_files(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(AerloomError, match=says):
        fabrics.named(str(tmp_path / "bad.json"))


def test_names_that_nobody_knows() -> None:
    with pytest.raises(AerloomError, match=r"none\.json: there is no such file"):
        fabrics.named("none.json")
    with pytest.raises(AerloomError, match="no Fabric is called 'vast'"):
        fabrics.named("vast")
