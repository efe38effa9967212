"""The registers of a chip's control, and the tables and spikes that they follow: arrays for :mod:`aerloom.sim.control`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Plan(NamedTuple):
    """What a placement puts into the tables; C cores, S slots, K keys, R routers, I inputs."""

    #: slots, inputs, rows to clear, clocks from a sweep's group to its spikes and before its first group, packets that come
    #: before the first spike and that a core's queue holds, clocks in Locate, whether cores have Buffers at
    #: their entries, clocks of an update, groups in a row, steps of a population that there is room for, and whether
    #: Locate's Buffer is at its exit
    sizes: Ints
    first: Ints  #: (C, K) KEYS
    projections: Ints  #: of a key
    home: Ints  #: −1: it is not here; else its slot
    target: Ints  #: (C, projections) slot of a projection
    late: Ints
    costs: Ints  #: where ``words`` has the rows that each index of the source walks over
    words: Ints
    key: Ints  #: (C, S) POPULATIONS
    groups: Ints  #: clocks of a sweep
    tail: Ints  #: after the one in which its last group is due
    tokens: Ints
    tokens_first: Ints
    credits: Ints
    credits_first: Ints
    ahead: Ints
    sources: Ints  #: first and number of the keys in ``grants``
    source_count: Ints
    grants: Ints  #: (C, projections) SOURCES
    part: Ints  #: (C, S) whose spikes
    gates: Ints  #: (I, 2) credits, and credits at first
    ports: Ints  #: (R,)
    into: Ints  #: (R, 3) the register at a port's entry; so many numbers behind it is the Buffer
    hears: Ints  #: the core's exit that it hears; −1: another router, or the entrance
    out: Ints  #: the register that it speaks into; below 0 as control.py has it
    entry: Ints  #: (C,)
    exit: Ints
    listeners: Ints  #: (R, K) ROUTES
    way_home: Ints


class Spikes(NamedTuple):
    """What is sent: by the host as packets, and in each step by each part as groups of so many spikes,
    the last of a sweep among them."""

    host: Ints
    steps: Ints  #: [1]: of a sample
    group: Ints  #: (parts, steps + 1) where its groups begin
    sizes: Ints
    spike: Ints  #: (parts, steps + 1) where its spikes begin
    indices: Ints


class Buffers(NamedTuple):
    """All of them: two registers each, of which a Hold and a Route have but the first, and what comes and goes in this
    clock."""

    valid: Ints
    data: Ints
    full: Ints
    spare: Ints
    came: Ints  #: a packet, or 0
    goes: Ints


class Cores(NamedTuple):
    """Registers of the cores, ``(C,)`` or ``(C, …)``."""

    waiting: Ints  # Queue: a ring, how many are in it, the first of them; the packet behind it, or 0
    queued: Ints
    queue_at: Ints
    offered: Ints
    takes: Ints  # whether it, or what is behind it, takes a packet in this clock
    key: Ints  # Lookup: packets, 0 if there is none; projections done
    done: Ints
    found: Ints  # Locate: in its Buffer, if that is at its entry; visits, 0 if there is none
    spare: Ints  # behind that one or, if the Buffer is at the exit, behind the next
    arrived: Ints  # at the exit
    visits: Ints  # before that, a ring, and how many are in it
    head: Ints
    filled: Ints
    clearing: Ints  # Walk
    sweeping: Ints
    waits: Ints
    swept_slot: Ints
    walked: Ints
    under_way: Ints  # from Walk to Emit: a ring of slots + 1, and how many are in it
    begun: Ints  # the same, of their first groups
    at: Ints
    flying: Ints
    state: Ints  # Schedule
    slot: Ints
    unsent: Ints
    settled: Ints
    ready: Ints
    fresh: Ints
    taken: Ints
    tokens: Ints
    credits: Ints
    coming: Ints  #: whether the step that spikes are for is odd, and that of the next sweep; of the one under way
    going: Ints
    goes: Ints
    paid: Ints  # the visit that pays one of these a clock later, or 0
    grant: Ints  # Creditor
    granting: Ints
    granted: Ints
    busy: Ints  # Emit
    sender: Ints
    step: Ints
    there: Ints
    ahead: Ints
    final: Ints  #: the group in hand is the last
    more: Ints
    end: Ints
    next_group: Ints
    next_spike: Ints
    adding: Ints  #: clocks in which the lanes add


class Routers(NamedTuple):
    """Registers of the routers, ``(R, 3)``."""

    done: Ints
    last: Ints
    held: Ints
