"""Load on a server, measured: closed loops for capacity, open loops for latency."""

from .door import AbstractConnection as AbstractConnection
from .door import AbstractDoor as AbstractDoor
from .door import Answer as Answer
from .door import SolveInputs as SolveInputs
from .load import UNANSWERED as UNANSWERED
from .load import Bounds as Bounds
from .load import closed_loop as closed_loop
from .load import open_loop as open_loop
from .local_fleet import LocalFleet as LocalFleet
from .local_fleet import LocalRedis as LocalRedis
from .local_fleet import local_fleet as local_fleet
from .local_fleet import local_redis as local_redis
from .local_server import LocalServer as LocalServer
from .local_server import local_server as local_server
from .measurement import Measurement as Measurement
from .measurement import Summary as Summary
from .measurement import percentiles_ms as percentiles_ms
from .measurement import summarise as summarise
from .open_door import open_door as open_door
from .run import Load as Load
from .run import measure as measure
from .samples import draw_inputs as draw_inputs
from .schedule import poisson_arrivals as poisson_arrivals

__all__ = [
    "UNANSWERED",
    "AbstractConnection",
    "AbstractDoor",
    "Answer",
    "Bounds",
    "Load",
    "LocalFleet",
    "LocalRedis",
    "LocalServer",
    "Measurement",
    "SolveInputs",
    "Summary",
    "closed_loop",
    "draw_inputs",
    "local_fleet",
    "local_redis",
    "local_server",
    "measure",
    "open_door",
    "open_loop",
    "percentiles_ms",
    "poisson_arrivals",
    "summarise",
]
