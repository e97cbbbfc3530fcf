"""What the unit of compression decides: zstd over D1 and D2 in frames of different sizes."""

import argparse
import hashlib
import os
import random
import sys
import time
from pathlib import Path

from . import datasets, peers_install, workspace

KIB = 1024
LEVEL = 3
SMALL_FRAMES_KIB = (64, 128, 256, 512, 1024, 4096)
LARGE_FRAMES_KIB = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
LARGE_SAMPLE_BYTES = 64 * KIB * KIB
TIMED_FRAMES = 400


def _frames_of_files(tree, frame_bytes):
    """The files of `tree` in path order, joined until a frame is full; each file its own frame for 0.

    A content that was there before is left out, as deduplication does.
    """
    frame, length_bytes, seen = [], 0, set()
    for parent, directories, names in os.walk(tree):
        directories.sort()
        for name in sorted(names):
            content = Path(parent, name).read_bytes()
            fingerprint = hashlib.blake2b(content, digest_size=16).digest()
            if fingerprint in seen:
                continue
            seen.add(fingerprint)
            if frame and length_bytes + len(content) > frame_bytes:
                yield b"".join(frame)
                frame, length_bytes = [], 0
            frame.append(content)
            length_bytes += len(content)
    if frame:
        yield b"".join(frame)


def _frames_of_large(directory, frame_bytes):
    """64 MiB from the middle of each file, cut at fixed offsets."""
    for file in sorted(p for p in directory.iterdir() if p.is_file()):
        with open(file, "rb") as source:
            start = max(0, (file.stat().st_size - LARGE_SAMPLE_BYTES) // 2)
            source.seek(start)
            left = LARGE_SAMPLE_BYTES
            while left > 0 and (frame := source.read(min(left, frame_bytes))):
                left -= len(frame)
                yield frame


def _measure(frames):
    """Ratio, stored bytes, compression speed in MB/s and microseconds to decompress one frame, in CPU time of this thread."""
    import zstandard  # only in the virtual environment of the work directory

    compressor, decompressor = zstandard.ZstdCompressor(level=LEVEL), zstandard.ZstdDecompressor()
    chance = random.Random(1)
    plain_bytes = stored_bytes = count = 0
    spent_s = 0.0
    kept = []
    for frame in frames:
        began = time.thread_time()
        stored = compressor.compress(frame)
        spent_s += time.thread_time() - began
        plain_bytes, stored_bytes, count = plain_bytes + len(frame), stored_bytes + len(stored), count + 1
        if len(kept) < TIMED_FRAMES:
            kept.append(stored)
        elif (place := chance.randrange(count)) < TIMED_FRAMES:
            kept[place] = stored
    began = time.thread_time()
    for stored in kept:
        decompressor.decompress(stored)
    one_us = (time.thread_time() - began) / len(kept) * 1e6
    return plain_bytes / stored_bytes, stored_bytes, plain_bytes / 1e6 / spent_s, one_us


def _row(label, frames):
    ratio, stored_bytes, speed, one_us = _measure(frames)
    print(f"| {label} | {ratio:.2f} | {stored_bytes / 1e6:.1f} | {speed:.0f} | {one_us:,.0f} |", flush=True)


def _heading(text):
    print(f"\n{text}\n\n| frame | ratio | stored MB | compress MB/s | decompress one frame, us |\n| --- | ---: | ---: | ---: | ---: |")


def main(words):
    """Prints both tables as Markdown."""
    parser = argparse.ArgumentParser(prog="bench/chunk-sizes", description="zstd -3 over D1 and D2 in frames of different sizes.")
    parser.add_argument("--work", type=Path, default=workspace.default_root(), metavar="DIR")
    space = workspace.Workspace(parser.parse_args(words).work)
    _ensure_zstandard(space)
    small, large = datasets.small_files(space), datasets.large_files(space)
    about = datasets.describe(small)
    _heading(f"D1, {about['files']:,} small files ({about['bytes'] / 1e6:.0f} MB), each content once, packed in path order, zstd -{LEVEL}, one core")
    _row("each file alone", _frames_of_files(small, 0))
    for size in SMALL_FRAMES_KIB:
        _row(f"{size} KiB", _frames_of_files(small, size * KIB))
    _heading(f"D2, 64 MiB from each of the large files, cut at fixed offsets, zstd -{LEVEL}, one core")
    for size in LARGE_FRAMES_KIB:
        _row(f"{size} KiB", _frames_of_large(large, size * KIB))
    return 0


def _ensure_zstandard(space):
    """Goes on in the virtual environment where this Python has no zstandard."""
    try:
        import zstandard  # noqa: F401  (only looks whether it is there)
    except ImportError:
        python = str(peers_install.ensure_zstandard(space))
        if Path(sys.prefix).resolve() == space.venv.resolve():
            sys.exit("bench/chunk-sizes: cannot install the Python module zstandard")
        os.execv(python, [python, *sys.argv])
