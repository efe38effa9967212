"""`--sim NAME` and the fixture `engine`: one test body for every simulator."""

import signal
from collections.abc import Callable, Iterator

import pytest

from aerloom import Device, Fabric, connect
from aerloom.sim.engine import ENGINES, available

EVERY_DAY = ("amaranth", "compiled")  # what a test runs on unless it asks for all, with the mark `every_engine`


def pytest_configure() -> None:
    """What tests start hears Ctrl-C, even where the tests themselves run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim", choices=list(ENGINES), help="run the simulating tests on this engine alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" not in metafunc.fixturenames:
        return
    names = list(ENGINES) if metafunc.definition.get_closest_marker("every_engine") else EVERY_DAY
    chosen = metafunc.config.getoption("--sim")
    metafunc.parametrize("engine", [chosen] if chosen else names, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The name of a simulation engine that can run here."""
    if reason := available(request.param):
        pytest.skip(f"{request.param}: {reason}")
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def chips() -> Iterator[Callable[..., Device]]:
    """Gives a device of a Fabric, always the same one: chips forget what they ran before."""
    open_ones: dict[object, Device] = {}

    def get(fabric: Fabric, engine: str = "compiled", **options: object) -> Device:
        if reason := available(engine):
            pytest.skip(f"{engine}: {reason}")
        key = (fabric, engine, *sorted(options.items()))
        if key not in open_ones:
            open_ones[key] = connect("sim", fabric, engine=engine, **options)
        return open_ones[key]

    yield get
    for device in open_ones.values():
        device.close()
