"""The frames in which packets travel over a serial line: the one declaration for host and gateware.

::

    header, 8 bytes │ 0 … 31 packets of 4 bytes │ CRC-32 of both, 4 bytes │ FLAG

Everything is least significant byte first. A byte of header, packets or CRC that equals FLAG or ESCAPE is sent as
ESCAPE and then that byte with the bits of FLIP turned over, so FLAG ends a frame and is nothing else: whatever happened
to the bytes before it, the next frame is read from its beginning. What lies between two FLAGs is a frame if it has the
length that its header says and the CRC is right; otherwise it is dropped, and nothing of it is believed.

A full frame costs 13 bytes beside its 124 of packets: 10.5 %, or 11.3 % with escapes in random data. A frame of no
packets, which only acknowledges, has 13 bytes.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import fabric
from .words import READ_BITS

Words = NDArray[np.uint32]

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20

#: Packets are numbered from the beginning of a session, in each direction; the wire has the low bits of a number.
NUMBER_BITS = 16

HEADER = fabric.Record(
    seq=NUMBER_BITS,  # number of the frame's first packet, or of the next one to be sent where it has none
    count=5,  # packets in it
    again=1,  # something is missing: send again from packet `ack` on
    ask=1,  # to be answered, by a frame of any kind
    open=1,  # host: begin this session, unless it is the present one. Board: answers that; its one packet is FORMAT
    session=8,  # a new one forgets everything before it. 0: the board was switched on and no host has been there
    ack=NUMBER_BITS,  # packets received in order, so far
    limit=NUMBER_BITS,  # board: the first packet that it has no room for yet. Boards do not look at the host's
)
HEADER_BYTES = HEADER.width // 8
MOST = HEADER.fields["count"].limits[1]

CRC = {"crc_width": 32, "polynomial": 0x04C11DB7, "initial_crc": 0xFFFFFFFF, "reflect_input": True, "reflect_output": True,
       "xor_output": 0xFFFFFFFF}  # as `amaranth.lib.crc` describes what zlib.crc32 computes
CRC_BYTES = 4

BYTES_PER_PACKET = 4 + (HEADER_BYTES + CRC_BYTES + 1) / MOST  # on a busy line, where frames are full; and escapes


def _format() -> int:
    def enum(kinds: type[IntEnum]) -> dict[str, int]:
        return {kind.name: int(kind) for kind in kinds}

    def record(fields: fabric.Record) -> list[tuple[str, int, bool]]:
        return [(name, f.width, f.signed) for name, f in fields.fields.items()]

    said = [record(HEADER), record(fabric.PACKET), record(fabric.SPACE), enum(fabric.Kind), enum(fabric.Space),
            fabric.CHUNK, READ_BITS, fabric.CORE_COUNTERS, fabric.CHIP_COUNTERS]
    return int.from_bytes(hashlib.sha256(json.dumps(said).encode()).digest()[:4], "little")


#: 32 bits that two ends share when they mean the same by a packet.
FORMAT = _format()


def encode(words: Words | list[int] | tuple[int, ...] = (), **header: Any) -> bytes:
    """A frame, as it goes over the line."""
    packets = np.asarray(words, "<u4")
    body = HEADER.pack(count=len(packets), **header).to_bytes(HEADER_BYTES, "little") + packets.tobytes()
    body += zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    for special in (ESCAPE, FLAG):  # in this order, or the escapes would be escaped
        body = body.replace(bytes([special]), bytes([ESCAPE, special ^ FLIP]))
    return body + bytes([FLAG])


def decode(body: bytes) -> tuple[dict[str, Any], Words] | None:
    """Header and packets of what was between two FLAGs, or None where it is no frame."""
    first, *escaped = body.split(bytes([ESCAPE]))
    body = first + b"".join(bytes([part[0] ^ FLIP]) + part[1:] if part else b"?" for part in escaped)
    size = len(body) - HEADER_BYTES - CRC_BYTES
    if size < 0 or zlib.crc32(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
        return None
    header = HEADER.unpack(int.from_bytes(body[:HEADER_BYTES], "little"))
    if header["count"] * 4 != size:
        return None
    return header, np.frombuffer(body[HEADER_BYTES:-CRC_BYTES], "<u4").astype(np.uint32)


class Splitter:
    """Cuts a stream of bytes at its FLAGs."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What stood before each FLAG that is now there; nothing between two FLAGs is nothing."""
        *whole, rest = (self._rest + data).split(bytes([FLAG]))
        self._rest = rest[-4 * (HEADER_BYTES + 4 * MOST):]  # an end without FLAGs must not be kept for ever
        return (body for body in whole if body)
