"""`--sim NAME` and the fixture `engine`: one test body for every simulator."""

import pytest

from aerloom.sim.engine import ENGINES, available

EVERY_DAY = ("amaranth", "compiled")  # what a test runs on unless it asks for all, with the mark `every_engine`


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim", choices=list(ENGINES), help="run the simulating tests on this engine alone")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_engine: on cocotb and Icarus too, not only on amaranth and compiled")


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
