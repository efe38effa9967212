"""Tokens and credits: every order of events, for every small graph."""

import dataclasses
import graphlib
import itertools

import numpy as np
import pytest

from aerloom import AerloomError, Input, Network, Population, Projection, place
from aerloom.models import place as placing
from aerloom.models.fabric import Fabric, Kind
from aerloom.models.order import CLOCK, Plan, plan, unpaced
from tests.formal.search import search
from tests.protocol import BUGS, Chip

TOY = Fabric(
    "toy", lanes=1, update_lanes=1, weight_words=64, rows=16, parameter_rows=16, populations=8, projections=48, keys=14,
    inputs=3, places=8, sum_bits=8,
)  # fmt: skip


def graphs(inputs, populations, options=((), (0,), (1,), (0, 1))):
    """Every graph that :class:`Network` accepts, once however its nodes are called: triples of source, target and delay.

    A source may be joined to a target by projections of any of ``options`` of delays, and each input to something.
    """
    sources = inputs + populations
    pairs = list(itertools.product(range(sources), range(populations)))
    renamed = [
        [pairs.index(((*a, *(inputs + n for n in b))[s], b[t])) for s, t in pairs]
        for a in itertools.permutations(range(inputs)) for b in itertools.permutations(range(populations))
    ]
    for delays in itertools.product(*([o for o in options if s != inputs + t or 0 not in o] for s, t in pairs)):
        edges = [(s, t, d) for (s, t), some in zip(pairs, delays, strict=True) for d in some]
        if {t for _, t, _ in edges} != set(range(populations)) or not set(range(inputs)) <= {s for s, _, _ in edges}:
            continue
        if any(tuple(delays[n] for n in names) < delays for names in renamed):
            continue
        now = {(s - inputs, t) for s, t, d in edges if s >= inputs and d == 0}
        for _ in range(populations):  # drop those that nobody has to wait for
            now = {(s, t) for s, t in now if any(target == s for _, target in now)}
        if not now:
            yield edges


def network(inputs, edges, size=1):
    """A network of populations of ``size`` neurons."""
    w, populations = np.ones((size, size), np.int8), 1 + max(t for _, t, _ in edges)
    names = [*(f"in{n}" for n in range(inputs)), *(f"p{n}" for n in range(populations))]
    return Network(
        tuple(Input(n, (size,)) for n in names[:inputs]), tuple(Population(n, (size,)) for n in names[inputs:]),
        tuple(Projection(names[s], names[inputs + t], w, d) for s, t, d in edges),
    )


def placed(net, cores=1, **sizes):
    return place(net, dataclasses.replace(TOY, cores=cores, **sizes))


def look(inputs, edges, cores=1, size=1, depth=1, spikes=False, every=True, bug="", queue=0, ahead=True):
    """What a search finds. Populations of ``cores`` neurons are cut over them, smaller ones shared out."""
    return search(Chip(placed(network(inputs, edges, size), cores, queue=queue, ahead=ahead), depth, spikes, bug), every)


def troubles(inputs, populations, part=1, **options):
    """What was wrong with any of these graphs, or one of ``part`` of them."""
    found = [(edges, look(inputs, edges, **options)) for edges in list(graphs(inputs, populations))[::part]]
    return [(edges, f.trouble, f.trace) for edges, f in found if f.trouble]


#: A chain; a recurrent pair; an input with a delay beside one without; a skip connection that needs a delay line
CHAIN = (1, [(0, 0, 0), (1, 1, 0)])
PAIR = (1, [(0, 0, 0), (1, 1, 0), (2, 0, 1)])
LATE = (2, [(0, 0, 1), (1, 0, 0)])
LINE = (1, [(0, 0, 0), (1, 1, 0), (0, 1, 1)])


def test_the_graphs_are_those_that_a_network_accepts():
    """… found here without it."""
    options = ((), (0,), (1,), (0, 1))
    names = {edges: tuple(sorted(edges)) for edges in map(tuple, graphs(1, 2))}
    for delays in itertools.product(options, repeat=6):
        pairs = itertools.product(range(3), range(2))
        edges = [(s, t, d) for (s, t), some in zip(pairs, delays, strict=True) for d in some]
        try:
            network(1, edges) if {0} <= {s for s, _, _ in edges} and {0, 1} == {t for _, t, _ in edges} else 1 / 0
        except (AerloomError, ZeroDivisionError):
            continue
        other = [(s and 3 - s, 1 - t, d) for s, t, d in edges]  # the populations change names
        assert names.keys() & {tuple(edges), tuple(sorted(other))}


@pytest.mark.parametrize("cores, size, depth, spikes", [
    (1, 1, 1, True), (1, 1, 2, True), (2, 1, 1, False), (2, 2, 1, False),
])
def test_one_population_and_its_input(cores, size, depth, spikes):
    for ahead in (False, True):
        assert not troubles(1, 1, 1 if size < 2 else 6, cores=cores, size=size, depth=depth, spikes=spikes, ahead=ahead)
    assert not troubles(1, 1, cores=cores, size=size, depth=depth, spikes=True, every=False)


@pytest.mark.parametrize("queue", [1, 3])
def test_cores_with_queues(queue):
    assert not troubles(1, 1, cores=2, size=2, queue=queue, spikes=True, every=False)
    assert not troubles(1, 1, 6, cores=2, queue=queue)
    assert not troubles(1, 2, 60, cores=2, size=2, queue=queue, every=False)


@pytest.mark.full
def test_one_population_cut_in_two():
    """… with every order of events: two minutes."""
    assert not troubles(1, 1, cores=2, size=2)


