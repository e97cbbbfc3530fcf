"""Large files of D2 through the mount and from ext4: one pass in order, and reads at random places."""

import os
import subprocess
import sys
import time
from pathlib import Path

from .. import datasets, process
from .read_sides import Native, ReelfsMount, cold_and_warm, prepare_mount_repository

CLIENT = "large"
RANDOM_READS, RANDOM_SEED = 2_000, 7
PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def measure(context):
    """One archive and one program, native, reelfs and bare zstd in turn."""
    directory = datasets.large_files(context.workspace)
    archive = datasets.largest_file(directory)
    library = max((p for p in directory.iterdir() if p.suffix not in (".tar", ".sqlite")), key=lambda p: p.stat().st_size)
    sides = [Native(directory)]
    if context.reelfs:
        prepare_mount_repository(context, {CLIENT: directory})
        sides.append(ReelfsMount(context.reelfs, context.workspace.mountpoint("large"), CLIENT))
    for dataset, file in (("D2 archive", archive), ("D2 library", library)):
        pieces = _compressed_pieces(context, file)
        for repetition in range(context.repetitions):
            _decompress(context, dataset, file, pieces, repetition)
            for side in context.rotated(sides, repetition):
                _sequential(context, side, dataset, file, repetition)
            for side in context.rotated(sides, repetition):
                _random(context, side, dataset, file, repetition)
    if context.reelfs:
        context.reelfs.finish()


def _sequential(context, side, dataset, file, repetition):
    size_bytes = file.stat().st_size

    def once(tree, temperature):
        usage = process.run(["dd", f"if={tree}/{file.name}", "of=/dev/null", "bs=1M"])
        rate = size_bytes / 1e6 / usage.elapsed_s
        context.journal.add("sequential read", dataset, temperature, side.name, repetition, rate, "MB/s")

    cold_and_warm(context, side, once)


def _random(context, side, dataset, file, repetition):
    reader = [sys.executable, "-m", "reelbench.random_reader"]

    def once(tree, temperature):
        answer = process.output(
            [*reader, f"{tree}/{file.name}", str(RANDOM_READS), str(RANDOM_SEED + repetition)],
            env={"PYTHONPATH": str(PACKAGE_PARENT)},
        )
        if answer is None:
            raise process.CommandFailed(f"random reads of {tree}/{file.name}")
        rate, median_us, tail_us = map(float, answer.split())
        context.journal.add("random reads 4-64 KiB", dataset, temperature, side.name, repetition, rate, "reads/s")
        context.journal.add("- p50", dataset, temperature, side.name, repetition, median_us, "us")
        context.journal.add("- p99", dataset, temperature, side.name, repetition, tail_us, "us")

    cold_and_warm(context, side, once)


def _compressed_pieces(context, file):
    """The file cut into one zstd frame per core, in memory: what all cores can decompress at best."""
    directory = context.workspace.empty_tmpfs()
    cores = os.cpu_count() or 1
    process.run(f"split -n {cores} '{file}' '{directory}/piece.' && zstd -q -3 --rm '{directory}'/piece.*")
    return sorted(directory.iterdir())


def _decompress(context, dataset, file, pieces, repetition):
    began = time.monotonic()
    running = [subprocess.Popen(["zstd", "-q", "-dc", str(piece)], stdout=subprocess.DEVNULL) for piece in pieces]
    if any(process_.wait() != 0 for process_ in running):
        raise process.CommandFailed(f"zstd -d of the pieces of {file}")
    rate = file.stat().st_size / 1e6 / (time.monotonic() - began)
    context.journal.add("sequential read", dataset, "cold", "zstd -d", repetition, rate, "MB/s")
