"""The programs that make backups: reelfs and its peers behind one interface."""

import os
import shutil
from pathlib import Path

from . import process

ZSTD_LEVEL = 3


class BackupSystem:
    """A program with a repository. `backup` measures one run of it; subclasses give the commands."""

    name = ""
    keeps_generations = True

    def __init__(self, workspace):
        self.workspace = workspace
        self.repository = None

    def version(self):
        """The program's own words on its version, or None where it is not installed."""
        raise NotImplementedError

    def environment(self):
        """Environment variables for every command."""
        return {}

    def init_commands(self):
        """Commands that make the repository."""
        return []

    def backup_command(self, source, label):
        """The command that backs `source` up as generation `label`."""
        raise NotImplementedError

    def start(self):
        """Makes a new, empty repository."""
        self.repository = self.workspace.fresh_repository(self.name)
        for command in self.init_commands():
            process.run(command, env=self.environment())

    def backup(self, source, label):
        """Takes one generation and measures it."""
        return process.run(self.backup_command(source, label), env=self.environment())

    def size_bytes(self):
        """What the repository takes."""
        return process.tree_bytes(self.repository)

    def finish(self):
        """Removes the repository."""
        shutil.rmtree(self.repository, ignore_errors=True)


class Reelfs(BackupSystem):
    """reelfs itself."""

    name = "reelfs"

    def __init__(self, workspace, program):
        super().__init__(workspace)
        self.program = str(program)

    def version(self):
        return process.output([self.program, "--version"])

    def directory(self):
        """Where the binary lies."""
        return Path(self.program).resolve().parent

    def command(self, *arguments):
        """A reelfs command on this repository."""
        return [self.program, "--repo", str(self.repository), *map(str, arguments)]

    def init_commands(self):
        return [self.command("init")]

    def backup_command(self, source, label):
        return self.command("backup", source, "--client", "bench")


class Restic(BackupSystem):
    """restic with its defaults; it always encrypts."""

    name = "restic"

    def version(self):
        return process.output(["restic", "version"])

    def environment(self):
        return {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(self.workspace.state_directory(self.name))}

    def _command(self, *arguments):
        return ["restic", "--quiet", "--compression", "auto", "--repo", str(self.repository), *arguments]

    def init_commands(self):
        return [self._command("init")]

    def backup_command(self, source, label):
        return self._command("backup", str(source))


class Borg(BackupSystem):
    """borg without encryption, zstd 3; the one of the work directory's venv before the one of Debian."""

    name = "borg"

    def _program(self):
        own = self.workspace.venv / "bin/borg"
        return str(own) if own.exists() else "borg"

    def version(self):
        return process.output([self._program(), "--version"])

    def environment(self):
        return {
            "BORG_BASE_DIR": str(self.workspace.state_directory(self.name)),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def init_commands(self):
        return [[self._program(), "init", "-e", "none", str(self.repository)]]

    def backup_command(self, source, label):
        compression = f"zstd,{ZSTD_LEVEL}"
        return [self._program(), "create", "--compression", compression, f"{self.repository}::{label}", str(source)]


class Rustic(BackupSystem):
    """rustic with its defaults, only where a binary is on PATH; it always encrypts."""

    name = "rustic"

    def version(self):
        return process.output(["rustic", "--version"])

    def environment(self):
        return {
            "RUSTIC_REPOSITORY": str(self.repository), "RUSTIC_PASSWORD": "bench", "RUSTIC_NO_PROGRESS": "true",
            "RUSTIC_CACHE_DIR": str(self.workspace.state_directory(self.name)),
        }

    def init_commands(self):
        return [["rustic", "init"]]

    def backup_command(self, source, label):
        return ["rustic", "backup", str(source)]


class TarZstd(BackupSystem):
    """`tar | zstd`, one archive per generation: what compression alone costs."""

    name = "tar-zstd"
    keeps_generations = False

    def version(self):
        return process.output(["zstd", "--version"])

    def start(self):
        super().start()
        self.repository.mkdir()

    def backup_command(self, source, label):
        archive = self.repository / f"{label}.tar.zst"
        pipe = 'set -o pipefail; tar -cf - -C "$1" . | zstd -q "-$2" -o "$3"'
        return ["bash", "-c", pipe, "bash", str(source), str(ZSTD_LEVEL), str(archive)]


def find_reelfs(program=None):
    """The reelfs binary: as given, else of `$CARGO_TARGET_DIR`, of `target/`, or on PATH; None where there is none."""
    if program:
        return Path(program)
    repository_root = Path(__file__).resolve().parents[2]
    for target in (os.environ.get("CARGO_TARGET_DIR"), repository_root / "target"):
        if target and (candidate := Path(target) / "release/reelfs").exists():
            return candidate
    found = shutil.which("reelfs")
    return Path(found) if found else None


def available(workspace, reelfs_program, journal):
    """The systems of this run; a remark for each one that is missing."""
    systems = [Reelfs(workspace, reelfs_program)] if reelfs_program else []
    if not reelfs_program:
        journal.remark("reelfs: no binary found, only peers and native are measured")
    systems += [kind(workspace) for kind in (Restic, Borg, Rustic, TarZstd)]
    for system in systems:
        if system.version() is None:
            journal.remark(f"{system.name}: not installed, skipped")
    return [system for system in systems if system.version() is not None]
