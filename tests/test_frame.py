"""Frames: the format, the gateware that reads and writes it, and the two ends of a link over bad lines."""

import zlib

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st
from lines import Echo, EngineBoard, Faults, LocalLine, bad, session, values

from aerloom.hdl.frame import Deframe, Enframe
from aerloom.hdl.port import Port
from aerloom.hdl.uart import BYTES
from aerloom.models.frame import CRC_BYTES, ESCAPE, FLAG, HEADER, HEADER_BYTES, MOST, Splitter, decode, encode
from aerloom.models.port import Board
from aerloom.sim.engine import open_engine
from tests.wrap import Plain, many

HEADERS = st.fixed_dictionaries({name: st.integers(0, f.limits[1]) for name, f in HEADER.fields.items() if name != "count"})
PACKETS = st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0x7E7E7E7E, 0x7D7D7D7D, 0x5E7D7E5D]), max_size=MOST)
QUICK = settings(max_examples=100, deadline=None)


# --- the format


@QUICK
@given(HEADERS, PACKETS)
def test_what_is_encoded_is_decoded(header, packets):
    frame = encode(packets, **header)
    assert frame.index(FLAG) == len(frame) - 1
    found, words = decode(frame[:-1])
    assert found == header | {"count": len(packets)}
    assert words.tolist() == packets


@QUICK
@given(HEADERS, PACKETS, st.data())
def test_no_damage_of_a_byte_is_believed(header, packets, data):
    frame = encode(packets, **header)
    n = data.draw(st.integers(0, len(frame) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda b: b != frame[n]))
    for damaged in (frame[:n] + frame[n + 1 :], frame[:n] + bytes([other]) + frame[n + 1 :],
                    frame[:n] + frame[n : n + 1] + frame[n:], frame[:n] + bytes([other]) + frame[n:]):
        after = [decode(body) for body in Splitter().feed(damaged + encode(session=3))]
        sent = [(header | {"count": len(packets)}, packets), (dict.fromkeys(HEADER.fields, 0) | {"session": 3}, [])]
        assert all((f[0], f[1].tolist()) in sent for f in after if f)
        assert n == len(frame) - 1 or after[-1][0]["session"] == 3  # the next frame is not harmed, but by a lost FLAG


def test_a_full_frame_is_nine_tenths_packets():
    frame = encode(values(MOST), seq=1, session=9)
    assert 4 * MOST / (HEADER_BYTES + 4 * MOST + CRC_BYTES + 1) > 0.9
    frames = b"".join(encode(np.random.default_rng(n).integers(0, 2**32, MOST), seq=n) for n in range(100))
    assert len(frames) < 1.12 * 4 * MOST * 100
    assert len(frame) < 160


def lying(said, packets, **header):
    """A frame with a right CRC and a wrong count."""
    body = HEADER.pack(count=said, **header).to_bytes(HEADER_BYTES, "little") + bytes([1, 0, 0, 0]) * packets
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


@pytest.mark.parametrize(("said_", "packets"), [(2, 1), (1, 2), (0, 1), (MOST, MOST + 4)])
def test_the_count_has_to_be_right_too(said_, packets):
    assert decode(lying(said_, packets)) is None
    with gateware("compiled") as simulation:
        line = encode(session=1, open=1) + lying(said_, packets, session=1).replace(b"}", b"}]").replace(b"~", b"}^") + b"~"
        out = simulation.exchange({"rx": list(line)}, {}, drain=400)["tx"]
    assert said(bytes(out.astype(np.uint8)))[1:] == (True, [(1, 0)])  # nothing was taken, and it is asked for


# --- bytes and words


def words_of(header, packets):
    head = HEADER.pack(count=len(packets), **header)
    return [head & 0xFFFFFFFF, head >> 32, *packets]


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_enframe(engine, stall):
    r = np.random.default_rng(1)
    send, expected = [], b""
    for n in range(many(engine, 60)):
        packets = r.choice([0x7E, 0x7D, 0x7D7E7E7E, 5, 0xFFFFFFFF], r.integers(0, MOST + 1)).tolist()
        words = words_of({"seq": n, "ack": 0x7E7D}, packets)
        send += [word | (k == len(words) - 1) << 32 for k, word in enumerate(words)]
        expected += encode(packets, seq=n, ack=0x7E7D)
    with open_engine(Enframe(), engine, stall=stall, seed=2) as simulation:
        out = simulation.exchange({"i": send}, {"o": len(expected)}, drain=9)["o"]
    assert bytes(out.astype(np.uint8)) == expected


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_deframe(engine, stall):
    """Good frames, and damaged ones between them."""
    r, expected, line = np.random.default_rng(3), [], b""
    for n in range(many(engine, 80)):
        packets = r.choice([0x7E, 0x7D, 0x7D7E7E7E, 5, 0xFFFFFFFF], r.integers(0, 9)).tolist()
        frame = encode(packets, seq=n)
        match n % 4:
            case 1:
                frame = bytes([frame[0] ^ 1]) + frame[1:]
            case 2:
                frame = frame[:-3] + frame[-1:]
            case 3:
                frame = b"~~" + frame[:-1] + bytes([ESCAPE, FLAG])
        for body in Splitter().feed(frame):
            plain = body.replace(b"\x7d\x5e", b"~").replace(b"\x7d\x5d", b"\x7d").removesuffix(b"\x7d" * (n % 4 == 3))
            expected += [(int.from_bytes(plain[k : k + 4], "little"), 0) for k in range(0, len(plain) - 3, 4)]
            expected.append((decode(body) is not None, 1))
        line += frame
    with open_engine(Plain(Deframe()), engine, stall=stall, seed=4) as simulation:
        out = simulation.exchange({"i": list(line)}, {"o": len(expected)}, drain=9)["o"]
    assert [(word >> 33 if word >> 32 & 1 else word & 0xFFFFFFFF, word >> 32 & 1) for word in out] == expected


