"""Time until a mount is ready and memory of its daemon: with the data sets, and with a synthetic giant repository."""

import shutil

from .. import datasets, process
from ..mounted import Mounted
from .read_sides import prepare_mount_repository

SYNTHESIZE = "bench-synthesize"  # REPOSITORY GENERATIONS FILES: writes a repository through the library
FULL = {"generations": 1_000, "files": 1_000_000, "read_bytes": 10_000_000_000}
QUICK = {"generations": 20, "files": 20_000, "read_bytes": 1_000_000_000}


def measure(context):
    """Ready time and resident memory; nothing to compare with, the bounds are absolute."""
    if not context.reelfs:
        context.journal.remark("memory: needs reelfs, skipped")
        return
    scale = QUICK if context.quick else FULL
    _with_data_sets(context, scale)
    _with_synthetic(context, scale)


def _add(context, name, dataset, repetition, value, unit):
    context.journal.add(name, dataset, "", "reelfs", repetition, value, unit)


def _with_data_sets(context, scale):
    trees = {"small": datasets.small_files(context.workspace), "large": datasets.large_files(context.workspace)}
    large_bytes = datasets.describe(trees["large"])["bytes"]
    prepare_mount_repository(context, trees)
    for repetition in range(context.repetitions):
        process.drop_caches()
        with Mounted(context.reelfs, context.workspace.mountpoint("memory")) as mount:
            _add(context, "mount ready", "D1+D2", repetition, mount.ready_s, "s")
            _add(context, "mountd RSS, ready", "D1+D2", repetition, mount.rss_bytes(), "B")
            process.run(["find", f"{mount.mountpoint}/clients", "-type", "f", "-size", "+1"])
            _add(context, "mountd RSS, walked", "D1+D2", repetition, mount.rss_bytes(), "B")
            if repetition == 0:
                read_bytes = 0
                while read_bytes < scale["read_bytes"]:
                    process.drop_caches()
                    process.warm(f"{mount.generation('large')}/")
                    read_bytes += large_bytes
                name = f"mountd RSS, {scale['read_bytes'] // 10**9} GB read"
                _add(context, name, "D1+D2", repetition, mount.rss_bytes(), "B")
                _add(context, "mountd RSS, peak", "D1+D2", repetition, mount.peak_rss_bytes(), "B")
    context.reelfs.finish()


def synthesizer(context):
    """The helper that writes a giant repository: a cargo example beside reelfs, or on PATH."""
    release = context.reelfs.directory()
    for candidate in (release / "examples" / SYNTHESIZE, release / SYNTHESIZE):
        if candidate.exists():
            return str(candidate)
    return shutil.which(SYNTHESIZE)


def _with_synthetic(context, scale):
    program = synthesizer(context)
    if program is None:
        context.journal.remark(f"memory: {SYNTHESIZE} not found, the synthetic repository is skipped")
        return
    shape = f"{scale['generations']:,} generations of {scale['files']:,} files"
    # The targets are for the full size only, so a quick run has a name of its own.
    dataset = "synthetic, small" if context.quick else "synthetic"
    context.journal.remark(f"{dataset}: {shape}; walked = one whole generation")
    reelfs = context.reelfs
    reelfs.repository = context.workspace.fresh_repository(reelfs.name)
    process.run([program, str(reelfs.repository), str(scale["generations"]), str(scale["files"])])
    _add(context, "synthetic repository size", dataset, 0, reelfs.size_bytes(), "B")
    for repetition in range(context.repetitions):
        process.drop_caches()
        with Mounted(reelfs, context.workspace.mountpoint("memory")) as mount:
            _add(context, "mount ready", dataset, repetition, mount.ready_s, "s")
            _add(context, "mountd RSS, ready", dataset, repetition, mount.rss_bytes(), "B")
            client = next((mount.mountpoint / "clients").iterdir()).name
            process.run(["find", f"{mount.generation(client)}/", "-type", "f", "-size", "+1"])
            _add(context, "mountd RSS, walked", dataset, repetition, mount.rss_bytes(), "B")
    reelfs.finish()
