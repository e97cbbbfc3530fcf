"""The two sides of a read measurement: the native tree on ext4 and the same tree in a reelfs mount."""

import sys
from contextlib import contextmanager

from .. import process
from ..mounted import Mounted

PROGRAMS = ("cp", "find", "ls", "dd", sys.executable)


class Native:
    """The data set where it lies on ext4."""

    name = "native"

    def __init__(self, tree):
        self._tree = tree

    @contextmanager
    def tree(self):
        """The directory to read."""
        yield self._tree


class ReelfsMount:
    """The newest generation of a client in a mount of its own, fresh each time: nothing in the daemon's memory is warm."""

    name = "reelfs"

    def __init__(self, reelfs, mountpoint, client, one_generation=False):
        self._reelfs, self._mountpoint, self._client = reelfs, mountpoint, client
        self._address = f"{client}@latest" if one_generation else None

    @contextmanager
    def tree(self):
        """The directory to read."""
        with Mounted(self._reelfs, self._mountpoint, self._address) as mount:
            yield mount.generation(self._client)


def prepare_mount_repository(context, trees):
    """A reelfs repository with one client per item of `trees` (client -> directory)."""
    context.reelfs.start()
    for client, tree in trees.items():
        process.run(context.reelfs.command("backup", tree, "--client", client))


def cold_and_warm(context, side, once):
    """Runs `once(tree, temperature)` with dropped caches, then again with what the first run left in them."""
    with side.tree() as tree:
        process.drop_caches()
        for program in PROGRAMS:  # the programs themselves are not what is measured cold
            process.run([program, "--version"])
        once(tree, "cold")
        once(tree, "warm")
