"""Our own integrators of dy/dt = f(t, y) for batches in which every sample keeps its own steps.

A state is a value: `state = integrator.step(field, state)`. Samples join and leave between any two
steps, and a sample takes the same steps, to the bit, alone and among others, as long as the vector
field gives a row the same bits in both. Pure: no clock, no randomness, no input or output.
"""

from .dense import interpolate as interpolate
from .dopri5 import DOPRI5 as DOPRI5
from .euler import EULER as EULER
from .heun import HEUN as HEUN
from .integrator import Integrator as Integrator
from .pid import PID as PID
from .rk4 import RK4 as RK4
from .rodas3 import RODAS3 as RODAS3
from .state import State as State
from .state import Status as Status
from .state import VectorField as VectorField
from .stiffness import is_stiff as is_stiff
from .tsit5 import TSIT5 as TSIT5

#: Every method; what holds for integrators is tested for all of these.
all_integrators: tuple[Integrator, ...] = (EULER, HEUN, RK4, DOPRI5, TSIT5, RODAS3)

__all__ = [
    "DOPRI5",
    "EULER",
    "HEUN",
    "PID",
    "RK4",
    "RODAS3",
    "TSIT5",
    "Integrator",
    "State",
    "Status",
    "VectorField",
    "all_integrators",
    "interpolate",
    "is_stiff",
]
