"""What every measurement is given."""

from dataclasses import dataclass

from .backup_systems import Reelfs
from .process import CommandFailed
from .samples import Journal
from .workspace import Workspace


@dataclass
class Context:
    """The systems of a run, where they work, and where values go."""

    workspace: Workspace
    journal: Journal
    systems: list
    repetitions: int
    quick: bool

    @property
    def reelfs(self):
        """reelfs, or None when there is no binary."""
        return next((system for system in self.systems if isinstance(system, Reelfs)), None)

    def attempt(self, what, system, action):
        """Whether `action` ended well; a failure is a remark, and the other systems go on."""
        try:
            action()
        except CommandFailed as error:
            self.journal.remark(f"{what} with {system.name}: stopped: {error}")
            return False
        return True

    def rotated(self, items, repetition):
        """`items`, another one first in each repetition, so that no one always comes after the same neighbour."""
        start = repetition % max(len(items), 1)
        return items[start:] + items[:start]
