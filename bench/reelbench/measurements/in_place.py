"""D4: a 1 GiB file of which 1 % of the 8 KiB pages are overwritten in place."""

from .. import datasets, process

DATASET = "D4"


def measure(context):
    """Once per system: growth is exact. All systems see the same file in both states."""
    pages = datasets.PagesFile(context.workspace)
    pages.write()
    size_bytes = {}
    systems = [
        system for system in context.systems
        if system.keeps_generations and context.attempt(DATASET, system, lambda: _before(context, system, pages, size_bytes))
    ]
    changed_bytes = pages.change()
    context.journal.remark(f"{DATASET}: {changed_bytes:,} bytes were overwritten")
    for system in systems:
        context.attempt(DATASET, system, lambda: _after(context, system, pages, size_bytes[system.name]))
    pages.path.unlink()


def _before(context, system, pages, size_bytes):
    system.start()
    process.warm(pages.directory)
    usage = system.backup(pages.directory, "before")
    size_bytes[system.name] = system.size_bytes()
    context.journal.add("1 GiB of pages, elapsed", DATASET, "", system.name, 0, usage.elapsed_s, "s")
    context.journal.add("1 GiB of pages, size", DATASET, "", system.name, 0, size_bytes[system.name], "B")


def _after(context, system, pages, before_bytes):
    process.warm(pages.directory)
    usage = system.backup(pages.directory, "after")
    growth_bytes = system.size_bytes() - before_bytes
    context.journal.add("1 % of pages changed, growth", DATASET, "", system.name, 0, growth_bytes, "B")
    context.journal.add("1 % of pages changed, elapsed", DATASET, "", system.name, 0, usage.elapsed_s, "s")
    context.journal.add("1 % of pages changed, CPU", DATASET, "", system.name, 0, usage.cpu_s, "s")
    system.finish()
