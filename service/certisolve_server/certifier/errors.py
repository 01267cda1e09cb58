"""Why nothing was certified. A bound that cannot be proven is an error, never a default."""


class CertifierError(Exception):
    """What every error of the certifier is."""


class UnsupportedOperator(CertifierError):
    """An operator of the graph has no rule; the message names the operator and the node."""

    def __init__(self, operator: str, node: str, reason: str = "has no rule") -> None:
        super().__init__(f"{operator} at node {node!r} {reason}")
        self.operator = operator
        self.node = node


class PossiblyDiscontinuous(CertifierError):
    """A gate that is not part of a pattern proven continuous, so there may be no bound at all."""

    def __init__(self, operator: str, node: str) -> None:
        super().__init__(
            f"{operator} at node {node!r} may make the output jump: no Lipschitz bound can be given"
        )
        self.operator = operator
        self.node = node


class NotCertified(CertifierError):
    """The arithmetic gave no finite bound: NaN, overflow, or a set that leaves a domain."""


class InvalidRequest(CertifierError):
    """The caller asked for inputs, sizes, sets or norms that the program does not have."""


class Contradiction(CertifierError):
    """A witness exceeds what was proven: one of both is wrong, and neither is given to anybody."""

    def __init__(self, method: str, upper: float, lower: float) -> None:
        super().__init__(f"{method} proves {upper}, and a witness {lower}: the certifier is wrong")
        self.upper = upper
        self.lower = lower


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed: of Python's, numpy's, or torch's, which has no class for it."""
    return isinstance(error, MemoryError) or "allocate" in str(error)
