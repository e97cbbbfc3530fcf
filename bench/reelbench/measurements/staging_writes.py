"""Writing: 20 000 small files by cp, tar and rsync, rsync again with nothing changed, one file of 1 GiB."""

import os
import shutil

from .. import datasets, process
from .writable_sides import writable_sides

SMALL, LARGE = "20 000 files", "1 GiB"
FILE_COUNT = 20_000
LARGE_BYTES = 1 << 30
MIB = 1 << 20


def measure(context):
    """All sides in turn, from a source in memory into directories that were never used."""
    memory = context.workspace.empty_tmpfs()
    source = _small_files(context, memory / "small")
    archive, large = memory / "small.tar", memory / "large"
    process.run(["tar", "-cf", str(archive), "-C", str(source), "."])
    _large_file(context, large)
    commands = {
        "cp -a": lambda target: ["cp", "-a", f"{source}/.", str(target)],
        "tar -x": lambda target: ["tar", "-xpf", str(archive), "-C", str(target)],
        "rsync -a": lambda target: ["rsync", "-a", f"{source}/", f"{target}/"],
    }
    with writable_sides(context) as sides:
        for repetition in range(context.repetitions):
            for name, command in commands.items():
                for side in context.rotated(sides, repetition):
                    context.attempt(name, side, lambda: _small(context, side, name, command, repetition))
            for side in context.rotated(sides, repetition):
                context.attempt(LARGE, side, lambda: _large(context, side, large, repetition))
    context.workspace.empty_tmpfs()


def _small_files(context, target):
    """The first files of D1, as many as are wanted, in memory."""
    tree, count = datasets.small_files(context.workspace), 0
    for parent, directories, names in os.walk(tree):
        directories.sort()
        inside = target / os.path.relpath(parent, tree)
        inside.mkdir(parents=True, exist_ok=True)
        for name in sorted(names):
            path = os.path.join(parent, name)
            if count < FILE_COUNT and os.path.isfile(path) and not os.path.islink(path):
                shutil.copyfile(path, inside / name)
                count += 1
        if count >= FILE_COUNT:
            break
    return target


def _large_file(context, path):
    """The first GiB of D2's files, one after the other, again from the start if that is not enough."""
    files = sorted(datasets.large_files(context.workspace).iterdir())
    left = LARGE_BYTES
    with open(path, "wb") as out:
        while left:
            for file in files:
                with open(file, "rb") as piece:
                    while left and (block := piece.read(min(MIB, left))):
                        left -= out.write(block)


def _small(context, side, name, command, repetition):
    with side.target() as target:
        os.sync()
        _timed(context, side, name, command(target), repetition)
        if name == "rsync -a":
            _timed(context, side, "rsync -a, nothing changed", command(target), repetition)


def _timed(context, side, name, command, repetition):
    before = side.request_count()
    usage = process.run(command)
    context.journal.add(name, SMALL, "", side.name, repetition, usage.elapsed_s, "s")
    if before is not None:
        after = side.request_count()
        grown = {kind: (count - before.get(kind, 0)) / FILE_COUNT for kind, count in after.items()}
        context.journal.add(f"{name}, requests per file", SMALL, "", side.name, repetition, sum(grown.values()), "")
        shown = ", ".join(f"{kind} {count:.2f}" for kind, count in sorted(grown.items(), key=lambda item: -item[1]) if count >= 0.005)
        if repetition == 0:
            context.journal.remark(f"{name}: requests per file: {shown}")


def _large(context, side, source, repetition):
    with side.target() as target:
        os.sync()
        words = ["dd", f"if={source}", f"of={target}/large", "bs=1M", "conv=fsync", "status=none"]
        elapsed_s = process.run(words).elapsed_s
        context.journal.add("write, rate", LARGE, "", side.name, repetition, LARGE_BYTES / MIB / elapsed_s, "MiB/s")
        elapsed_s = process.run(["cp", str(source), f"{target}/copy"]).elapsed_s
        context.journal.add("cp, rate", LARGE, "", side.name, repetition, LARGE_BYTES / MIB / elapsed_s, "MiB/s")
        process.run(["rm", f"{target}/large", f"{target}/copy"])
