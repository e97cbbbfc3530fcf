"""First backup of D1 and D2 and the one after it with nothing changed: time, CPU time, memory, size."""

from .. import datasets, process


def measure(context):
    """All systems in turn, each into a new repository every time."""
    sets = {"D1": datasets.small_files(context.workspace)}
    if not context.quick:
        sets["D2"] = datasets.large_files(context.workspace)
    for repetition in range(context.repetitions):
        for dataset, tree in sets.items():
            for system in context.rotated(context.systems, repetition):
                context.attempt(
                    f"first backup of {dataset}", system,
                    lambda: _backup_twice(context, system, dataset, tree, repetition),
                )


def _backup_twice(context, system, dataset, tree, repetition):
    def add(name, value, unit):
        context.journal.add(name, dataset, "", system.name, repetition, value, unit)

    system.start()
    process.warm(tree)
    first = system.backup(tree, "first")
    size_bytes = system.size_bytes()
    add("first backup, CPU", first.cpu_s, "s")
    add("first backup, elapsed", first.elapsed_s, "s")
    add("first backup, peak RSS", first.peak_rss_bytes, "B")
    add("repository size", size_bytes, "B")
    if system.keeps_generations:
        again = system.backup(tree, "again")
        add("no change, elapsed", again.elapsed_s, "s")
        add("no change, CPU", again.cpu_s, "s")
        add("no change, growth", system.size_bytes() - size_bytes, "B")
    system.finish()
