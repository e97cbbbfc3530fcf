"""`bench/run`: what it is asked, and the run itself."""

import argparse
import os
import sys
import time
from pathlib import Path

from . import backup_systems, environment, measurements, mounted, peers_install, process, report, samples, workspace
from .context import Context

QUICK_REPETITIONS, FULL_REPETITIONS = 2, 5


def _arguments(words):
    names = list(measurements.ALL)
    parser = argparse.ArgumentParser(
        prog="bench/run", description="Measures reelfs against native ext4 and other backup programs.",
        epilog="Needs root, to drop caches and to mount. See bench/README.md.",
    )
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer data sets, 2 repetitions")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="one measurement of: " + ", ".join(names))
    parser.add_argument("--repetitions", type=int, metavar="N", help=f"default {FULL_REPETITIONS}, with --quick {QUICK_REPETITIONS}")
    parser.add_argument("--work", type=Path, default=workspace.default_root(), metavar="DIR",
                        help="data sets, peers and repositories (default: $TMPDIR/reelfs-bench)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go (default: WORK/results/TIME)")
    parser.add_argument("--reelfs", type=Path, metavar="PROGRAM", help="the binary (default: of the build, else on PATH)")
    parser.add_argument("--no-install", action="store_true", help="take the peers that are there, install none")
    return parser.parse_args(words)


def _context(arguments, journal, space):
    if not arguments.no_install:
        peers_install.ensure_peers(space)
    systems = backup_systems.available(space, backup_systems.find_reelfs(arguments.reelfs), journal)
    repetitions = arguments.repetitions or (QUICK_REPETITIONS if arguments.quick else FULL_REPETITIONS)
    return Context(space, journal, systems, repetitions, arguments.quick)


def _run_one(name, measure, context):
    """Runs one measurement; a failure is a remark, and the others still run."""
    print(f"{name}:", file=sys.stderr)
    try:
        measure(context)
    except (process.CommandFailed, OSError) as error:
        context.journal.remark(f"{name}: stopped: {error}")


def main(words):
    """The exit code: 0, or 1 when a measurement broke off. A missed target is a result, not a failure."""
    arguments = _arguments(words)
    if os.geteuid() != 0:
        sys.exit("bench/run: needs root, to drop caches and to mount")
    space = workspace.Workspace(arguments.work)
    mounted.unmount_stale(space.mounts)
    output = arguments.output or space.root / "results" / time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    output.mkdir(parents=True, exist_ok=True)
    journal = samples.Journal(output / "samples.jsonl")
    context = _context(arguments, journal, space)
    described = environment.describe(context)
    chosen = arguments.only or (measurements.QUICK if arguments.quick else list(measurements.ALL))
    try:
        for name in chosen:
            _run_one(name, measurements.ALL[name], context)
            report.write(output, described, journal)
    finally:
        described["1-minute load at end"] = f"{os.getloadavg()[0]:.2f}"
        report.write(output, described, journal)
        journal.close()
        space.close()
    print((output / "results.md").read_text())
    print(f"written to {output}", file=sys.stderr)
    return 1 if any(": stopped: " in remark for remark in journal.remarks) else 0
