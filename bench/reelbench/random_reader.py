"""Reads a file at random places: `python3 -m reelbench.random_reader FILE COUNT SEED` prints reads/s, p50 and p99 in us."""

import os
import random
import sys
import time

PAGE_BYTES = 4096
LENGTH_PAGES = (1, 16)


def main(path, count, seed):
    """Reads `count` times 4 to 64 KiB, one after the other."""
    chance = random.Random(seed)
    file = os.open(path, os.O_RDONLY)
    pages = os.fstat(file).st_size // PAGE_BYTES - LENGTH_PAGES[1]
    places = [(chance.randrange(pages) * PAGE_BYTES, chance.randint(*LENGTH_PAGES) * PAGE_BYTES) for _ in range(count)]
    times_us = []
    began = time.perf_counter()
    for offset, length in places:
        start = time.perf_counter()
        if len(os.pread(file, length, offset)) != length:
            sys.exit(f"{path}: short read at {offset}")
        times_us.append((time.perf_counter() - start) * 1e6)
    elapsed_s = time.perf_counter() - began
    times_us.sort()
    print(count / elapsed_s, times_us[count // 2], times_us[count * 99 // 100])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
