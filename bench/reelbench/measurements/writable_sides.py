"""Writable trees to compare: ext4, staging, and other file systems in user space over ext4."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from .. import process
from ..mounted import Mounted


class NativeTarget:
    """A directory on ext4."""

    name = "native"

    def __init__(self, directory):
        self._directory = directory

    @contextmanager
    def target(self):
        """An empty directory to write into."""
        yield _fresh(self._directory)

    def request_count(self):
        """Requests served so far, or None."""
        return None


class _Mounting:
    """A file system that is mounted with a command, over ext4."""

    def __init__(self, directory, mountpoint):
        self._directory, self._mountpoint = directory, mountpoint

    def _command(self, below):
        raise NotImplementedError

    @contextmanager
    def target(self):
        """An empty directory to write into."""
        process.run(self._command(_fresh(self._directory)))
        try:
            inside = self._mountpoint / "tree"
            inside.mkdir()
            yield inside
        finally:
            process.run(["umount", str(self._mountpoint)])

    def request_count(self):
        """Requests served so far, or None."""
        return None


class Bindfs(_Mounting):
    """bindfs: each request is passed on to the directory below."""

    name = "bindfs"

    def _command(self, below):
        return ["bindfs", str(below), str(self._mountpoint)]


class FuseOverlayfs(_Mounting):
    """fuse-overlayfs over an empty lower directory."""

    name = "fuse-overlayfs"

    def _command(self, below):
        return ["fuse-overlayfs", "-o", _overlay_options(below, _made(below / "lower")), str(self._mountpoint)]


class KernelOverlay(_Mounting):
    """The kernel's overlayfs over a read-only mount of reelfs: a yardstick."""

    name = "overlayfs"

    def __init__(self, directory, mountpoint, lower):
        super().__init__(directory, mountpoint)
        self._lower = lower

    def _command(self, below):
        options = _overlay_options(below, self._lower) + ",redirect_dir=on"
        return ["mount", "-t", "overlay", "overlay", "-o", options, str(self._mountpoint)]


class Staging:
    """A client of its own in staging."""

    name = "reelfs"

    def __init__(self, mount):
        self._mount, self._count = mount, 0

    @contextmanager
    def target(self):
        """An empty directory to write into."""
        self._count += 1
        client = self._mount.mountpoint / "staging" / f"bench{self._count}"
        client.mkdir()
        inside = client / "tree"
        inside.mkdir()
        yield inside

    def request_count(self):
        """Requests that the daemon has served so far, by kind."""
        status = (self._mount.mountpoint / ".reelfs" / "status").read_text()
        return json.loads(status)["staging_requests"]


def _made(directory):
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _fresh(directory):
    """A directory that was never used: ext4 is slow where much was removed lately."""
    count = sum(1 for _ in _made(directory).iterdir())
    return _made(directory / str(count))


def _overlay_options(below, lower):
    upper, work = _made(below / "upper"), _made(below / "work")
    return f"lowerdir={lower},upperdir={upper},workdir={work}"


@contextmanager
def writable_sides(context):
    """All sides that this machine has; what they wrote is removed at the end."""
    space = context.workspace
    root = Path(space.data) / "writes"
    shutil.rmtree(root, ignore_errors=True)
    sides = [NativeTarget(root / "native")]
    for kind in (Bindfs, FuseOverlayfs):
        if shutil.which(kind.name):
            sides.append(kind(root / kind.name, space.mountpoint(kind.name)))
        else:
            context.journal.remark(f"{kind.name} is not installed")
    try:
        if not context.reelfs:
            yield sides
            return
        context.reelfs.start()
        with Mounted(context.reelfs, space.mountpoint("staging")) as mount:
            lower = mount.mountpoint / "clients"
            sides.append(KernelOverlay(root / "overlayfs", space.mountpoint("overlayfs"), lower))
            sides.append(Staging(mount))
            yield sides
        context.reelfs.finish()
    finally:
        shutil.rmtree(root, ignore_errors=True)
        os.sync()
