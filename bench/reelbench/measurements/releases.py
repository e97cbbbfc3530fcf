"""D3: ten successive releases of a source tree, each a generation of the same path."""

from contextlib import contextmanager

from .. import datasets, process


def measure(context):
    """Once: sizes are exact. All systems take a release before any takes the next."""
    releases = datasets.successive_releases(context.workspace)
    for system in context.systems:
        system.start()
    cpu_s = dict.fromkeys(context.systems, 0.0)
    elapsed_s = dict.fromkeys(context.systems, 0.0)
    for number, release in enumerate(releases):
        with _shown_as_tree(context, release) as tree:
            process.warm(tree)
            for system in context.rotated(context.systems, number):
                usage = system.backup(tree, f"release-{number + 1:02}")
                cpu_s[system] += usage.cpu_s
                elapsed_s[system] += usage.elapsed_s
                context.journal.add("releases so far, size", "D3", "", system.name, number, system.size_bytes(), "B")
    for system in context.systems:
        context.journal.add("ten releases, size", "D3", "", system.name, 0, system.size_bytes(), "B")
        context.journal.add("ten releases, CPU", "D3", "", system.name, 0, cpu_s[system], "s")
        context.journal.add("ten releases, elapsed", "D3", "", system.name, 0, elapsed_s[system], "s")
        system.finish()


@contextmanager
def _shown_as_tree(context, release):
    """Every release at one path, as a source tree that is updated: a bind mount moves no data."""
    tree = context.workspace.mountpoint("tree")
    process.run(["mount", "--bind", str(release), str(tree)])
    try:
        yield tree
    finally:
        process.run(["umount", str(tree)])
