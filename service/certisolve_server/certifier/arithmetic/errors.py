"""What arithmetic with bounds refuses: without a proof there is no number."""


class NotABound(ValueError):
    """Nothing to bound with: NaN, ends crossed or misplaced, a number float64 does not hold."""


class OutsideDomain(ArithmeticError):
    """An enclosure reaches points at which the function is not defined, as 0 for a quotient.

    Nothing is said of the value there, so there is no enclosure of it, not even everything.
    """
