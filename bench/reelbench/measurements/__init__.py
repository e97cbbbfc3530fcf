"""The measurements by name, in the order of a full run; each is a function of a `Context`."""

from . import (
    commits,
    first_backup,
    in_place,
    memory,
    reads_large,
    reads_small,
    releases,
    staging_writes,
    tape_feed,
)

ALL = {
    "reads-small": reads_small.measure,
    "reads-large": reads_large.measure,
    "first-backup": first_backup.measure,
    "releases": releases.measure,
    "in-place": in_place.measure,
    "staging-writes": staging_writes.measure,
    "commits": commits.measure,
    "memory": memory.measure,
    "tape-feed": tape_feed.measure,
}

QUICK = ("reads-small", "reads-large", "first-backup", "staging-writes", "commits", "memory", "tape-feed")
