"""The data sets: D1 small files, D2 large files, D3 successive releases, D4 a large file changed in place.

All of it is real data: crate and package sources, headers, documentation, programs and shared libraries. Each set is made
once and kept below the work directory; `<set>.json` beside it says what went in.
"""

import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

from . import peers_install

KIB, MIB = 1024, 1024 * 1024

D1_FILES_MAX = 50_000
D1_BYTES_MAX = 400_000_000
D1_FILE_BYTES_MAX = 64 * KIB

D2_PROGRAM_BYTES = (50 * MIB, 220 * MIB)
D2_PROGRAMS_TOTAL_BYTES = 560_000_000
D2_DATABASE_BYTES = 300_000_000

D3_RELEASES = [(f"django==5.1.{i + 1}", f"botocore==1.35.{i}") for i in range(10)]

D4_BYTES = 1024 * MIB
D4_PAGE_BYTES = 8 * KIB
D4_CHANGED_SHARE = 0.01
D4_SEED = 4


def describe(directory):
    """Number of regular files and their bytes below `directory`."""
    files = size_bytes = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            status = os.lstat(os.path.join(parent, name))
            if stat.S_ISREG(status.st_mode):
                files += 1
                size_bytes += status.st_size
    return {"files": files, "bytes": size_bytes}


def _made_once(target, make):
    """Runs `make(temporary)` unless `target` is complete; a set becomes visible by a rename."""
    record = target.with_suffix(".json")
    if target.exists() and record.exists():
        return target
    temporary = target.with_name(target.name + ".part")
    for old in (temporary, target):
        shutil.rmtree(old, ignore_errors=True)
    temporary.mkdir(parents=True)
    parts = make(temporary)
    temporary.rename(target)
    record.write_text(json.dumps({**describe(target), "parts": parts}, indent=1) + "\n")
    return target


# --- D1 ---


def _small_files(source, excluded=()):
    """Regular files of at most 64 KiB below `source`, in path order, without crossing file systems."""
    device = os.lstat(source).st_dev
    for parent, directories, names in os.walk(source):
        directories[:] = sorted(
            d for d in directories
            if os.path.join(parent, d) not in excluded and os.lstat(os.path.join(parent, d)).st_dev == device
        )
        for name in sorted(names):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size <= D1_FILE_BYTES_MAX and os.access(path, os.R_OK):
                yield path, status.st_size


