"""The directory outside the repository where data sets, repositories and mounts of a run live."""

import os
import shutil
import subprocess
from pathlib import Path

LOOP_IMAGE_BYTES = 24 * 1024**3
TMPFS_BYTES = 3 * 1024**3


def default_root():
    """`$TMPDIR/reelfs-bench`, or `/tmp/reelfs-bench`."""
    return Path(os.environ.get("TMPDIR", "/tmp")) / "reelfs-bench"


def file_system_of(path):
    """The type of the file system that holds `path`."""
    command = ["findmnt", "-n", "-o", "FSTYPE", "-T", str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


class Workspace:
    """Paths of one run; makes directories and mounts when they are first asked for."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self.data = self._ext4_directory()
        self.downloads = self._made(self.root / "downloads")
        self.repositories = self.data / "repositories"
        self.mounts = self._made(self.root / "mounts")
        self.peer_state = self._made(self.root / "peer-state")
        self.venv = self.root / "venv"
        self._tmpfs = self.root / "tmpfs"

    def _ext4_directory(self):
        """The root itself on ext4, else a loop-mounted ext4 image: ext4 is what figures are compared with."""
        if file_system_of(self.root) == "ext4":
            return self.root
        image, mountpoint = self.root / "ext4.img", self._made(self.root / "ext4")
        if not os.path.ismount(mountpoint):
            if not image.exists():
                with open(image, "wb") as file:
                    file.truncate(LOOP_IMAGE_BYTES)
                subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
            subprocess.run(["mount", "-o", "loop", str(image), str(mountpoint)], check=True)
        return mountpoint

    @staticmethod
    def _made(directory):
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def fresh_repository(self, system_name):
        """An empty path for a repository of `system_name`; what was there is removed, with the system's caches."""
        path = self.repositories / system_name
        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.peer_state / system_name, ignore_errors=True)
        self._made(self.repositories)
        return path

    def state_directory(self, system_name):
        """Where a peer keeps its caches, so that neither `~/.cache` nor an earlier run has a part in a figure."""
        return self._made(self.peer_state / system_name)

    def empty_tmpfs(self):
        """An empty directory on a tmpfs, the target of copies.

        ext4 passes over recently freed inodes, so writing many files after removing many costs up to ten times as much.
        """
        if not os.path.ismount(self._made(self._tmpfs)):
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "reelfs-bench", str(self._tmpfs)], check=True
            )
        target = self._tmpfs / "target"
        shutil.rmtree(target, ignore_errors=True)
        return self._made(target)

    def mountpoint(self, name):
        """A directory to mount on."""
        return self._made(self.mounts / name)

    def close(self):
        """Unmounts the tmpfs; data sets, the loop image and peers stay for the next run."""
        if os.path.ismount(self._tmpfs):
            subprocess.run(["umount", str(self._tmpfs)], check=False)
