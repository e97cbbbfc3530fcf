"""Runs commands and measures time, CPU time and memory; drops caches."""

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


class CommandFailed(Exception):
    """A measured command ended badly; the message has its words."""


@dataclass
class Usage:
    """What a command and the children it waited for used."""

    elapsed_s: float
    cpu_s: float
    peak_rss_bytes: int


def run(command, env=None, cwd=None):
    """Runs `command` (a list, or a string for the shell) to its end and measures it; standard output is discarded."""
    began = time.monotonic()
    with subprocess.Popen(
        command, shell=isinstance(command, str), cwd=cwd, env={**os.environ, "LC_ALL": "C", **(env or {})},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:
        said = process.stderr.read()  # to its end, so that the command never blocks on a full pipe
        _, status, usage = os.wait4(process.pid, 0)
        elapsed_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        words = said.decode("utf-8", "replace").strip()[-500:]
        raise CommandFailed(f"{command}: exit {process.returncode}: {words}")
    return Usage(elapsed_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def output(command, env=None):
    """What `command` prints on standard output, or None when it cannot be run."""
    try:
        done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def drop_caches():
    """Writes out dirty pages, then empties page cache, dentries and inodes of the whole machine."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def warm(tree):
    """Reads every file below `tree` once."""
    # Not `tar -cf /dev/null`: tar knows /dev/null and reads nothing.
    run(f"tar -cf - -C '{tree}' . | cat >/dev/null")


def tree_bytes(directory):
    """The sum of the sizes of all regular files below `directory`: what a repository takes."""
    total_bytes = 0
    for parent, _, names in os.walk(directory):
        total_bytes += sum(os.lstat(os.path.join(parent, name)).st_size for name in names)
    return total_bytes


def processes_named(part):
    """Ids of the processes with `part` in their short name."""
    ids = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if part in (entry / "comm").read_text():
                    ids.add(int(entry.name))
            except OSError:  # ended meanwhile
                continue
    return ids


def memory_bytes(ids, field="VmRSS"):
    """The sum of `field` of /proc/PID/status (VmRSS now, VmHWM at most) over the processes `ids`."""
    total_bytes = 0
    for process in ids:
        try:
            text = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        if found := re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE):
            total_bytes += int(found.group(1)) * 1024
    return total_bytes


def cpu_s(ids):
    """The CPU time so far of the processes `ids`, in user and kernel."""
    ticks = 0
    for process in ids:
        try:
            text = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            continue
        # The name may hold anything; fields 14 and 15 of proc(5) are the 12th and 13th behind it.
        fields = text.rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
