"""Regenerates the figures of bench/results: ``make bench``, or ``python -m bench NAME …`` for some of them.

Speeds are ratios to something run beside aerloom in the same minute, on one thread, in CPU seconds. Cycle counts are
exact. Each result is a JSON file with the versions of everything that took part; ``figures.md`` has them all as tables.
What differs from the last commit is said.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aerloom.models.errors import AerloomError

from . import boards, chips, density, frameworks, moved, router, scale, speed
from .common import versions

RESULTS = Path(__file__).parent / "results"
BENCHES: dict[str, Callable[..., dict[str, Any] | Iterator[dict[str, Any]]]] = {
    "golden": speed.golden_, "engines": speed.engines, "lanes": chips.lanes, "networks": chips.networks,
    "cores": chips.cores, "scale": scale.scale, "early": scale.early, "model": scale.model, "density": density.density,
    "yardstick": density.yardstick, "frameworks": frameworks.frameworks, "router": router.router, "boards": boards.boards,
}
SLOW = ("boards",)  # half an hour and more: run by name alone


def main() -> None:
    """Run the benches named, or all, write their results, and say what moved."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help=f"which; all but {', '.join(SLOW)} by default")
    parser.add_argument("--data", type=Path, help="folder of the MNIST files, for scale, early and boards")
    parser.add_argument("--network", action="append", dest="networks", help="for boards: of the zoo, or a file; several")
    parser.add_argument("--board", action="append", dest="boards", help="for boards: which; several times")
    parser.add_argument("--noise", type=float, default=moved.NOISE, help="speeds that differ by less are the same")
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    skipped = []
    for name in chosen.names or [name for name in BENCHES if name not in SLOW]:
        print(f"{name}: {BENCHES[name].__doc__}", file=sys.stderr)
        try:
            run(name, chosen)
        except (AerloomError, ImportError) as e:  # a tool or data that are not here
            if chosen.names:
                sys.exit(f"{name}: {e}")
            skipped.append(f"skipped: {name}: {e}")
    (RESULTS / "figures.md").write_text(moved.markdown(RESULTS))
    print(*skipped, sep="\n", file=sys.stderr)


def run(name: str, options: argparse.Namespace) -> None:
    """One bench: write what it finds, as often as it finds more, and say what moved."""
    work, path = BENCHES[name], RESULTS / f"{name}.json"
    own = {k: v for k in inspect.signature(work).parameters if (v := getattr(options, k)) is not None}
    found = work(**own)
    about = {"what": work.__doc__, "command": f"python -m bench {name}", "versions": versions()}
    for result in [found] if isinstance(found, dict) else found:
        path.write_text(json.dumps(about | {"result": result}, indent=2, ensure_ascii=False) + "\n")
        if "table" in result:
            path.with_suffix(".md").write_text(result["table"])
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if (before := moved.committed(path)) is not None:
        for which, old, new in moved.moved(before["result"], result, options.noise):
            print(f"moved: {name}, {which}: {old} → {new}", file=sys.stderr)


if __name__ == "__main__":
    main()
