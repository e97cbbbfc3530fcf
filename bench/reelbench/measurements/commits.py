"""Commits: D1 staged and committed against a backup of it, and 100 changed files among 1 000 000."""

import os
import shutil
import time

from .. import datasets, process
from ..mounted import Mounted
from .memory import SYNTHESIZE, synthesizer

BACKUP = "reelfs backup"
CLIENT = "bench"
CHANGED_COUNT = 100
FULL_FILES, QUICK_FILES = 1_000_000, 20_000
# Files that the daemon keeps ready for a client that is written to stay for some seconds.
CLEAN_UP_S_MAX = 60
# What is left of writing the data, on the disk and in the daemon, is over before either is measured.
SETTLE_S = 6


def measure(context):
    """Both with a commit asked for by hand; CPU time is that of the daemon until what was staged is removed."""
    if not context.reelfs:
        context.journal.remark("commits: needs reelfs, skipped")
        return
    tree = datasets.small_files(context.workspace)
    sides = [("commit of D1", _staged), (BACKUP, _backup)]
    for repetition in range(context.repetitions):
        for what, side in context.rotated(sides, repetition):
            context.attempt(what, context.reelfs, lambda: side(context, tree, repetition))
    context.attempt("commit of few changes", context.reelfs, lambda: _few_among_many(context))


def _backup(context, tree, repetition):
    reelfs = context.reelfs
    reelfs.start()
    process.warm(tree)
    _settle()
    usage = reelfs.backup(tree, "")
    context.journal.add("commit, elapsed", "D1", "", BACKUP, repetition, usage.elapsed_s, "s")
    context.journal.add("commit, CPU", "D1", "", BACKUP, repetition, usage.cpu_s, "s")
    reelfs.finish()


def _staged(context, tree, repetition):
    reelfs = context.reelfs

    def add(name, value, unit):
        context.journal.add(name, "D1", "", reelfs.name, repetition, value, unit)

    reelfs.start()
    with Mounted(reelfs, context.workspace.mountpoint("staging")) as mount:
        client = mount.mountpoint / "staging" / CLIENT
        client.mkdir()
        process.run(["cp", "-a", f"{tree}/.", str(client)])
        _settle()
        before_s, before_bytes = mount.cpu_s(), mount.peak_rss_bytes()
        usage = process.run(reelfs.command("commit", CLIENT))
        add("commit, elapsed", usage.elapsed_s, "s")
        add("commit, CPU without clean-up", usage.cpu_s + mount.cpu_s() - before_s, "s")
        _wait_until_removed(reelfs.repository / "staging" / CLIENT / "data")
        add("commit, CPU", usage.cpu_s + mount.cpu_s() - before_s, "s")
        add("mountd RSS, peak before the commit", before_bytes, "B")
        add("mountd RSS, peak after the commit", mount.peak_rss_bytes(), "B")
    reelfs.finish()


def _settle():
    os.sync()
    time.sleep(SETTLE_S)


def _wait_until_removed(data):
    deadline = time.monotonic() + CLEAN_UP_S_MAX
    while any(names for _, _, names in os.walk(data)):
        if time.monotonic() > deadline:
            raise process.CommandFailed(f"{data} still has files {CLEAN_UP_S_MAX} s after the commit")
        time.sleep(0.1)


def _few_among_many(context):
    program = synthesizer(context)
    if program is None:
        context.journal.remark(f"commits: {SYNTHESIZE} not found, few changes among many files are skipped")
        return
    files = QUICK_FILES if context.quick else FULL_FILES
    dataset = f"{CHANGED_COUNT} of {files:,} files".replace(",", " ")
    reelfs = context.reelfs
    reelfs.repository = context.workspace.fresh_repository(reelfs.name)
    process.run([program, str(reelfs.repository), "1", str(files)])
    # It writes sealed files alone, and the first commit would make the index of them.
    process.run(reelfs.command("rebuild"))
    with Mounted(reelfs, context.workspace.mountpoint("staging")) as mount:
        client = next((mount.mountpoint / "clients").iterdir()).name
        staging = mount.mountpoint / "staging" / client
        staging.mkdir()
        paths = _every(mount.generation(client), files // CHANGED_COUNT)
        for repetition in range(context.repetitions):
            for path in paths[:CHANGED_COUNT]:
                with open(staging / path, "r+b") as file:
                    file.write(f"{repetition:08}".encode())
            os.sync()
            usage = process.run(reelfs.command("commit", client))
            context.journal.add("commit of few, elapsed", dataset, "", reelfs.name, repetition, usage.elapsed_s, "s")
    shutil.rmtree(reelfs.repository, ignore_errors=True)


def _every(tree, step):
    """Paths below `tree`, one of each `step` files."""
    paths, count = [], 0
    for parent, directories, names in os.walk(tree):
        directories.sort()
        for name in sorted(names):
            if count % step == 0:
                paths.append(os.path.relpath(os.path.join(parent, name), tree))
            count += 1
    return paths
