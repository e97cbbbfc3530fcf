"""Where a run took place: without it no figure can be compared with another."""

import os
import platform
import re
from pathlib import Path

from . import process
from .workspace import file_system_of


def describe(context):
    """Machine, versions and settings, in words."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    found = {
        "date": process.output(["date", "-u", "+%Y-%m-%d %H:%M"]),
        "kernel": f"{platform.release()} {platform.machine()}",
        "processor": f"{os.cpu_count()} x {cpu.group(1) if cpu else platform.processor()}",
        "memory": f"{int(memory.group(1)) / 1024**2:.1f} GiB" if memory else "unknown",
        "data on": file_system_of(context.workspace.data),
        "1-minute load at start": f"{os.getloadavg()[0]:.2f}",
        "repetitions": context.repetitions,
    }
    for system in context.systems:
        found[system.name] = system.version().splitlines()[0].strip("* ")
    return found
