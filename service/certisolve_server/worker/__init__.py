"""Claims jobs, forms batches next to the model, runs them on one device; certifies beside it."""

from .certifications import CertifyOptions as CertifyOptions
from .loop import Worker as Worker
from .prover_process import ProverOptions as ProverOptions

__all__ = ["CertifyOptions", "ProverOptions", "Worker"]
