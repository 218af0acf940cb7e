"""What a dispatcher is: the thing that sees to it that accepted runs are executed, somewhere, soon.

The store's row is the truth; a dispatcher only carries "look at run X". Told twice, it may look twice: `execute`
claims the row, so the second finds nothing to do.
"""

from __future__ import annotations

from typing import Protocol


class Dispatcher(Protocol):
    def submit(self, run_id: str) -> None:
        """Have the run executed. Returns at once."""

    def cancel(self, run_id: str) -> None:
        """The run is marked as cancelled in the store: end it, wherever it runs."""

    def capacity(self) -> int:
        """How many more runs could begin right now."""
