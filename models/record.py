"""Named bit fields of one word: how packets, table rows and memories are declared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

CHUNK = 16  # bits of configuration that one WRITE or VALUE packet carries


def bits_for(values: int) -> int:
    """Bits that distinguish ``values`` values; at least one, as a field of no bits has no name in a waveform."""
    return max(1, (values - 1).bit_length())


@dataclass(frozen=True)
class Field:
    """A field of a record: ``width`` bits, two's complement where ``signed``."""

    width: int
    signed: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest value that the field holds."""
        if self.signed:
            return -(1 << self.width - 1), (1 << self.width - 1) - 1
        return 0, (1 << self.width) - 1


class Record:
    """Named bit fields of one word, least significant first.

    ``pack`` and ``unpack`` work on Python integers of any size and, where the word fits, elementwise on NumPy arrays.
    """

    def __init__(self, **fields: int | Field) -> None:
        self.fields = {name: f if isinstance(f, Field) else Field(f) for name, f in fields.items()}
        self.offsets: dict[str, int] = {}
        self.width = 0
        for name, field in self.fields.items():
            self.offsets[name] = self.width
            self.width += field.width

    @property
    def chunks(self) -> int:
        """Packets that carry one word of this record."""
        return -(-self.width // CHUNK)

    def without(self, names: Collection[str]) -> Record:
        """The other fields."""
        return Record(**{name: field for name, field in self.fields.items() if name not in names})

    def pack_known(self, **values: Any) -> Any:
        """As :meth:`pack`, without the values of fields that the record does not have."""
        return self.pack(**{name: value for name, value in values.items() if name in self.fields})

    def pack(self, **values: Any) -> Any:
        """The word with these field values, other fields zero; raises ValueError for a value that does not fit."""
        word: Any = 0
        for name, value in values.items():
            field, (low, high) = self.fields[name], self.fields[name].limits
            if isinstance(value, int) and not low <= value <= high:
                raise ValueError(f"{name} must be in {low} … {high}, not {value}")
            word = word | (value & (1 << field.width) - 1) << self.offsets[name]
        return word

    def unpack(self, word: Any) -> dict[str, Any]:
        """The field values of ``word``."""
        values = {}
        for name, field in self.fields.items():
            value = word >> self.offsets[name] & (1 << field.width) - 1
            sign = 1 << field.width - 1
            values[name] = (value ^ sign) - sign if field.signed else value
        return values
