"""Progress over parts whose lengths are known only roughly: it never goes back, and ends at its total."""

from __future__ import annotations

from vitron.specialists.base import OnProgress


class Progress:
    """Counts steps towards a total.

    Attributes:
        done: Steps so far; at most the total.
    """

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self.total, self.done = max(total, 1), 0
        self._report = on_progress

    def step(self, count: int = 1) -> None:
        """Count steps."""
        self.up_to(self.done + count)

    def up_to(self, done: int) -> None:
        """Say how many are done; fewer than before counts as none."""
        self.done = min(max(done, self.done), self.total)
        if self._report is not None:
            self._report(self.done, self.total)

    def part(self, steps: int) -> OnProgress:
        """Return what counts somebody else's progress as the next `steps` of this one."""
        before = self.done

        def report(done: int, total: int) -> None:
            self.up_to(before + steps * done // max(total, 1))

        return report

    def finish(self) -> None:
        """Count all that is left."""
        self.up_to(self.total)
