"""A reelfs repository as a mount: mounted, looked into, and always unmounted."""

import os
import time

from . import process

DAEMON_NAME = "mountd"


class Mounted:
    """A context manager: `reelfs mount` at its start, `reelfs umount` at its end."""

    def __init__(self, reelfs, mountpoint, address=None):
        self._reelfs, self.mountpoint, self._address = reelfs, mountpoint, address
        self.ready_s = None
        self._daemons = set()

    def __enter__(self):
        before = process.processes_named(DAEMON_NAME)
        words = ["mount", self.mountpoint] + ([self._address] if self._address else [])
        self.ready_s = process.run(self._reelfs.command(*words)).elapsed_s
        self._daemons = process.processes_named(DAEMON_NAME) - before
        if not self._daemons:
            # Else its memory would be measured as nothing, and every target be reached.
            process.run(self._reelfs.command("umount", self.mountpoint))
            raise process.CommandFailed(f"no process named {DAEMON_NAME} came with the mount")
        return self

    def __exit__(self, *_):
        try:
            process.run(self._reelfs.command("umount", self.mountpoint))
        except process.CommandFailed:
            process.run(["umount", "-l", str(self.mountpoint)])
        deadline = time.monotonic() + 10
        while process.processes_named(DAEMON_NAME) & self._daemons and time.monotonic() < deadline:
            time.sleep(0.02)

    def generation(self, client):
        """The newest generation of `client`, or the mountpoint itself where one generation is mounted."""
        if self._address:
            return self.mountpoint
        return self.mountpoint / "clients" / client / "latest"

    def rss_bytes(self):
        """Resident memory of the daemon, all its processes together."""
        return process.memory_bytes(self._daemons)

    def cpu_s(self):
        """CPU time of the daemon so far, all its processes together."""
        return process.cpu_s(self._daemons)

    def peak_rss_bytes(self):
        """The most resident memory the daemon ever had."""
        return process.memory_bytes(self._daemons, "VmHWM")


def unmount_stale(directory):
    """Unmounts what an interrupted run left below `directory`."""
    for mountpoint in directory.iterdir():
        if os.path.ismount(mountpoint) or not os.access(mountpoint, os.F_OK):
            process.output(["umount", "-l", str(mountpoint)])
