"""How fast the host can feed a tape drive: objects in memory, through the ring, into an emulated drive that takes no time."""

import re
import shutil

from .. import process

FEEDER = "bench-tape-feed"  # DIRECTORY MIB: writes an archive through the library, and prints the rate
FULL_MIB = 1024
QUICK_MIB = 512


def measure(context):
    """MB/s into a drive whose cartridge lies on a tmpfs; nothing to compare with, a drive's own rate is the bound."""
    program = _feeder(context)
    if program is None:
        context.journal.remark(f"tape-feed: {FEEDER} not found, skipped")
        return
    mebibytes = QUICK_MIB if context.quick else FULL_MIB
    for repetition in range(context.repetitions):
        directory = context.workspace.empty_tmpfs()
        answer = process.output([program, str(directory), str(mebibytes)])
        rate = re.search(r"(\d+) MB/s", answer)
        context.journal.add("tape feed", "memory", "", "reelfs", repetition, float(rate.group(1)), "MB/s")
        context.journal.remark(f"tape-feed: {answer.strip()}")
    context.workspace.empty_tmpfs()


def _feeder(context):
    """The helper: a cargo example beside reelfs, or on PATH."""
    if context.reelfs:
        release = context.reelfs.directory()
        for candidate in (release / "examples" / FEEDER, release / FEEDER):
            if candidate.exists():
                return str(candidate)
    return shutil.which(FEEDER)