# --- the two ends: the model of the board's, over lines with faults


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 3e-3]), st.integers(0, 600), st.sampled_from([64, 256]))
def test_nothing_is_wrong_lost_or_repeated(seed, rate, count, depth):
    link = session(LocalLine(Echo(depth, stall=0.3, seed=seed), bad(rate, seed), bad(rate, seed + 1)))
    for n in range(2):
        np.testing.assert_array_equal(link.exchange(values(count, n), count), values(count, n))


def test_full_frames_and_few_bytes_beside_the_packets():
    line = LocalLine(Echo())
    link, before = session(line), line.sent
    link.exchange(values(10_000), 10_000)
    assert line.sent - before < 1.4 * 4 * 10_000  # with the acknowledgments of what comes back, and many escapes


def test_what_is_damaged_is_asked_for_at_once():
    """Not after a while: the host's timer is for what nothing follows."""
    line = LocalLine(Echo(), Faults(flip=2e-4, seed=5), Faults(flip=2e-4, seed=6))
    link, asks = session(line), []
    ask = link._ask
    link._ask = lambda *arguments: (asks.append(arguments), ask(*arguments))
    link.exchange(values(10_000), 10_000)
    assert len(asks) < 40  # and there are some 320 frames each way, every sixth of them damaged


# --- the gateware end


class EchoPort(wiring.Component):
    """A Port whose chip sends back what it gets."""

    rx: In(BYTES)
    tx: Out(BYTES)

    def __init__(self, depth, timeout):
        self.port = Port(depth, timeout)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = self.port
        wiring.connect(m, wiring.flipped(self.rx), port.rx)
        wiring.connect(m, port.tx, wiring.flipped(self.tx))
        wiring.connect(m, port.o, port.i)
        return m


def gateware(engine, depth=64, stall=0.0, seed=0):
    return open_engine(EchoPort(depth, 3000), engine, stall=stall, seed=seed)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("rate", [0.0, 1e-3, 3e-3])
def test_port(rate, stall):
    with gateware("compiled", stall=stall, seed=7) as simulation:
        for seed in range(2):
            link = session(LocalLine(EngineBoard(simulation), bad(rate, seed), bad(rate, seed + 5)))
            sent = values(2000, seed)
            np.testing.assert_array_equal(link.exchange(sent, len(sent)), sent)


def said(data):
    """What frames say, in a form that does not depend on how many of them there are."""
    frames = [decode(body) for body in Splitter().feed(data)]
    assert None not in frames
    packets = [(h["seq"], h["open"], words.tolist()) for h, words in frames if h["count"]]
    return packets, any(h["again"] for h, _ in frames), [(h["session"], h["ack"]) for h, _ in frames][-1:]


@pytest.mark.parametrize("seed", range(3))
def test_port_is_its_model(seed):
    """A frame in, and what comes of it: old and early frames, noise, wrong sessions, requests to go back."""
    r, board, chance = np.random.default_rng(seed), Board(64), lambda p: bool(r.random() < p)
    with open_engine(Port(64, 10**6), "compiled") as simulation:
        for n in range(2000):
            opens = n % 300 == 0
            number = board.taken if chance(0.8) else board.taken + int(r.integers(-40, 40))
            acked = board.acked + int(r.integers(0, board.sent - board.acked + 1)) - 20 * chance(0.05)
            header = {"seq": number % 2**16, "ack": 0 if opens else acked % 2**16, "again": chance(0.1), "ask": chance(0.1),
                      "open": opens or chance(0.02),
                      "session": 1 + n // 300 if opens or chance(0.95) else int(r.integers(8))}
            if header["session"] != board.session and not opens:
                header["open"] = False
            data = encode(r.integers(0, 2**32, int(r.integers(0, 12))), **{k: int(v) for k, v in header.items()})
            if chance(0.1) and not opens:
                data = Faults(drop=0.02, flip=0.01, seed=n)(data)
            # one packet at a time: how many of them share a frame depends on when they come
            answer = r.integers(0, 2**32, int(chance(0.9) and board.put - board.acked < 60))
            board.feed(data)
            expected = board.pop().tolist(), said(board.frames())
            board.send(np.array(answer, np.uint32))
            after = said(board.frames())
            out = simulation.exchange({"rx": list(data)}, {}, drain=400)
            assert (out["o"].tolist(), said(bytes(out["tx"].astype(np.uint8)))) == expected, n
            out = simulation.exchange({"i": answer}, {}, drain=400)
            assert said(bytes(out["tx"].astype(np.uint8))) == after, n
