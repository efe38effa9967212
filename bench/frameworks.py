"""How exact: other frameworks' recordings."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import aerloom
from aerloom.models import golden
from aerloom.models.semantics import Semantics


def frameworks() -> dict[str, Any]:
    """Spikes that differ from those of the frameworks, by recording (tests/frameworks), read from the exported file."""
    folder = Path(__file__).parent.parent / "tests/frameworks/recordings"
    out: dict[str, Any] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            about = json.loads(str(archive["about"]))
            spikes = [archive[name] for name in sorted(n for n in archive.files if n.startswith("spikes_"))]
            inputs = archive["input"]
        row: dict[str, Any] = {"framework": f"{about['framework']} {about['version']}", "network": about["layers"]}
        overrides = {k: v for k, v in about["overrides"].items() if k in Semantics.__dataclass_fields__}
        if not (file := path.with_suffix(".nir")).exists():
            row["file"] = "none: " + str(about.get("refused", ""))[:80]
        elif overrides != about["overrides"] or "w_rec" in about["exporter_lost"]:
            row["file"] = "lost " + ", ".join(about["exporter_lost"])
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net = aerloom.load(file, about["semantics"], **overrides)
            trace, names = golden.run(net, inputs), [p.name for p in net.populations if p.spiking]
            row["spikes"] = int(sum(s.astype(int).sum() for s in spikes))
            row["differ"] = sum(int(np.sum(trace.spikes[n] != s.reshape(*s.shape[:2], -1)))
                                for n, s in zip(names, spikes, strict=True))
        out[path.stem] = row
    return out
