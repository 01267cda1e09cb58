"""All ways to a bound, cheap ones first."""

from .method import Method
from .norms import FusedNorms

METHODS: tuple[Method, ...] = (FusedNorms(),)


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        KeyError: there is none. Nothing stands in for it.
    """
    for method in METHODS:
        if method.name == name:
            return method
    raise KeyError(f"no method is called {name!r}")
