"""The README's Python runs, and its commands exist."""

import re
from pathlib import Path

from aerloom.host.cli import app

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_its_code_runs(capsys: object) -> None:
    space: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), space)


def test_its_commands_exist() -> None:
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert set(re.findall(r"^\| `aerloom (\w+)", README, re.M)) == commands


def test_its_picture_shows_folders_that_exist() -> None:
    root = Path(__file__).parent.parent
    for folder in re.findall(r"(\w+)/ ", README.split("```")[1]):
        assert (root / folder).is_dir()
