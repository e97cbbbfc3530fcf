"""What reelfs has to reach, figure by figure, and against whom."""

from dataclasses import dataclass

NATIVE = ("native",)
PEERS = ("restic", "borg", "rustic")
TAR = ("tar-zstd",)
USER_SPACE = ("bindfs", "fuse-overlayfs")
KERNEL_OVERLAY = ("overlayfs",)
BACKUP = ("reelfs backup",)
ANY = ""  # a measurement without cold and warm

MIB = 1024 * 1024


@dataclass(frozen=True)
class Target:
    """A bound on a figure of reelfs: on its ratio to the lowest of `references`, or on its value where there are none."""

    name: str
    dataset: str
    temperature: str
    references: tuple
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bound(self):
        """The bound, or None for a figure that is only shown."""
        return self.at_most if self.at_least is None else self.at_least

    def passed(self, figure):
        """Whether `figure`, a ratio or a value, is within the bound; None without a bound."""
        if self.bound is None:
            return None
        return figure <= self.at_most if self.at_least is None else figure >= self.at_least


_BACKUP_SETS = ("D1", "D2")
_LARGE_FILES = ("D2 archive", "D2 library")

TARGETS = [
    Target("cp -a", "D1", "cold", NATIVE, at_most=1.0),
    Target("cp -a", "D1", "warm", NATIVE, at_most=1.15),
    Target("find -type f", "D1", "cold", NATIVE, at_most=2.0),
    Target("find -type f", "D1", "warm", NATIVE, at_most=1.2),
    Target("ls -lR", "D1", "cold", NATIVE, at_most=1.5),
    Target("ls -lR", "D1", "warm", NATIVE, at_most=2.5),
    Target("cp -a, one generation", "D1", "cold", NATIVE, at_most=1.0),
    Target("cp -a, one generation", "D1", "warm", NATIVE, at_most=1.15),
    Target("ls -lR, one generation", "D1", "cold", NATIVE, at_most=1.0),
    Target("ls -lR, one generation", "D1", "warm", NATIVE, at_most=1.0),
    # The lower of ext4 and of what zstd decompresses on all cores.
    *(Target("sequential read", s, "cold", (*NATIVE, "zstd -d"), at_least=0.6) for s in _LARGE_FILES),
    *(Target("sequential read", s, "warm", NATIVE, at_least=1 / 3) for s in _LARGE_FILES),
    *(Target("random reads 4-64 KiB", s, "cold", NATIVE, at_least=1 / 3) for s in _LARGE_FILES),
    *(Target("random reads 4-64 KiB", s, "warm", NATIVE) for s in _LARGE_FILES),
    *(Target("first backup, CPU", s, ANY, PEERS, at_most=0.6) for s in _BACKUP_SETS),
    *(Target("first backup, CPU", s, ANY, TAR, at_most=1.3) for s in _BACKUP_SETS),
    *(Target("first backup, elapsed", s, ANY, PEERS) for s in _BACKUP_SETS),
    *(Target("first backup, peak RSS", s, ANY, PEERS) for s in _BACKUP_SETS),
    Target("repository size", "D1", ANY, PEERS, at_most=0.8),
    Target("repository size", "D2", ANY, PEERS, at_most=1.0),
    *(Target("no change, elapsed", s, ANY, PEERS, at_most=0.3) for s in _BACKUP_SETS),
    *(Target("no change, CPU", s, ANY, PEERS) for s in _BACKUP_SETS),
    Target("ten releases, size", "D3", ANY, PEERS, at_most=0.6),
    Target("ten releases, CPU", "D3", ANY, PEERS),
    Target("ten releases, elapsed", "D3", ANY, PEERS),
    Target("1 % of pages changed, growth", "D4", ANY, PEERS),
    Target("1 % of pages changed, elapsed", "D4", ANY, PEERS),
    *(Target(name, "20 000 files", ANY, USER_SPACE, at_most=0.8) for name in ("cp -a", "tar -x", "rsync -a")),
    *(Target(name, "20 000 files", ANY, NATIVE) for name in ("cp -a", "tar -x", "rsync -a")),
    *(Target(name, "20 000 files", ANY, KERNEL_OVERLAY) for name in ("cp -a", "tar -x", "rsync -a")),
    Target("rsync -a, nothing changed", "20 000 files", ANY, NATIVE, at_most=1.3),
    Target("write, rate", "1 GiB", ANY, NATIVE, at_least=0.9),
    Target("cp, rate", "1 GiB", ANY, NATIVE, at_least=0.9),
    Target("commit, elapsed", "D1", ANY, BACKUP, at_most=1.0),
    Target("commit, CPU", "D1", ANY, BACKUP, at_most=1.0),
    Target("mountd RSS, peak after the commit", "D1", ANY, (), at_most=128 * MIB),
    Target("commit of few, elapsed", "100 of 1 000 000 files", ANY, (), at_most=1.0),
    # What an LTO-9 drive writes.
    Target("tape feed", "memory", ANY, (), at_least=400.0),
    Target("mount ready", "synthetic", ANY, (), at_most=0.2),
    Target("mountd RSS, ready", "synthetic", ANY, (), at_most=64 * MIB),
    Target("mountd RSS, walked", "synthetic", ANY, (), at_most=128 * MIB),
    Target("mount ready", "D1+D2", ANY, (), at_most=0.2),
    Target("mountd RSS, ready", "D1+D2", ANY, (), at_most=64 * MIB),
    Target("mountd RSS, walked", "D1+D2", ANY, (), at_most=128 * MIB),
    Target("mountd RSS, 10 GB read", "D1+D2", ANY, (), at_most=128 * MIB),
]
