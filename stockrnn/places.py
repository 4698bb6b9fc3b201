"""Where the work of a command runs: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stockrnn.engines import Engine, in_turn, one_thread
from stockrnn.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Where the units of a command run.

    Attributes:
        engine: `local`: this machine; `ray`: a Ray cluster.
        address: that of a running cluster; without one, Ray starts one on this machine.

    Raises:
        ConfigError: an address without a cluster.
    """

    engine: Literal["local", "ray"] = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.address is not None and self.engine != "ray":
            raise ConfigError(f"--address must stand with `--engine ray`. Received: --address {self.address} alone. Add --engine ray.")


LOCAL = Place()


@contextlib.contextmanager
def open_engine(workers: int | Literal["auto"] = 1, place: Place = LOCAL) -> Iterator[Engine]:
    """An engine for the time of a command.

    Args:
        workers: processes that work on this machine, this one among them; `auto`: as many as cores, once the work left is worth
            their start.
        place: this machine, or a Ray cluster, which uses all its cores.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster answers at the address.
    """
    with one_thread(), in_turn():
        engine = _engine(workers, place)
        try:
            yield engine
        finally:
            engine.close()


def _engine(workers: int | Literal["auto"], place: Place) -> Engine:
    if place.engine == "ray":
        from stockrnn.cluster import Cluster

        return Cluster(place.address)
    from stockrnn.beside import Beside

    return Beside(workers)
