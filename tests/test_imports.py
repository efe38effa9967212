"""Imports point back along the data flow: models ← hdl ← {sim, boards}, and host imports models alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY = {
    "models": {"models"},
    "hdl": {"hdl", "models"},
    "sim": {"sim", "hdl", "models", "host.link"},  # a link is what the host wants one to be
    "boards": {"boards", "hdl", "models"},
    "host": {"host", "models"},
}
FILES = [path for folder in MAY for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Modules of aerloom that a file imports, without ``aerloom.``."""
    package = ["aerloom", *path.relative_to(ROOT).with_suffix("").parts[:-1]]
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            out |= {name} if node.module else {f"{name}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            out |= {a.name for a in node.names}
    return {name.removeprefix("aerloom.") for name in out if name.startswith("aerloom.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction(path: Path) -> None:
    allowed = MAY[path.relative_to(ROOT).parts[0]]
    for name in imports(path):
        assert any(name == a or name.startswith(f"{a}.") for a in allowed), f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", ["models", "host"])
def test_needs_no_hardware_description(folder: str) -> None:
    """What runs beside a board imports neither Amaranth nor anything heavy."""
    modules = [".".join(("aerloom", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
               for p in FILES if p.relative_to(ROOT).parts[0] == folder and "train" not in p.parts]
    code = f"import sys, {', '.join(modules)}; print([m for m in ('amaranth', 'torch', 'cocotb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_folders_are_imported_through_the_package_alone() -> None:
    for path in [*FILES, *(ROOT / "tests").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] not in MAY, f"{path.name}: use aerloom.{node.module}"


def test_names_of_the_package() -> None:
    """They are there once they are asked for, and no others."""
    import aerloom
    from aerloom import api

    assert set(api.__all__) <= set(dir(aerloom)) and all(getattr(aerloom, name) is not None for name in api.__all__)
    code = "import sys, aerloom; print('numpy' in sys.modules); print(aerloom.quantize, aerloom.models.golden)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("False\n<function quantize") and "module 'aerloom.models.golden'" in said
    with pytest.raises(AttributeError, match="module 'aerloom' has no attribute 'unknown'"):
        _ = aerloom.unknown
