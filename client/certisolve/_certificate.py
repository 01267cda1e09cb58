"""What was proven of a model: a bound, how it is known, and what proves it again."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ._arrays import Array
from ._calls import read_model_ref, reading
from ._results import Improvement, ModelRef

#: Whether the search goes on; reached the gap, or had nothing left to do; ended with its budget; or
#: proved nothing finite. A finite bound is proven in any case.
CertificateStatus = Literal["improving", "certified", "budget_exhausted", "unbounded"]


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """Inputs that prove that no bound below `lower` holds.

    Attributes:
        kind: `pair`: x and y, |f(x) - f(y)| >= lower |x - y|; `direction`: x and v, along which f
            changes by lower |v| or more.
        x: by input, in the set.
        other: y, or v.
        lower: as proven.
    """

    kind: Literal["pair", "direction"]
    x: Mapping[str, Array]
    other: Mapping[str, Array]
    lower: float


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """For all x, y in a set: |f(x) - f(y)| <= upper |x - y|, proven with every rounding carried.

    Attributes:
        upper: the bound; inf where nothing finite was proven, `reason` says why.
        lower: no bound below holds, as `witness` proves; 0 without one.
        status: how the search ended, or that it goes on.
        reason: why there is no bound; None where there is one.
        method: what proved it; empty where nothing did.
        map: of what the bound holds, in words.
        domain: the set, as asked for.
        norms: in which differences are measured.
        soundness: `real`: of the map on the reals whose constants are those of the model; `float`:
            of what is executed in the model's own precision, with `rounding`.
        rounding: delta in |f(x) - f(y)| <= upper |x - y| + 2 delta; None at level `real`.
        witness: None where no lower bound was found.
        history: each improvement, oldest first.
        error_amplification: by how much errors of the inputs can grow, in numbers and words.
        enclosure: least and greatest value of each entry of the output on the set; None where none
            was found.
        methods: of each method, `bound` if it gave the bound, else what it gave or why nothing.
        out_of_range: in what it exceeds what errors of the model were measured for.
        rules: the operators of the model that were gone through.
        model: which program.
        graph: digest of the graph that was certified.
        elapsed_s: seconds of search.
        document: all of it as JSON, with what proves the bound again.
    """

    upper: float
    lower: float
    status: CertificateStatus
    reason: str | None
    method: str
    map: str
    domain: Mapping[str, Any] | str = field(repr=False)
    norms: Mapping[str, Any] = field(repr=False)
    soundness: Literal["real", "float"]
    rounding: float | None
    witness: Witness | None = field(repr=False)
    history: tuple[Improvement, ...] = field(repr=False)
    error_amplification: Mapping[str, Any] | None = field(repr=False)
    enclosure: tuple[Array, Array] | None = field(repr=False)
    methods: Mapping[str, str] = field(repr=False)
    out_of_range: tuple[str, ...]
    rules: tuple[str, ...] = field(repr=False)
    model: ModelRef
    graph: str
    elapsed_s: float
    document: Mapping[str, Any] = field(repr=False)

    @property
    def gap(self) -> float:
        """Upper by lower; 1 at best, inf where one of them is missing."""
        if self.upper == self.lower:
            return 1.0
        return self.upper / self.lower if self.lower > 0 else math.inf

    def save(self, path: str | Path) -> None:
        """Writes it as JSON: what `certisolve certificate verify` proves again."""
        Path(path).write_text(json.dumps(self.document, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Certificate":
        """One that was saved; nothing in it is proven again.

        Raises:
            InvalidReply: the file is none.
        """
        with reading("certificate"):
            return read_certificate(json.loads(Path(path).read_text()))


def read_certificate(document: Mapping[str, Any]) -> Certificate:
    """The certificate in the JSON of a reply; to be called inside `reading`."""
    upper = document["upper"]
    return Certificate(
        upper=math.inf if upper is None else float(upper),
        lower=float(document["lower"]),
        status=document["status"],
        reason=document.get("reason"),
        method=document["method"] or "",
        map=document["map"],
        domain=document["domain"],
        norms=document["norms"],
        soundness=document["soundness"],
        rounding=document.get("rounding"),
        witness=_read_witness(document.get("witness")),
        history=tuple(
            Improvement(t, math.inf if high is None else high, low)
            for t, high, low in document["history"]
        ),
        error_amplification=document.get("error_amplification"),
        enclosure=_read_enclosure(document.get("enclosure")),
        methods=document.get("methods", {}),
        out_of_range=tuple(document.get("out_of_range", ())),
        rules=tuple(document["rules"]),
        model=read_model_ref(document["model"]),
        graph=document["graph"],
        elapsed_s=float(document["elapsed_s"]),
        document=document,
    )


def _read_witness(part: dict[str, Any] | None) -> Witness | None:
    if part is None:
        return None
    other = part["y"] if part["kind"] == "pair" else part["v"]
    return Witness(part["kind"], _arrays(part["x"]), _arrays(other), float(part["lower"]))


def _read_enclosure(part: dict[str, Any] | None) -> tuple[Array, Array] | None:
    return None if part is None else (np.asarray(part["lower"]), np.asarray(part["upper"]))


def _arrays(part: dict[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(value, dtype=np.float64) for name, value in part.items()}
