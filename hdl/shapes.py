"""The records of :mod:`aerloom.models.fabric` as Amaranth layouts."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data, stream
from amaranth.utils import ceil_log2

from ..models.fabric import CHUNK, PACKET, SPACE, Record

__all__ = ["ANSWERS", "PACKETS", "PACKET_LAYOUT", "PLACE_LAYOUT", "READS", "SPACE_LAYOUT", "WRITES", "layout",
           "within"]


def layout(record: Record) -> data.StructLayout:
    """The same fields, at the same places."""

    def shape(field) -> Shape:
        return signed(field.width) if field.signed else unsigned(field.width)

    return data.StructLayout({name: shape(field) for name, field in record.fields.items()})


PACKET_LAYOUT = layout(PACKET)
SPACE_LAYOUT = layout(SPACE)

#: A stream of packets.
PACKETS = stream.Signature(PACKET_LAYOUT)

#: Chunk ``chunk`` of a word in a memory.
PLACE_LAYOUT = data.StructLayout({**SPACE_LAYOUT.members, "chunk": 8})

#: Sixteen bits to store there. Memories take one in every clock.
WRITES = stream.Signature(data.StructLayout({"place": PLACE_LAYOUT, "data": CHUNK}), always_ready=True)

#: Sixteen bits that are wanted from there; taken in a clock in which the memory is free.
READS = stream.Signature(PLACE_LAYOUT)

#: The sixteen bits, for each read that was taken.
ANSWERS = stream.Signature(CHUNK, always_ready=True)


def within(place, space, words: int):
    """Whether a place is one of so many words of a memory."""
    bits = ceil_log2(words)
    inside = ~place.address[bits:].any()
    if words != 1 << bits:  # comparing is what costs
        inside &= place.address[:bits] < words
    return (place.space == space) & inside
