"""D3: ten successive releases of a source tree, each a generation of the same path."""

from contextlib import contextmanager
from dataclasses import dataclass

from .. import datasets, process
from ..backup_systems import BackupSystem

DATASET = "D3"


@dataclass
class _Line:
    """One system's line of generations, and what it used so far."""

    system: BackupSystem
    cpu_s: float = 0.0
    elapsed_s: float = 0.0

    def take(self, tree, number):
        """The next generation."""
        usage = self.system.backup(tree, f"release-{number:02}")
        self.cpu_s += usage.cpu_s
        self.elapsed_s += usage.elapsed_s


def measure(context):
    """Once: sizes are exact. All systems take a release before any takes the next."""
    lines = [_Line(s) for s in context.systems if context.attempt(DATASET, s, s.start)]
    for number, release in enumerate(datasets.successive_releases(context.workspace), 1):
        with _shown_as_tree(context, release) as tree:
            process.warm(tree)
            lines = [line for line in context.rotated(lines, number) if _take(context, line, tree, number)]
    for line in lines:
        _add(context, "ten releases, size", line, 0, line.system.size_bytes(), "B")
        _add(context, "ten releases, CPU", line, 0, line.cpu_s, "s")
        _add(context, "ten releases, elapsed", line, 0, line.elapsed_s, "s")
        line.system.finish()


def _add(context, name, line, repetition, value, unit):
    context.journal.add(name, DATASET, "", line.system.name, repetition, value, unit)


def _take(context, line, tree, number):
    if not context.attempt(f"{DATASET}, release {number}", line.system, lambda: line.take(tree, number)):
        return False
    _add(context, f"size after release {number:02}", line, 0, line.system.size_bytes(), "B")
    return True


@contextmanager
def _shown_as_tree(context, release):
    """Every release at one path, as a source tree that is updated: a bind mount moves no data."""
    tree = context.workspace.mountpoint("tree")
    process.run(["mount", "--bind", str(release), str(tree)])
    try:
        yield tree
    finally:
        process.run(["umount", str(tree)])
