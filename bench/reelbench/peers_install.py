"""Installs what a run needs: the peers, zstd, and Python modules in a virtual environment of the work directory."""

import os
import re
import shutil
import subprocess
import sys

DEBIAN_PACKAGES = {"restic": "restic", "zstd": "zstd", "rsync": "rsync", "bindfs": "bindfs", "fuse-overlayfs": "fuse-overlayfs"}
BORG_BUILD_PACKAGES = ["libacl1-dev", "libssl-dev", "liblz4-dev", "libzstd-dev", "libxxhash-dev", "pkg-config", "build-essential"]


def _attempt(command):
    """Whether `command` ended well; what it said goes to standard error."""
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def _apt_install(packages):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    return _attempt(["apt-get", "install", "-y", "-qq", "-o", "DPkg::Lock::Timeout=120", *packages])


def _pip(workspace, *arguments):
    return _attempt([str(workspace.venv / "bin/python"), "-m", "pip", "-q", *arguments])


def ensure_venv(workspace):
    """The virtual environment, made when missing; its Python."""
    python = workspace.venv / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(workspace.venv)], check=True)
        _pip(workspace, "install", "setuptools", "wheel")
    return python


def ensure_zstandard(workspace):
    """A Python that can `import zstandard`."""
    python = ensure_venv(workspace)
    if subprocess.run([str(python), "-c", "import zstandard"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        _pip(workspace, "install", "zstandard")
    return python


def ensure_peers(workspace):
    """Installs restic, zstd and borg where missing and allowed; what cannot be installed is left out of the run."""
    missing = [package for program, package in DEBIAN_PACKAGES.items() if not shutil.which(program)]
    if missing:
        _apt_install(missing)
    ensure_venv(workspace)
    if not (workspace.venv / "bin/borg").exists():
        # PyPI may have no wheel for this machine; the source needs headers.
        if not _pip(workspace, "install", "--only-binary", ":all:", "borgbackup"):
            _apt_install(BORG_BUILD_PACKAGES)
            if not _pip(workspace, "install", "borgbackup") and not shutil.which("borg"):
                _apt_install(["borgbackup"])


def download_sdist(workspace, package):
    """The source archive of `name==version`, from PyPI, kept in the work directory."""
    name, version = package.split("==")
    wanted = re.compile(rf"{re.escape(name)}-{re.escape(version)}\.tar\.gz", re.IGNORECASE)
    for _ in range(2):
        for file in workspace.downloads.iterdir():
            if wanted.fullmatch(file.name):
                return file
        ensure_venv(workspace)
        _pip(workspace, "download", "--no-binary", ":all:", "--no-deps", "--no-build-isolation",
             "-d", str(workspace.downloads), package)
    raise FileNotFoundError(f"source archive of {package} in {workspace.downloads}")
