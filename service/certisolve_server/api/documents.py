"""Jobs and models as JSON documents."""

from dataclasses import asdict
from typing import Any

from certisolve_server.catalog import ModelEntry
from certisolve_server.dataplane import JobView

from .problems import problem_document


def job_document(view: JobView) -> dict[str, Any]:
    """A job without its result; a certification that runs, with the best certificate so far."""
    state = view.state
    failed = state.error is not None and state.status == "failed"
    best = {} if view.best is None else {"certificate": view.best.told()}
    return {
        "id": view.id,
        "status": state.status,
        "position": state.position,
        "expected_wait_s": state.expected_wait_s,
        "progress": state.progress,
        "problem": problem_document(state.error) if state.error and failed else None,
        **best,
    }


def model_document(entry: ModelEntry) -> dict[str, Any]:
    """A model, its manifest and where it is loaded."""
    artifact = entry.artifact
    return {
        "name": artifact.manifest.name,
        "version": artifact.manifest.version,
        "digest": artifact.digest,
        "ready": entry.ready,
        "fault": entry.fault,
        "workers": [asdict(worker) for worker in entry.workers],
        "manifest": artifact.manifest,
    }
