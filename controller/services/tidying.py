"""What is left to do when an ingest has ended: at once, and again by upkeep where a crash came between."""

from __future__ import annotations

from controller.model import Part
from controller.services.backend import Backend

_AT_ONCE = 500


def tidy(backend: Backend, run_id: str | None = None) -> None:
    """Of one ingest run, or of all: remove the sources of what has ended (a version IS its Arrow file; of a failed one
    the error stays), and forget the runs whose versions were deleted while they were being executed."""
    while deleted := backend.datasets.forgettable(_AT_ONCE, run_id):
        for one in deleted:
            backend.datasets.forget(one)
            backend.workspaces.of(one).remove()
    while ended := backend.datasets.untidy(_AT_ONCE, run_id):
        for dataset in ended:
            backend.store.mark_removed(dataset.run.id, (Part.INPUTS,))
            backend.workspaces.of(dataset.run.id).remove_parts((Part.INPUTS,))
