"""What ``aerloom.`` offers: everything that is imported from here is a name of :mod:`aerloom` itself."""

from .host.device import Device, connect
from .models.convert import convert
from .models.errors import AerloomError, AerloomWarning
from .models.fabric import Fabric
from .models.finetune import finetune
from .models.load import check, load
from .models.network import Input, Network, Population, Projection
from .models.place import place
from .models.quantize import quantize
from .models.zoo import load as zoo

__all__ = [
    "AerloomError",
    "AerloomWarning",
    "Device",
    "Fabric",
    "Input",
    "Network",
    "Population",
    "Projection",
    "check",
    "connect",
    "convert",
    "finetune",
    "load",
    "place",
    "quantize",
    "zoo",
]
