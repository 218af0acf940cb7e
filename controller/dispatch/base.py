"""What a dispatcher is: the thing that sees to it that accepted runs are executed, somewhere, soon.

The store's row is the truth; a dispatcher only carries "look at run X". Told twice, it may look twice: `execute`
claims the row, so the second finds nothing to do.
"""

from __future__ import annotations

from typing import Protocol

from controller.model import Waiting


class Dispatcher(Protocol):
    """Three verbs, two questions, and a brake."""

    def submit(self, run: Waiting, seconds: float = 0.0) -> None:
        """Have the run executed when its turn comes, and not before so many seconds. Returns at once.

        Told again of a run that waits already, or is being executed, it does nothing new.
        """

    def cancel(self, run_id: str) -> None:
        """The run is marked as cancelled in the store: end it, wherever it runs."""

    def capacity(self) -> int:
        """How many more runs could begin right now."""

    def hold(self, held: bool) -> None:
        """Begin no more runs, or go on: what is at work is not touched, what waits keeps its place."""

    def look_again(self) -> None:
        """Tenants may have more places than before."""
    def count_at_work(self) -> int:
        """How many runs are being executed."""

    def position(self, run_id: str) -> int | None:
        """How many turns until the run begins (1: it is next), if all runs took equally long; None: it does not wait.
        """
