"""D1 read through the mount and from ext4: cp -a, find, ls -lR."""

import shutil

from .. import datasets, process
from .read_sides import Native, ReelfsMount, cold_and_warm, prepare_mount_repository

CLIENT, DATASET = "small", "D1"
WALKS = {"find -type f": ["find", "{}/", "-type", "f"], "ls -lR": ["ls", "-lR", "{}/"]}
ONE_GENERATION = ", one generation"


def measure(context):
    """All of it, native and reelfs in turn."""
    tree = datasets.small_files(context.workspace)
    sides = [Native(tree)]
    if context.reelfs:
        prepare_mount_repository(context, {CLIENT: tree})
        mountpoint = context.workspace.mountpoint("small")
        sides.append(ReelfsMount(context.reelfs, mountpoint, CLIENT))
        one = ReelfsMount(context.reelfs, mountpoint, CLIENT, one_generation=True)
        _check_copy(context, tree, sides[1])
    for repetition in range(context.repetitions):
        for name, words in WALKS.items():
            for side in context.rotated(sides, repetition):
                _walk(context, side, name, words, repetition)
        for side in context.rotated([sides[0], one] if context.reelfs else sides, repetition):
            _walk(context, side, "ls -lR" + ONE_GENERATION, WALKS["ls -lR"], repetition)
            _copy(context, side, "cp -a" + ONE_GENERATION, repetition)
        for side in context.rotated(sides, repetition):
            _copy(context, side, "cp -a", repetition)
    if context.reelfs:
        context.reelfs.finish()


def _walk(context, side, name, words, repetition):
    def once(tree, temperature):
        usage = process.run([word.format(tree) for word in words])
        context.journal.add(name, DATASET, temperature, side.name, repetition, usage.elapsed_s, "s")

    cold_and_warm(context, side, once)


def _copy(context, side, name, repetition):
    def once(tree, temperature):
        target = context.workspace.empty_tmpfs()
        usage = process.run(["cp", "-a", f"{tree}/.", str(target)])
        context.journal.add(name, DATASET, temperature, side.name, repetition, usage.elapsed_s, "s")

    cold_and_warm(context, side, once)
    context.workspace.empty_tmpfs()


def _check_copy(context, tree, side):
    """A fast copy counts only if it is the same: compares one before anything is timed."""
    with side.tree() as mounted:
        target = context.workspace.empty_tmpfs()
        process.run(["cp", "-a", f"{mounted}/.", str(target)])
        process.run(["diff", "-rq", "--no-dereference", str(tree), str(target)])
        shutil.rmtree(target)