@pytest.mark.parametrize("spikes", [False, True])
def test_one_population_and_two_inputs(spikes):
    assert not troubles(2, 1, spikes=spikes, every=not spikes)
    assert not troubles(2, 1, spikes=spikes, cores=2, size=2, every=False)


@pytest.mark.parametrize("part", [60, pytest.param(1, marks=pytest.mark.full)])
def test_two_populations(part):
    """All of it takes eight minutes."""
    assert not troubles(1, 2, part)
    assert not troubles(1, 2, part, cores=2, every=False)
    assert not troubles(1, 2, part, cores=2, size=2, every=False)
    assert not troubles(1, 2, part, spikes=True, every=False)


@pytest.mark.parametrize("part", [300, pytest.param(8, marks=pytest.mark.full)])
def test_two_populations_and_two_inputs(part):
    assert not troubles(2, 2, part, every=False)


@pytest.mark.parametrize("part", [2000, pytest.param(40, marks=pytest.mark.full)])
def test_three_populations(part):
    every = list(graphs(1, 3, ((), (0,), (1,))))
    assert not [f for edges in every[::part] if (f := look(1, edges, every=False)).trouble]


@pytest.mark.parametrize("shape", [(1, 1), (2, 1)])
@pytest.mark.parametrize("bug", ["", *BUGS])
def test_moves_that_commute_need_no_search(shape, bug):
    """With every move in any order, or with those alone that matter: the same is found."""
    for edges in list(graphs(*shape)):
        one, other = (bool(look(*shape[:1], edges, every=every, bug=bug).trouble) for every in (True, False))
        assert one == other


@pytest.mark.parametrize("bug, graph, says", [
    ("no first token", PAIR, "nothing can happen"),
    ("credit for a token", CHAIN, "STEP 1 of 0 is at 1 in step 0"),
    ("emit before credit", CHAIN, "sends step"),
    ("deaf while sending", PAIR, "nothing can happen"),
    ("wrong order", LATE, "nothing can happen"),
])
def test_a_mistake_is_found(bug, graph, says):
    found = look(*graph, bug=bug, ahead=False)
    assert found.trouble and says in found.trouble, found


def test_a_source_is_ahead_of_those_who_have_no_other(monkeypatch):
    """Of two, the tokens would be taken for those of one step."""
    fork, join = (1, [(0, 0, 0), (0, 1, 0)]), (2, [(0, 0, 0), (1, 0, 0)])
    for graph, credits in ((CHAIN, (-1, -1, 0)), (fork, (-1, 0, 0)), (join, (0, 0, 0))):
        assert Chip(placed(network(*graph), ahead=True), 1).start.credits == credits
        assert not look(*graph, spikes=True).trouble
    monkeypatch.setattr(placing.Placement, "ahead", lambda self, link: self.fabric.ahead and not link.late)
    assert look(*join, spikes=True).trouble


def without_lines(net, order):
    """How the network would be run if every late spike were sent a step early."""
    late = {q: q.delay > 0 for q in net.projections}
    return Plan(dict.fromkeys(net.projections, 0), late, order, unpaced(net))


def test_a_delay_line_is_there_where_a_step_would_wait_for_itself(monkeypatch):
    """The plan has one for just those graphs that come to a halt without, whatever the order of the inputs."""
    for shape in [(1, 1), (2, 1), (1, 2)]:
        for edges in list(graphs(*shape))[:: 3 if shape == (1, 2) else 1]:
            net = network(shape[0], edges)
            needed = any(plan(net).held.values())
            inputs = [i.name for i in net.inputs]
            halts = []
            for order in itertools.permutations([CLOCK, *inputs] if unpaced(net) else inputs):
                monkeypatch.setattr(placing, "plan", lambda net, order=list(order): without_lines(net, order))
                halts.append(bool(search(Chip(placed(net), 1, False), False).trouble))
            monkeypatch.undo()
            assert all(halts) == needed, (edges, halts)


def ways(chip, kind, key, core):
    """Queues that a packet goes through from a core (None: the host), each behind the one before; the cores it comes to."""
    todo = [(None, chip.leads[core, 0] if core is not None else chip.queue[chip.root, 0])]
    edges, reached = [], []
    while todo:
        before, q = todo.pop()
        edges.append((before, q))
        if q < len(chip.links):
            reached.append(q)
            continue
        node, routes = next((node, routes) for at, node, routes in chip.routers if at == q)
        row = routes[key]
        ports = 1 << row["home"] if kind == Kind.CREDIT else row["listeners"]
        todo += [(q, chip.leads[node, n]) for n in range(4) if ports >> n & 1 and (node, n) != (chip.root, 0)]
    return edges, reached


@pytest.mark.parametrize("cores", range(1, 10))
@pytest.mark.parametrize("size", [1, 5, 9])
def test_no_ring_of_queues_can_fill(cores, size):
    """In any tree a packet comes to each listener once, and queues wait for each other in one direction."""
    net = network(2, [(0, 0, 0), (1, 1, 1), (2, 1, 0), (3, 2, 0), (4, 0, 1), (4, 2, 1)], size)
    chip = Chip(placed(net, cores, keys=64, projections=256, rows=64, weight_words=1024, parameter_rows=64), 1)
    waits = {}
    for key in range(len(chip.start.taken)):
        home = chip.core.get(key)
        listeners = [c for c, links in enumerate(chip.links) if links.get(key)]
        edges, reached = ways(chip, Kind.STEP, key, home)
        assert sorted(reached) == listeners
        for c in listeners:
            more, reached = ways(chip, Kind.CREDIT, key, c)
            assert reached == [home] * (home is not None)
            edges += more
        for before, q in edges:
            waits.setdefault(before, set()).add(q)
    graphlib.TopologicalSorter(waits).prepare()  # raises for a ring
