#!/usr/bin/env python3
"""Writes what a fuzz target begins with: seeds.py TARGET DIRECTORY.

From the fixtures wherever they have the format, so that the fuzzer starts inside of it; what has no fixture is
put together here.
"""

import hashlib
import pathlib
import re
import struct
import sys

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


def files(*patterns):
    return [path.read_bytes() for pattern in patterns for path in sorted(FIXTURES.glob(pattern))]


def replies(*words):
    """Replies of fixtures/scsi/replies.txt whose names begin with one of the words."""
    found = []
    for line in (FIXTURES / "scsi/replies.txt").read_text().splitlines():
        if line.startswith("#") or line.count("|") < 2:
            continue
        name, _, text = (part.strip() for part in line.split("|", 2))
        if any(name.startswith(word) for word in words):
            found.append(literal(text))
    return found


def literal(text):
    value = b""
    for string, byte, count in re.findall(r'"([^"]*)"|([0-9a-fA-F]{2})(?:\*(\d+))?', text):
        value += string.encode() if string else bytes([int(byte, 16)]) * int(count or 1)
    return value


def compressed():
    """The length of the prefix, that of the result in units of 4096 bytes, and a zstd frame."""
    found = [bytes([0, 1]) + bytes.fromhex("28b52ffd60000f03800061")]  # 4096 times the same byte
    for frame in files("format/v1/frame-*.bin"):
        stored_len, plain_len, chunk_count, base_count = struct.unpack_from("<4I", frame, 8)
        payload = frame[72 + 36 * chunk_count + 64 * base_count :][:stored_len]
        found.append(bytes([0, max(1, plain_len // 4096)]) + payload)
    return found


def fuse_messages():
    """Requests of the kernel (linux/fuse.h), with numbers that say something to most of them."""
    bodies = [b"name\0", b"name\0target\0", struct.pack("<4I", 0o644, 0, 0o22, 0) + b"name\0", bytes(120)]
    bodies.append(struct.pack("<QQIIQII", 1, 4096, 5, 0, 0, 0, 0) + b"bytes")
    bodies.append(struct.pack("<IIII", 5, 0, 0, 0) + b"user.a\0value")
    bodies.append(struct.pack("<IIII", 7, 45, 131072, 0xFFFFFFFF) + struct.pack("<I", 0xFFFFFFFF) + bytes(44))
    bodies.append(struct.pack("<II", 1, 0) + struct.pack("<QQ", 5, 1))
    found = []
    for opcode in range(1, 54):
        for body in bodies:
            header = struct.pack("<IIQQIIIHH", 40 + len(body), opcode, 7, 1, 1000, 100, 4321, 0, 0)
            found.append(header + body)
    return found


def tape_images():
    record = lambda data: struct.pack("<I", len(data)) + data + bytes(len(data) % 2) + struct.pack("<I", len(data))
    mark, end = bytes(4), b"\xff" * 4
    return [record(b"tape"), record(b"VOL1RL0001") + mark + record(b"odd") + mark + mark + end, mark, b""]


TEXTS = {
    "names": ["web1", "2026-11-21T04-00-00Z", "0173616d706c65207265706f20696401", "latest", "-2", "../x"],
    "address": ["web1", "web1@latest", "web1@-2:etc/hosts", "web1:/a//b/", "db-2@2026-11:caf\u00e9", "a:b@c:d"],
    "control_request": [
        '{"request":"status","client":null}',
        '{"request":"commit","client":"web1","message":"nightly","always":true,"now":false,"wait":true,"files":true}',
        '{"request":"preview","client":"web1"}',
        '{"request":"discard","client":"web1"}',
        '{"request":"stage","client":"web1","generation":"-2"}',
        '{"request":"wait","client":"web1"}',
    ],
    "exclusions": ["*.tmp\n/var/cache\nvar/cache/x", "**/a/[b-d]?\n!keep\\ \na/c", "# no\n\\#yes\n/*/x/\nq/x/y"],
    "iscsi_text": [
        "InitiatorName=iqn.2026-11.invalid:a\0TargetName=iqn.2026-11.invalid:b\0AuthMethod=CHAP,None\0",
        "CHAP_A=5\0CHAP_I=1\0CHAP_C=0x0123456789abcdef\0CHAP_N=user\0CHAP_R=0bAAEC\0",
        "iscsi://user%secret@[::1]:3260/iqn.2026-11.invalid:b/1",
    ],
    "config": [
        'version = 1\nid = "0173616d706c65207265706f20696401"\n[staging]\nsafe.quiet = "7s"\n'
        '[client.web1]\ncommit.when = "silence"\ncommit.every = "1d"\nsfp.percent = 5\n',
    ],
    "tape_sidecar": [
        '{"version":1,"barcode":"RL0001L8","serial":"VT29731F23RL0001L8","generation":"lto8","kind":"data",'
        '"write_protected":false,"capacity_bytes":67108864,"proportion":65535,"early_warning_bytes":4194304,'
        '"torn_tail":"end-of-data-not-found","has_memory":true,"change_reference":0,"load_count":0,'
        '"written_bytes":0,"read_bytes":0,"cleanings_left":0,"drives":[],"partitions":[{"capacity_bytes":67108864,'
        '"end":{"place":{"object":1,"filemarks":0,"offset":12},"file_len":16,"is_torn":false},"attributes":{},'
        '"marks":{"spacing_bytes":1048576,"places":[]}}]}'
    ],
}

LOGIN = bytes.fromhex("4387000000000000800000000001000000000001000000000000000100000000") + bytes(16)

SEEDS = {
    "attributes": lambda: replies("attributes", "volume coherency"),
    "bdf_file": lambda: files("repository/v1/*/sample/*.bdf"),
    "dtf_file": lambda: files("repository/v1/clients/sample/*.dtf"),
    "cartridge_archive": lambda: files("tape/v1/*-header.bin"),
    "cartridge_index": lambda: files("tape/v1/*.jsonl"),
    "cartridge_label": lambda: files("tape/v1/volume-label.bin", "tape/v1/volume.json"),
    "cartridge_memory": lambda: files("tape/v1/coherency.bin"),
    "compress": compressed,
    "config": lambda: files("format/v1/reelfs.toml"),
    "device_replies": lambda: replies(
        "standard", "serial", "device id", "sequential", "manufacturer", "block limits", "position", "supported",
        "registered", "reservation", "no reservation", "full status", "densities", "logical units",
    ),
    "element_status": lambda: replies("element status"),
    "fuse_request": fuse_messages,
    "iscsi_frame": lambda: [LOGIN, LOGIN + b"a=b\0", bytes.fromhex("01c1") + bytes(46)],
    "iscsi_target": lambda: [b"\0" + LOGIN, b"\1" + bytes.fromhex("01c1") + bytes(46), b"\1\x40\x80" + bytes(46)],
    "log_pages": lambda: replies("tape alert", "volume statistics", "tape capacity", "device status", "device stat"),
    "mode_pages": lambda: replies("mode parameters", "control data", "medium partition", "element address"),
    "pax_records": lambda: [record[512:] for record in files("tape/v1/*-header.bin")] + [b"11 path=ab\n12 size=123\n"],
    "sense": lambda: [
        literal("f0 00 20 00 00 03 e8 0a 00*4 00 00 00 00 00 00"),
        literal("70 00 03 00*4 0a 00*4 11 00 00 00 00 00"),
        literal("72 05 24 00 00 00 00 08 02 06 00 00 cf 00 02 00"),
        literal("73 00 00 00 00 00 00 0c 00 0a 80 00 00*8"),
    ],
    "staging_rows": lambda: [
        b"\1\0", b"\1\1\5", bytes.fromhex("01010201000505050000") + b"\1\4boot", bytes(64),
    ]
    + [b"\1" + record for record in files("format/v1/record-*.bin")],
    "tap_image": tape_images,
}


def seeds(target):
    found = files(f"fuzz/{target}/*", f"format/v1/{target.replace('_', '-')}*.bin")
    found += [text.encode() for text in TEXTS.get(target, [])]
    return found + (SEEDS[target]() if target in SEEDS else [])


def main():
    target, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    found = seeds(target)
    if not found:
        sys.exit(f"{target}: there is nothing to begin with")
    for seed in found:
        (directory / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
