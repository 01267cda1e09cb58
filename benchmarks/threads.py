"""How long should compute threads spin when they wait for each other? One table."""

import os
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from certisolve import Client
from certisolve_server.bench import (
    Bounds,
    Load,
    draw_inputs,
    local_server,
    measure,
    open_door,
    summarise,
)

MODELS = Path("models/artifacts")
CASES = (("burgers1d-fno", {"x": 256}), ("burgers1d-fno", {"x": 1024}), ("darcy2d-fno", {}))
CONNECTIONS = (1, 32)
DURATION_S = 2.0
#: Name, options of the server, variables of its environment.
SETTINGS: tuple[tuple[str, list[str], dict[str, str]], ...] = (
    ("one thread", ["--num-threads", "1"], {}),
    ("no spinning", [], {"GOMP_SPINCOUNT": "0"}),
    ("5000 spins, the server's choice", [], {}),
    ("100000 spins", [], {"GOMP_SPINCOUNT": "100000"}),
)


def main() -> None:
    """Measure and print."""
    columns = [f"{model} {n}x" for model, _ in CASES for n in CONNECTIONS]
    table = Table("threads", *columns, caption="solves/s over HTTP at 1 and 32 connections")
    for name, options, variables in SETTINGS:
        os.environ.update(variables)
        table.add_row(name, *_measure(options))
        for variable in variables:
            del os.environ[variable]
    Console().print(table)


def _measure(options: list[str]) -> list[str]:
    cells = []
    with local_server(MODELS, options) as server, Client(server.http) as client:
        for model, sizes in CASES:
            manifest = client.model(model).manifest
            inputs = draw_inputs(manifest, sizes, np.random.default_rng(0))
            door = open_door(server.http)
            request = door.prepare(model, None, inputs)
            for connections in CONNECTIONS:
                load = Load(connections, Bounds(DURATION_S, 1_000_000))
                cells.append(f"{summarise(measure(door, [request], load)).throughput:.0f}")
    return cells


if __name__ == "__main__":
    main()
