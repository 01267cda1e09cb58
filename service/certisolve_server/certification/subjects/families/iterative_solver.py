"""`iterative-solver`: refused, with the reason."""

from certisolve_server.certification.subjects.asked import Asked, Described
from certisolve_server.certifier.errors import NotCertified


def linear_solver(asked: Asked) -> Described:
    """Nothing, of the family `iterative-solver`.

    Raises:
        NotCertified: always, with the reason.
    """
    raise NotCertified(
        f"{asked.manifest.name} belongs to the family iterative-solver: its answer is that of a "
        "linear system up to a measured residual, after as many steps as that takes, so the served "
        "map jumps where their number changes; no bound is given. The residual of each answer "
        "bounds its error"
    )
