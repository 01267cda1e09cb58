"""Friction of turbulent flow in rough pipes, by Colebrook's law (Colebrook, 1939).

    1/√f = -2 log10(ε/3.7 + 2.51/(Re √f))

f is Darcy's friction factor, ε the roughness over the diameter, Re the Reynolds number. Good
values: Re from 4e3 to 1e8, ε from 0 to 0.05; below Re = 4e3 the flow is not turbulent and the law
does not hold.
"""

import numpy as np
from jaxtyping import Float64
from scipy.special import wrightomega

ROUGH, SMOOTH = 3.7, 2.51
SLOPE = 2 / np.log(10.0)


def friction_factor(
    reynolds: Float64[np.ndarray, "*sample"], roughness: Float64[np.ndarray, "*sample"]
) -> Float64[np.ndarray, "*sample"]:
    """Darcy's friction factor, to rounding.

    With x = 1/√f, c = 2/ln 10, a = 2.51/Re and b = ε/3.7 the law is x = -c ln(b + a x). The z of
    b + a x = a c z obeys z + ln z = b/(a c) - ln(a c), whose solution is Wright's ω function; like
    Lambert's W with an exponential argument, but free of overflow.
    """
    scale = SLOPE * SMOOTH / reynolds
    z = wrightomega(roughness / ROUGH / scale - np.log(scale))
    return np.asarray((SLOPE * np.log(scale * z)) ** -2.0)


def newton_friction_factor(
    reynolds: Float64[np.ndarray, "*sample"],
    roughness: Float64[np.ndarray, "*sample"],
    *,
    num_iterations: int,
) -> Float64[np.ndarray, "*sample"]:
    """The same by Newton's method for 1/√f, from the explicit formula of Haaland (1983).

    Without iterations it is within 1.5 % in the range above, with one within 1e-5, with two exact.
    """
    a, b = SMOOTH / reynolds, roughness / ROUGH
    x = -1.8 * np.log10(b**1.11 + 6.9 / reynolds)
    for _ in range(num_iterations):
        argument = b + a * x
        x = x - (x + SLOPE * np.log(argument)) / (1 + SLOPE * a / argument)
    return np.asarray(x**-2.0)


def colebrook_defect(
    factor: Float64[np.ndarray, "*sample"],
    reynolds: Float64[np.ndarray, "*sample"],
    roughness: Float64[np.ndarray, "*sample"],
) -> Float64[np.ndarray, "*sample"]:
    """Left less right side of the law."""
    x = factor**-0.5
    return np.asarray(x + SLOPE * np.log(roughness / ROUGH + SMOOTH / reynolds * x))
