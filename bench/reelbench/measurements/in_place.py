"""D4: a 1 GiB file of which 1 % of the 8 KiB pages are overwritten in place."""

from .. import datasets, process


def measure(context):
    """Once per system: growth is exact. All systems see the same file in both states."""
    pages = datasets.PagesFile(context.workspace)
    systems = [system for system in context.systems if system.keeps_generations]
    pages.write()
    before_bytes = {}
    for system in systems:
        system.start()
        process.warm(pages.directory)
        usage = system.backup(pages.directory, "before")
        before_bytes[system] = system.size_bytes()
        context.journal.add("1 GiB of pages, elapsed", "D4", "", system.name, 0, usage.elapsed_s, "s")
        context.journal.add("1 GiB of pages, size", "D4", "", system.name, 0, before_bytes[system], "B")
    changed_bytes = pages.change()
    context.journal.remark(f"D4: {changed_bytes:,} bytes were overwritten")
    for system in systems:
        process.warm(pages.directory)
        usage = system.backup(pages.directory, "after")
        growth_bytes = system.size_bytes() - before_bytes[system]
        context.journal.add("1 % of pages changed, growth", "D4", "", system.name, 0, growth_bytes, "B")
        context.journal.add("1 % of pages changed, elapsed", "D4", "", system.name, 0, usage.elapsed_s, "s")
        context.journal.add("1 % of pages changed, CPU", "D4", "", system.name, 0, usage.cpu_s, "s")
        system.finish()
    pages.path.unlink()
