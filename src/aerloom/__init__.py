"""aerloom: trained spiking neural networks as FPGA hardware, with the same answers bit for bit.

>>> net = aerloom.quantize(aerloom.zoo("digits"), bits=8).network
>>> with aerloom.connect("sim") as device:
...     device.load(net)
...     answer = device.run(spikes)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import *
else:
    def __getattr__(name: str) -> Any:
        """A name of :mod:`aerloom.api`, which is imported when it is first asked for: commands hear Ctrl-C before that."""
        api = import_module(".api", __name__)
        if name not in globals():  # else a folder, imported just now
            try:
                globals()[name] = getattr(api, name)
            except AttributeError:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        return globals()[name]

    def __dir__() -> list[str]:
        return [*globals(), *import_module(".api", __name__).__all__]