def small_files(workspace):
    """D1: about 50 000 small source files, headers and documents, at most 400 MB."""

    def make(target):
        release = successive_releases(workspace)[-1]
        crates = [("crates", path) for path in Path.home().glob(".cargo/registry/src/*")]
        sources = [*crates, ("releases", release), ("usr/include", Path("/usr/include")), ("usr/share", Path("/usr/share")),
                   ("usr/lib/python3", Path("/usr/lib/python3")), ("usr/share/man", Path("/usr/share/man"))]
        files = size_bytes = 0
        parts = {}
        for name, source in sources:
            # Manual pages are compressed already: they come last, only where there is too little else.
            excluded = () if source.name == "man" else ("/usr/share/man",)
            before = files
            for path, length_bytes in _small_files(source, excluded) if source.is_dir() else ():
                if files == D1_FILES_MAX or size_bytes + length_bytes > D1_BYTES_MAX:
                    break
                copy = target / name / os.path.relpath(path, source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
                files, size_bytes = files + 1, size_bytes + length_bytes
            parts[name] = parts.get(name, 0) + files - before
        return parts

    return _made_once(workspace.data / "D1", make)


# --- D2 ---


def _programs():
    """The largest programs and shared libraries of this machine, one per name without its version."""
    smallest, largest = D2_PROGRAM_BYTES
    roots = [str(p) for p in (Path.home() / ".rustup", Path("/usr"), Path("/opt")) if p.is_dir()]
    listing = subprocess.run(
        ["find", *roots, "-xdev", "-type", "f", "-size", f"+{smallest // MIB}M", "-printf", "%s %p\n"],
        capture_output=True, text=True, check=False,
    ).stdout
    found = sorted(((int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in listing.splitlines()), reverse=True)
    names, total_bytes = set(), 0
    for length_bytes, path in found:
        stem = Path(path).name.split(".")[0].split("-")[0]
        if length_bytes > largest or stem in names or total_bytes + length_bytes > D2_PROGRAMS_TOTAL_BYTES:
            continue
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        names.add(stem)
        total_bytes += length_bytes
        yield Path(path)


def _write_database(path, tree):
    """A SQLite database of the text lines of `tree`: real text in real database pages."""
    database = sqlite3.connect(path)
    database.executescript(
        "PRAGMA page_size=8192; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
        "CREATE TABLE line(file TEXT, number INTEGER, text TEXT);"
    )
    for file, _ in _small_files(tree):
        text = Path(file).read_bytes().decode("utf-8", "replace")
        name = os.path.relpath(file, tree)
        database.executemany("INSERT INTO line VALUES (?,?,?)", ((name, n, t) for n, t in enumerate(text.splitlines(), 1)))
        database.commit()
        if path.stat().st_size > D2_DATABASE_BYTES:
            break
    database.close()


def large_files(workspace):
    """D2: programs and shared libraries, an uncompressed tar archive and a database; about 1.2 GB."""

    def make(target):
        tree = small_files(workspace)
        parts = {}
        for program in _programs():
            shutil.copy2(program, target / program.name)
            parts[program.name] = str(program)
        subprocess.run(["tar", "--sort=name", "-cf", str(target / "sources.tar"), "-C", str(tree), "."], check=True)
        parts["sources.tar"] = "uncompressed tar archive of D1"
        _write_database(target / "lines.sqlite", successive_releases(workspace)[0])
        parts["lines.sqlite"] = "text lines of the first release of D3"
        return parts

    return _made_once(workspace.data / "D2", make)


def largest_file(directory):
    """The largest regular file of `directory`."""
    return max((p for p in Path(directory).iterdir() if p.is_file()), key=lambda p: p.stat().st_size)


# --- D3 ---


def successive_releases(workspace, count=len(D3_RELEASES)):
    """D3: `count` directories, each one release of Django and of botocore from PyPI, unpacked."""

    def make(target):
        for number, packages in enumerate(D3_RELEASES, 1):
            release = target / f"{number:02}"
            for package in packages:
                archive = peers_install.download_sdist(workspace, package)
                unpacked = release / package.split("==")[0]
                unpacked.mkdir(parents=True)
                subprocess.run(
                    ["tar", "-xzf", str(archive), "--strip-components=1", "--no-same-owner", "-C", str(unpacked)], check=True
                )
        return [" ".join(packages) for packages in D3_RELEASES]

    root = _made_once(workspace.data / "D3", make)
    return sorted(p for p in root.iterdir() if p.is_dir())[:count]


# --- D4 ---


class PagesFile:
    """D4: a 1 GiB file of real pages, and a change of 1 % of them by other real pages."""

    def __init__(self, workspace):
        self.directory = workspace.data / "D4"
        self.path = self.directory / "pages.bin"
        self.source = large_files(workspace)

    def write(self):
        """Writes the file in its first state."""
        self.directory.mkdir(exist_ok=True)
        with open(self.path, "wb") as target:
            for block in self._blocks():
                target.write(block)
            target.truncate(D4_BYTES)

    def _blocks(self):
        left = D4_BYTES
        for file in sorted(self.source.iterdir()):
            with open(file, "rb") as source:
                while left > 0 and (block := source.read(min(left, MIB))):
                    left -= len(block)
                    yield block

    def change(self):
        """Overwrites 1 % of the pages, scattered, each by 8 KiB from elsewhere in D2 at an odd offset; the bytes written."""
        chance = random.Random(D4_SEED)
        pages = D4_BYTES // D4_PAGE_BYTES
        chosen = chance.sample(range(pages), int(pages * D4_CHANGED_SHARE))
        with open(largest_file(self.source), "rb") as source, open(self.path, "r+b") as target:
            size_bytes = os.fstat(source.fileno()).st_size
            for page in sorted(chosen):
                # Fresh content: two halves of real data that are not neighbours anywhere else.
                halves = [os.pread(source.fileno(), D4_PAGE_BYTES // 2, chance.randrange(size_bytes - D4_PAGE_BYTES)) for _ in "ab"]
                os.pwrite(target.fileno(), b"".join(halves), page * D4_PAGE_BYTES)
        return len(chosen) * D4_PAGE_BYTES
