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
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aerloom.models.errors import AerloomError

from . import boards, chips, density, frameworks, moved, router, scale, speed, whole
from .common import versions

RESULTS = Path(__file__).parent / "results"
BENCHES: dict[str, Callable[..., dict[str, Any] | Iterator[dict[str, Any]]]] = {
    "golden": speed.golden_, "engines": speed.engines, "lanes": chips.lanes, "networks": chips.networks,
    "cores": chips.cores, "scale": scale.scale, "early": scale.early, "model": scale.model, "density": density.density,
    "yardstick": density.yardstick, "frameworks": frameworks.frameworks, "router": router.router, "boards": boards.boards,
    "latency": boards.latency, "whole": whole.whole,
}
SLOW = ("boards", "latency", "whole")  # run by name alone


def parser() -> argparse.ArgumentParser:
    """The command line, and in its help what each bench measures."""
    width = max(map(len, BENCHES)) + 4
    lines = [textwrap.fill(f"  {name:{width - 2}}{summary(work)}", 100, subsequent_indent=" " * width)
             for name, work in BENCHES.items()]
    out = argparse.ArgumentParser(prog="python -m bench", description=__doc__, epilog="\n".join(["benches:", *lines]),
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("names", nargs="*", type=bench, metavar="NAME",
                     help=f"a bench, as listed below; without any, all but {', '.join(SLOW)} (half an hour and more)")
    out.add_argument("--data", type=Path, metavar="DIR", help="folder of the MNIST files: scale, early, boards, latency")
    out.add_argument("--network", action="append", dest="networks", metavar="NETWORK",
                     help="for boards: a network of the zoo, or a file; may be given several times")
    out.add_argument("--board", action="append", dest="boards", metavar="BOARD",
                     help="for boards: one of `aerloom boards`; may be given several times")
    out.add_argument("--noise", type=float, default=moved.NOISE, metavar="SHARE",
                     help="speeds that differ by a smaller share than this are the same (%(default)s)")
    return out


def bench(name: str) -> str:
    """A name that there is."""
    if name not in BENCHES:
        raise argparse.ArgumentTypeError(f"there is no bench {name!r}; there are {', '.join(BENCHES)}")
    return name


def summary(work: Callable[..., Any]) -> str:
    """The first sentence of what a bench says of itself, on one line."""
    return " ".join((work.__doc__ or "").split("\n\n")[0].split())


def main() -> None:
    """Run the benches named, or all, write their results, and say what moved."""
    chosen = parser().parse_args()
    RESULTS.mkdir(exist_ok=True)
    skipped = []
    for name in chosen.names or [name for name in BENCHES if name not in SLOW]:
        print(f"{name}: {summary(BENCHES[name])}", file=sys.stderr)
        try:
            run(name, chosen)
        except (AerloomError, ImportError) as e:  # a tool or data that are not here
            if chosen.names:
                print(f"{name}: {e}", file=sys.stderr)
                sys.exit(2)
            skipped.append(f"skipped: {name}: {e}")
    (RESULTS / "figures.md").write_text(moved.markdown(RESULTS))
    print(*skipped, sep="\n", file=sys.stderr)


def run(name: str, options: argparse.Namespace) -> None:
    """One bench: write what it finds, as often as it finds more, and say what moved."""
    work, path = BENCHES[name], RESULTS / f"{name}.json"
    own = {k: v for k in inspect.signature(work).parameters if (v := getattr(options, k)) is not None}
    found = work(**own)
    about = {"what": summary(work), "command": f"python -m bench {name}", "versions": versions()}
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
