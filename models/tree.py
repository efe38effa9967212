"""The tree of routers between the host and the cores: a binary one, over the cores of all chips."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Branch:
    """What is behind a router's port: cores and routers, as half-open ranges of nodes."""

    cores: tuple[int, int]
    routers: tuple[int, int]


@dataclass(frozen=True)
class Router:
    """A router of the tree. Port 0 leads up to the host, port ``1 + n`` to branch ``n``."""

    node: int
    branches: tuple[Branch, ...]

    @property
    def cores(self) -> tuple[int, int]:
        """The cores below it, as a half-open range."""
        return self.branches[0].cores[0], self.branches[-1].cores[1]

    @property
    def ports(self) -> int:
        """Ports, without the one to the router's own table."""
        return 1 + len(self.branches)

    def leaf(self, port: int) -> bool:
        """Whether a port leads to a core."""
        first, last = self.branches[port - 1].cores if port else (0, 0)
        return last - first == 1

    def port(self, core: int | None) -> int:
        """The port that leads to ``core`` (None: the host)."""
        for n, branch in enumerate(self.branches):
            if core is not None and branch.cores[0] <= core < branch.cores[1]:
                return 1 + n
        return 0


def binary_tree(cores: int) -> list[Router]:
    """The routers above so many cores, root first and a root even for one core; router ``n`` is node ``cores + n``."""
    out: list[Router] = []

    def grow(first: int, last: int) -> None:
        node = cores + len(out)
        out.append(Router(node, ()))
        branches = []
        middle = (first + last + 1) // 2
        for a, b in [(first, middle), (middle, last)] if last - first > 1 else [(first, last)]:
            below = cores + len(out)
            if b - a > 1:
                grow(a, b)
            branches.append(Branch((a, b), (below, cores + len(out))))
        out[node - cores] = Router(node, tuple(branches))

    grow(0, cores)
    return out


def subtrees(cores: int, chips: int) -> list[tuple[int, int]]:
    """The cores of each of so many chips (a power of two): a subtree, as a half-open range."""
    out = [(0, cores)]
    while len(out) < chips:
        out = [half for a, b in out for half in ((a, (a + b + 1) // 2), ((a + b + 1) // 2, b))]
    return out
