#!/usr/bin/env python3
"""Lists, extracts and checks generations from DTFs and BDFs alone.

A second implementation of the formats of bdf(5) and dtf(5), which shares no code with reelfs: it is what
is left to read a repository with when there is no reelfs. Needs Python 3.9 and `zstandard`.

    reelfs_reader.py list REPO CLIENT[@GENERATION] [PATH]
    reelfs_reader.py extract REPO CLIENT[@GENERATION] TARGET [PATH]
    reelfs_reader.py check REPO

GENERATION is a generation's name, a prefix of it, `latest`, or `-2` for the one before the latest.

Exit status: 0 done; 1 failed; 2 usage; 3 done, but for what was named; 12 the repository is damaged.
"""

import argparse
import collections
import errno
import functools
import itertools
import os
import re
import stat
import struct
import sys
import time
import zlib

try:
    import zstandard
except ImportError:
    sys.exit("reelfs_reader: the Python module `zstandard` is missing")

VERSION = 1
NAME_LEN_MAX, SYMLINK_LEN_MAX, XATTR_LEN_MAX = 255, 4096, 8 << 20
FRAME_LEN_MAX, FRAME_CACHE_BYTES, PAGE_CACHE_COUNT = 16 << 20, 128 << 20, 512
FRAME_HEADER, CHUNK, BASE = 72, struct.Struct("<I32s"), struct.Struct("<32s16sQII")
PAGE_HEADER, SEAL = 64, 64
DIRECTORY_TREE, EXTENT_TREE = 1, 2
AREAS = {1: "full", 2: "delta", 3: "merge"}
DIRECTORY, REGULAR, SYMLINK, CHARACTER, BLOCK, FIFO, SOCKET = range(1, 8)
TYPE_BITS = {
    DIRECTORY: stat.S_IFDIR, REGULAR: stat.S_IFREG, SYMLINK: stat.S_IFLNK, CHARACTER: stat.S_IFCHR,
    BLOCK: stat.S_IFBLK, FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK,
}

Extent = collections.namedtuple("Extent", "offset len skip chunk")
Chunk = collections.namedtuple("Chunk", "fingerprint len file frame start")
PageRef = collections.namedtuple("PageRef", "ordinal offset stored_len")


class Damage(Exception):
    """Bytes are not what the format says."""


class Usage(Exception):
    """What was asked for does not exist."""


def check(condition, message):
    if not condition:
        raise Damage(message)


def crc32(*parts):
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def shown(name):
    """A name for a terminal: controls, invalid UTF-8 and backslashes are escaped."""
    text = name.replace(b"\\", b"\\\\").decode("utf-8", "surrogateescape")
    escaped = (c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))
               for c in text)
    return "".join(escaped)


def blake3_in_python(data):
    """BLAKE3-256, after the paper's section 2; about a thousand times slower than a compiled one."""
    iv = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
    permutation = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
    quarters = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
    chunk_start, chunk_end, parent, root, mask = 1, 2, 4, 8, 0xFFFFFFFF

    def compress(value, block, counter, length, flags):
        m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
        v = list(value) + list(iv[:4]) + [counter & mask, counter >> 32, length, flags]
        for _ in range(7):
            for index, (a, b, c, d) in enumerate(quarters):
                for word, high, low in ((m[2 * index], 16, 12), (m[2 * index + 1], 8, 7)):
                    v[a] = (v[a] + v[b] + word) & mask
                    x = v[d] ^ v[a]
                    v[d] = (x >> high | x << (32 - high)) & mask
                    v[c] = (v[c] + v[d]) & mask
                    x = v[b] ^ v[c]
                    v[b] = (x >> low | x << (32 - low)) & mask
            m = [m[index] for index in permutation]
        return tuple(v[i] ^ v[i + 8] for i in range(8))

    def chunk_value(start, length, is_root):
        value, offset = iv, 0
        while True:
            block = data[start + offset:start + min(offset + 64, length)]
            last = offset + 64 >= length
            flags = (0 if offset else chunk_start) | ((chunk_end | is_root) if last else 0)
            value = compress(value, block, start >> 10, len(block), flags)
            if last:
                return value
            offset += 64

    def tree_value(start, length, is_root):
        if length <= 1024:
            return chunk_value(start, length, is_root)
        left = 1024 << ((length - 1) // 1024).bit_length() - 1
        both = tree_value(start, left, 0) + tree_value(start + left, length - left, 0)
        return compress(iv, struct.pack("<16I", *both), 0, 64, parent | is_root)

    return struct.pack("<8I", *tree_value(0, len(data), root))


def fingerprint_function(slow):
    """The function that computes fingerprints, or None."""
    try:
        import blake3
        return lambda data: blake3.blake3(data).digest()
    except ImportError:
        return blake3_in_python if slow else None


class Cursor:
    """Takes values from bytes, one after the other."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, length):
        check(self.at + length <= len(self.data), f"{length} bytes at byte {self.at}: too short")
        self.at += length
        return bytes(self.data[self.at - length:self.at])

    def u8(self):
        return self.take(1)[0]

    def varint(self, value_max=(1 << 64) - 1):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                check(value <= value_max, f"number before byte {self.at}: out of range")
                return value
        raise Damage(f"number before byte {self.at}: too long")

    def signed(self):
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def prefixed(self, length_max):
        return self.take(self.varint(length_max))

    def finish(self):
        check(self.at == len(self.data), f"{len(self.data) - self.at} bytes too many")


def decompress(codec, stored, plain_len, prefix=b""):
    """Decodes a payload of known length."""
    if codec == 0:
        plain = stored
    elif codec == 1:
        try:
            size = zstandard.get_frame_parameters(stored).content_size
            known = size not in (zstandard.CONTENTSIZE_UNKNOWN, plain_len)
            check(not known, "compressed data has another length")
            dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            context = zstandard.ZstdDecompressor(dict_data=dictionary if prefix else None)
            plain = context.decompress(stored, max_output_size=plain_len)
        except zstandard.ZstdError as error:
            raise Damage(f"cannot decompress: {error}") from error
    else:
        raise Damage(f"unknown codec {codec}")
    check(len(plain) == plain_len, f"payload is {len(plain)} bytes long, not {plain_len}")
    return plain


class SealedFile:
    """What BDF and DTF have in common: a header, a footer and a seal."""

    def __init__(self, path, magic, header_len, footer_magic):
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        size = os.fstat(self.descriptor).st_size
        header = self.read(0, header_len)
        check(header[:8] == magic, "no header of this kind")
        check(struct.unpack_from("<I", header, header_len - 4)[0] == crc32(header[:-4]), "header: CRC-32")
        version = struct.unpack_from("<H", header, 8)[0]
        check(version == VERSION, f"format version {version}, this program reads version {VERSION}")
        self.header = header
        self.id = header[16:32]
        self.repository = header[32:48]
        check(size >= header_len + SEAL, "no seal: the file was not finished")
        seal = self.read(size - SEAL, SEAL)
        check(seal[:8] == b"REELSEAL", "no seal: the file was not finished")
        version, offset, length, total, file_id, footer_crc, crc = struct.unpack("<8xH6xQQQ16sII", seal)
        check(crc == crc32(seal[:-4]), "seal: CRC-32")
        check(version == VERSION, f"seal has format version {version}")
        check(total == size and offset + length + SEAL == size, "file was cut or added to")
        check(file_id == self.id, "seal of another file")
        footer = self.read(offset, length)
        check(crc32(footer) == footer_crc, "footer: CRC-32")
        check(footer[:8] == footer_magic, "no footer")
        self.footer = Cursor(footer, 8)

    def read(self, offset, length):
        data = os.pread(self.descriptor, length, offset)
        while 0 < len(data) < length:
            more = os.pread(self.descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        check(len(data) == length, f"{length} bytes at byte {offset}: the file is too short")
        return data

    def close(self):
        os.close(self.descriptor)


def client_of(field):
    name = field.rstrip(b"\0")
    check(re.fullmatch(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name), "client name")
    return name.decode()


class Bdf(SealedFile):
    """A backup data file."""

    def __init__(self, path):
        super().__init__(path, b"REELBDF\0", 128, b"RFOOTBDF")
        check(self.header[12] in AREAS, "unknown area")
        self.client = client_of(self.header[60:124])

    def spans(self):
        """Offset and length of each frame."""
        cursor = Cursor(self.footer.data, 8)
        for _ in range(struct.unpack("<I", cursor.take(4))[0]):
            offset, length, _ = struct.unpack("<QII", cursor.take(16))
            yield offset, length
        cursor.finish()

    def tables(self, offset):
        """Header of the frame at this offset: codec, lengths, CRC, chunks as (start, length,
        fingerprint), base chunks."""
        fixed = self.read(offset, FRAME_HEADER)
        magic, kind, codec, stored, plain, chunk_count, base_count, own, key, payload_crc, crc = struct.unpack(
            "<4sBB2xIIIIQI28xII", fixed)
        check(magic == b"RFRM", f"no frame at byte {offset}")
        check(plain <= FRAME_LEN_MAX and stored <= FRAME_LEN_MAX + (FRAME_LEN_MAX >> 7), "frame length")
        check(1 <= chunk_count <= 65535 and base_count <= 16, "frame tables")
        tables = self.read(offset + FRAME_HEADER, chunk_count * CHUNK.size + base_count * BASE.size)
        check(crc == crc32(self.id, fixed[:-4], tables), f"frame at byte {offset}: header CRC-32")
        check(own == offset, f"frame at byte {offset}: written for byte {own}")
        check(key == 0, f"frame at byte {offset}: encrypted")
        check((kind, base_count > 0) in ((1, False), (2, True)), f"frame at byte {offset}: unknown kind")
        chunks, start = [], 0
        for length, fingerprint in CHUNK.iter_unpack(tables[:chunk_count * CHUNK.size]):
            check(length, f"frame at byte {offset}: empty chunk")
            chunks.append((start, length, fingerprint))
            start += length
        check(start == plain, f"frame at byte {offset}: chunk lengths")
        bases = [Chunk(fingerprint, length, file, frame, start) for fingerprint, file, frame, start, length
                 in BASE.iter_unpack(tables[chunk_count * CHUNK.size:])]
        check(sum(base.len for base in bases) <= FRAME_LEN_MAX, f"frame at byte {offset}: prefix length")
        return codec, stored, plain, payload_crc, chunks, bases

    def payload(self, offset, tables, prefix):
        codec, stored_len, plain_len, payload_crc, chunks, bases = tables
        skip = FRAME_HEADER + len(chunks) * CHUNK.size + len(bases) * BASE.size
        stored = self.read(offset + skip, stored_len)
        check(crc32(stored) == payload_crc, f"frame at byte {offset}: payload CRC-32")
        return decompress(codec, stored, plain_len, prefix)


class Store:
    """The data of a repository: chunks by pointer."""

    def __init__(self, repo, fingerprint):
        self.repo, self.fingerprint = repo, fingerprint
        self.open_files = {}
        self.frames, self.frames_bytes = collections.OrderedDict(), 0
        self.index, self.places = None, None

    def paths(self):
        for area in AREAS.values():
            for client in sorted(listing(os.path.join(self.repo, area))):
                for name in sorted(listing(os.path.join(self.repo, area, client))):
                    if re.fullmatch("[0-9a-f]{32}[.]bdf", name):
                        yield os.path.join(self.repo, area, client, name)

    def bdf(self, file_id):
        if file_id not in self.open_files:
            if self.places is None:
                self.places = {os.path.basename(path): path for path in self.paths()}
            path = self.places.get(file_id.hex() + ".bdf")
            check(path, f"there is no BDF {file_id.hex()}")
            if len(self.open_files) >= 256:
                self.open_files.pop(next(iter(self.open_files))).close()
            opened = Bdf(path)
            check(opened.id == file_id, f"{path}: id is not the name")
            self.open_files[file_id] = opened
        return self.open_files[file_id]

    def frame(self, file_id, offset, plain_only=False):
        """Chunks by start, and the decompressed payload, of one frame."""
        key = (file_id, offset)
        if key in self.frames:
            self.frames.move_to_end(key)
            chunks, payload, is_plain = self.frames[key]
            check(is_plain or not plain_only, "a base chunk lies in a delta frame")
            return chunks, payload
        bdf = self.bdf(file_id)
        tables = bdf.tables(offset)
        chunks, bases = tables[4], tables[5]
        check(not (bases and plain_only), "a base chunk lies in a delta frame")
        prefix = b"".join(self.chunk(base, plain_only=True) for base in bases)
        payload = bdf.payload(offset, tables, prefix)
        by_start = {start: (length, fingerprint) for start, length, fingerprint in chunks}
        self.frames[key] = (by_start, payload, not bases)
        self.frames_bytes += len(payload)
        while self.frames_bytes > FRAME_CACHE_BYTES and len(self.frames) > 1:
            self.frames_bytes -= len(self.frames.popitem(last=False)[1][1])
        return by_start, payload

    def chunk(self, pointer, plain_only=False):
        """Bytes of a chunk: from where the pointer says, or else from wherever it is now."""
        try:
            return self.chunk_at(pointer, plain_only)
        except (Damage, OSError) as error:
            first = error
        for file_id, frame, start in self.locations().get(pointer.fingerprint, ()):
            try:
                return self.chunk_at(pointer._replace(file=file_id, frame=frame, start=start), plain_only)
            except (Damage, OSError):
                continue
        raise Damage(f"chunk {pointer.fingerprint.hex()[:16]}: {first}")

    def chunk_at(self, pointer, plain_only):
        chunks, payload = self.frame(pointer.file, pointer.frame, plain_only)
        expected = (pointer.len, pointer.fingerprint)
        check(chunks.get(pointer.start) == expected, "another chunk is there")
        data = payload[pointer.start:pointer.start + pointer.len]
        if self.fingerprint:
            check(self.fingerprint(data) == pointer.fingerprint, "fingerprint")
        return data

    def locations(self):
        """Where every chunk is, from the chunk tables of all BDFs; made when a pointer has failed."""
        if self.index is None:
            self.index = collections.defaultdict(list)
            for path in self.paths():
                try:
                    bdf = Bdf(path)
                    for offset, _ in bdf.spans():
                        for start, _, fingerprint in bdf.tables(offset)[4]:
                            self.index[fingerprint].append((bdf.id, offset, start))
                    bdf.close()
                except (Damage, OSError):
                    continue
        return self.index


class Inode:
    """Everything about one object but its name."""

    def __init__(self, cursor):
        self.kind, flags = cursor.u8(), cursor.u8()
        check(self.kind in TYPE_BITS and flags & ~(63 | 64) == 0, "kind or flags")
        check(self.kind == REGULAR or not flags & 3, "flags of another kind")
        check(self.kind not in (DIRECTORY, REGULAR) or not flags & 64, "flags of another kind")
        self.mode = cursor.varint(0o7777)
        self.uid, self.gid = cursor.varint(0xFFFFFFFF), cursor.varint(0xFFFFFFFF)
        seconds = cursor.signed()
        self.mtime_ns = seconds * 10**9 + cursor.varint(999_999_999)
        relative = lambda: (cursor.signed() + seconds) * 10**9 + cursor.varint(999_999_999)
        self.ctime_ns, self.atime_ns = relative(), relative()
        self.source_inode = cursor.varint()
        self.size, self.link_count, self.extents, self.root, self.signature = 0, 1, [], None, None
        if self.kind == DIRECTORY:
            self.parent = cursor.varint()
        elif self.kind == REGULAR:
            self.link_count, self.size = cursor.varint(0xFFFFFFFF), cursor.varint((1 << 63) - 1)
            self.signature = cursor.take(32) if flags & 1 else None
            if flags & 2:
                cursor.varint()
                self.root = read_page_ref(cursor)
            else:
                self.extents = read_extents(cursor, 4)
        elif self.kind == SYMLINK:
            self.target = cursor.prefixed(SYMLINK_LEN_MAX)
            check(self.target and b"\0" not in self.target, "symbolic link target")
            self.size = len(self.target)
        elif self.kind in (CHARACTER, BLOCK):
            self.device = (cursor.varint(0xFFFFFFFF), cursor.varint(0xFFFFFFFF))
        if flags & 64:
            self.link_count = cursor.varint(0xFFFFFFFF)
            check(self.link_count > 1, "link count")
        check(flags & 12 != 12, "flags")
        self.xattrs = read_xattrs(cursor) if flags & 4 else []
        self.stored_xattrs = (cursor.varint(XATTR_LEN_MAX), read_extents(cursor, 256)) if flags & 8 else None
        self.inconsistent = bool(flags & 16)
        self.is_staging_number = bool(flags & 32)
        cursor.finish()


def read_page_ref(cursor):
    return PageRef(cursor.varint((1 << 22) - 1), cursor.varint((1 << 30) - 1) * 64, cursor.varint(65535))


def read_extent(cursor, offset):
    length, skip, chunk_len = cursor.varint(), cursor.varint(0xFFFFFFFF), cursor.varint(0xFFFFFFFF)
    check(0 < length and skip + length <= chunk_len and offset + length < 1 << 63, "extent length")
    fingerprint, file_id = cursor.take(32), cursor.take(16)
    return Extent(offset, length, skip, Chunk(fingerprint, chunk_len, file_id, cursor.varint(),
                                              cursor.varint(0xFFFFFFFF)))


def read_extents(cursor, count_max):
    extents, end = [], 0
    for _ in range(cursor.varint(count_max)):
        extents.append(read_extent(cursor, cursor.varint()))
        check(extents[-1].offset >= end, "extents are out of order")
        end = extents[-1].offset + extents[-1].len
    return extents


def read_xattrs(cursor):
    return [(cursor.prefixed(NAME_LEN_MAX), cursor.prefixed(1 << 16)) for _ in range(cursor.varint(1 << 20))]


class Dtf(SealedFile):
    """A directory tree file."""

    def __init__(self, path):
        super().__init__(path, b"REELDTF\0", 192, b"RFOOTDTF")
        self.ordinal, self.time, self.previous = struct.unpack_from("<I32xqI", self.header, 12)
        self.client = client_of(self.header[60:124])
        footer = self.footer
        self.root = read_page_ref(footer)
        self.next_linked, self.next_directory = footer.varint(), footer.varint()
        names = ("files", "directories", "symlinks", "others", "linked", "bytes", "xattrs", "inconsistent")
        self.totals = {name: footer.varint() for name in names}
        self.added_bytes = footer.varint()
        self.message, self.source = footer.prefixed(4096), footer.prefixed(4096)
        predecessor = footer.varint() if footer.at < len(footer.data) else 0
        self.predecessor = predecessor or self.previous

    def page(self, offset, stored_len, base_payload):
        """Level, tree, records and payload of a page; base_payload(reference) is that of a base."""
        data = self.read(offset, PAGE_HEADER + stored_len)
        magic, level, codec, tree, has_base, stored, plain, count, own, key, crc = struct.unpack_from(
            "<4sBBBBIIIQI28xI", data)
        where = f"page at byte {offset} of {os.path.basename(self.path)}"
        check(magic == b"RPGE" and stored == stored_len, f"no {where}")
        payload = data[PAGE_HEADER:]
        check(crc == crc32(self.id, data[:PAGE_HEADER - 4], payload), f"{where}: CRC-32")
        check(own == offset and key == 0, f"{where}: written for byte {own} with key {key}")
        check(level <= 15 and plain <= 65535 and 1 <= count <= 1023, f"{where}: header")
        prefix = b""
        if has_base:
            cursor = Cursor(payload)
            prefix = base_payload(read_page_ref(cursor))
            payload = payload[cursor.at:]
        payload = decompress(codec, payload, plain, prefix)
        records = []
        for index in range(count):
            cursor = Cursor(payload, struct.unpack("<H", Cursor(payload, index * 2).take(2))[0])
            records.append((cursor.prefixed(65535), cursor.prefixed(65535)))
            check(index == 0 or records[-2][0] < records[-1][0], f"{where}: order of records")
        return level, tree, records, payload


def refuse_base(reference):
    raise Damage(f"the base at byte {reference.offset} of DTF {reference.ordinal} has a base itself")


def listing(path):
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


class Generation:
    """One generation of a client: its tree, and the data behind it."""

    def __init__(self, store, dtfs, ordinal):
        self.store, self.dtfs, self.opened = store, dtfs, {}
        self.dtf = self.open(ordinal)
        self.page = functools.lru_cache(PAGE_CACHE_COUNT)(self.read_page)

    def open(self, ordinal):
        if ordinal not in self.opened:
            check(ordinal in self.dtfs, f"there is no DTF with the ordinal {ordinal}")
            dtf = Dtf(self.dtfs[ordinal])
            check(dtf.ordinal == ordinal, f"{dtf.path}: ordinal is {dtf.ordinal}")
            self.opened[ordinal] = dtf
        return self.opened[ordinal]

    def close(self):
        for dtf in self.opened.values():
            dtf.close()

    def read_page(self, reference):
        return self.load_page(reference, lambda base: self.load_page(base, refuse_base)[3])[:3]

    def load_page(self, reference, base_payload):
        return self.open(reference.ordinal).page(reference.offset, reference.stored_len, base_payload)

    def scan(self, root, tree, first, end, level=None, damaged=None):
        """Records with first <= key < end, in order. With a list `damaged`, pages that cannot be read
        are put there and passed over."""
        try:
            found, kind, records = self.page(root)
            check(kind == tree and level in (None, found), "a page of another tree or level")
        except (Damage, OSError) as error:
            if damaged is None:
                raise
            damaged.append(str(error))
            return
        for index, (key, value) in enumerate(records):
            if key >= end:
                break
            if found == 0:
                if key >= first:
                    yield key, value
            elif index + 1 == len(records) or records[index + 1][0] > first:
                cursor = Cursor(value)
                child = read_page_ref(cursor)
                cursor.finish()
                yield from self.scan(child, tree, first, end, found - 1, damaged)

    def inode(self, object_id):
        key = struct.pack(">Q", object_id)
        for _, value in self.scan(self.dtf.root, DIRECTORY_TREE, key, key + b"\0"):
            cursor = Cursor(value)
            check(cursor.u8() == 1, f"object {object_id} is no inode")
            return Inode(cursor)
        raise Damage(f"there is no object {object_id}")

    def entry(self, value):
        """Object id, or 0, and inode of an entry."""
        cursor = Cursor(value)
        if cursor.u8() == 1:
            return 0, Inode(cursor)
        kind, object_id = cursor.u8(), cursor.varint((1 << 40) - 1)
        cursor.finish()
        check(value[0] == 0 and kind in TYPE_BITS and object_id > 1, "link")
        inode = self.inode(object_id)
        check(inode.kind == kind, f"object {object_id} is of another kind")
        return object_id, inode

    def names(self, object_id, damaged=None):
        """Name and value of each entry of a directory."""
        first, end = struct.pack(">Q", object_id) + b"\0", struct.pack(">Q", object_id + 1)
        for key, value in self.scan(self.dtf.root, DIRECTORY_TREE, first, end, None, damaged):
            name = key[8:]
            valid = len(name) <= NAME_LEN_MAX and name not in (b".", b"..") and not set(name) & {0, 47}
            check(valid, "name of an entry")
            yield name, value

    def find(self, path):
        """Name, object id and inode of a path."""
        name, object_id, inode = b"", 1, self.inode(1)
        for part in (part for part in path.split(b"/") if part not in (b"", b".")):
            key = struct.pack(">Q", object_id) + part
            found = [value for _, value in self.scan(self.dtf.root, DIRECTORY_TREE, key, key + b"\0")]
            if part == b".." or inode.kind != DIRECTORY or not found:
                raise Usage(f"there is no {shown(path)}")
            name, (object_id, inode) = part, self.entry(found[0])
        return name, object_id, inode

    def extents(self, inode):
        """Extents of a file in order, checked."""
        end = 0
        for extent in inode.extents if inode.root is None else self.tree_extents(inode.root):
            check(end <= extent.offset and extent.offset + extent.len <= inode.size, "extent out of place")
            end = extent.offset + extent.len
            yield extent

    def tree_extents(self, root):
        for key, value in self.scan(root, EXTENT_TREE, b"", b"\xff" * 9):
            check(len(key) == 8, "key of an extent")
            cursor = Cursor(value)
            yield read_extent(cursor, struct.unpack(">Q", key)[0])
            cursor.finish()

    def data(self, extent):
        return self.store.chunk(extent.chunk)[extent.skip:extent.skip + extent.len]

    def xattrs(self, inode):
        """Names and values of the extended attributes."""
        if inode.stored_xattrs is None:
            return inode.xattrs
        length, extents = inode.stored_xattrs
        data = b"".join(self.data(extent) for extent in extents)
        check(len(data) == length, "length of the extended attributes")
        return read_xattrs(Cursor(data))

    def walk(self, object_id, report):
        """Yields (depth, name, object id, inode) of everything below a directory, a directory before
        what it holds; what is damaged is reported and passed over."""
        seen, path = {object_id}, []
        pending = [self.guarded_names(object_id, path, report)]
        parents = [object_id]
        while pending:
            step = next(pending[-1], None)
            if step is None:
                pending.pop()
                parents.pop()
                if path:
                    path.pop()
                continue
            name, value = step
            try:
                object_id, inode = self.entry(value)
                if inode.kind == DIRECTORY:
                    check(object_id and inode.parent == parents[-1], "a directory in the wrong place")
                    check(object_id not in seen, "a directory with two names")
            except (Damage, OSError) as error:
                report(b"/".join(path + [name]), error)
                continue
            yield len(path), name, object_id, inode
            if inode.kind == DIRECTORY:
                seen.add(object_id)
                path.append(name)
                parents.append(object_id)
                pending.append(self.guarded_names(object_id, path, report))

    def guarded_names(self, object_id, path, report):
        damaged, where = [], b"/".join(path)
        try:
            yield from self.names(object_id, damaged)
        except (Damage, OSError) as error:
            damaged.append(str(error))
        for error in damaged:
            report(where or b".", error)


class Extraction:
    """Writes a tree below a directory, and never outside: every name is made anew, relative to a
    directory that is held open."""

    def __init__(self, generation, report):
        self.generation, self.report = generation, report
        self.linked = {}
        self.refused = collections.Counter()

    def run(self, target, path):
        name, object_id, inode = self.generation.find(path)
        os.makedirs(target, mode=0o700, exist_ok=True)
        top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.top = top
        if inode.kind != DIRECTORY:
            self.make(top, name, name, object_id, inode)
            os.close(top)
            return
        # Directories that are open: descriptor, path, inode; attributes follow when all is inside.
        stack = [(top, b"", inode)]
        skipped = None
        for depth, name, object_id, inode in self.generation.walk(object_id, self.report):
            if skipped is not None and depth > skipped:
                continue
            skipped = None
            while len(stack) > depth + 1:
                self.leave(*stack.pop())
            directory, where, _ = stack[-1]
            where = where + b"/" + name if where else name
            if inode.kind != DIRECTORY:
                self.make(directory, where, name, object_id, inode)
                continue
            try:
                os.mkdir(name, 0o700, dir_fd=directory)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                stack.append((os.open(name, flags, dir_fd=directory), where, inode))
            except OSError as error:
                self.report(where, error)
                skipped = depth
        while stack:
            self.leave(*stack.pop())

    def leave(self, descriptor, where, inode):
        try:
            self.attributes(where, inode, descriptor)
        except (Damage, OSError) as error:
            self.report(where, error)
        os.close(descriptor)

    def make(self, directory, where, name, object_id, inode):
        try:
            if object_id in self.linked:
                self.link(self.linked[object_id], directory, name)
            elif inode.kind == REGULAR:
                self.make_file(directory, where, name, inode)
            else:
                self.make_special(directory, where, name, inode)
            if object_id and inode.link_count > 1:
                self.linked.setdefault(object_id, where)
        except (Damage, OSError) as error:
            self.report(where, error)

    def link(self, source, directory, name):
        *parents, last = source.split(b"/")
        above = os.dup(self.top)
        try:
            for part in parents:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = os.open(part, flags, dir_fd=above)
                os.close(above)
                above = below
            os.link(last, name, src_dir_fd=above, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(above)

    def make_file(self, directory, where, name, inode):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            os.ftruncate(descriptor, inode.size)
            for extent in self.generation.extents(inode):
                data, offset = memoryview(self.generation.data(extent)), extent.offset
                while data:
                    written = os.pwrite(descriptor, data, offset)
                    data, offset = data[written:], offset + written
            self.attributes(where, inode, descriptor)
        except (Damage, OSError):
            # A file with wrong or missing bytes must not look like the right one.
            os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(descriptor)

    def make_special(self, directory, where, name, inode):
        if inode.kind == SYMLINK:
            os.symlink(inode.target, name, dir_fd=directory)
        else:
            number = os.makedev(*inode.device) if inode.kind in (CHARACTER, BLOCK) else 0
            os.mknod(name, 0o600 | TYPE_BITS[inode.kind], number, dir_fd=directory)
        self.attributes(where, inode, None, directory, name)

    def attributes(self, where, inode, descriptor, directory=None, name=None):
        """Owner, then attributes, then mode (a change of owner clears set-id bits and capabilities),
        then times."""
        at = {} if name is None else {"dir_fd": directory, "follow_symlinks": False}
        file = descriptor if name is None else name
        self.attempt("owner", where, os.chown, file, inode.uid, inode.gid, **at)
        # There is no call with a directory descriptor for attributes.
        by_path = descriptor if name is None else b"/proc/self/fd/%d/%s" % (directory, name)
        for key, value in self.generation.xattrs(inode):
            follow = {} if name is None else {"follow_symlinks": False}
            self.attempt(shown(key), where, os.setxattr, by_path, key, value, **follow)
        if inode.kind != SYMLINK:
            # The name was made just now, in a directory that is ours alone: it is no symbolic link.
            places = {} if name is None else {"dir_fd": directory}
            self.attempt("mode", where, os.chmod, file, inode.mode, **places)
        os.utime(file, ns=(inode.atime_ns, inode.mtime_ns), **at)

    def attempt(self, what, where, call, *arguments, **keywords):
        try:
            call(*arguments, **keywords)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL):
                raise
            self.refused[what] += 1
            if self.refused[what] == 1:
                complain(f"{shown(where)}: {what}: {error.strerror} (further ones are only counted)")


def complain(text):
    print(f"reelfs_reader: {text}", file=sys.stderr)


class Repository:
    """The directory of a repository."""

    def __init__(self, path, fingerprint):
        self.path, self.store = path, Store(path, fingerprint)
        if not os.path.isdir(os.path.join(path, "clients")):
            raise Usage(f"{path} is no repository: it has no directory `clients`")

    def clients(self):
        return sorted(listing(os.path.join(self.path, "clients")))

    def dtfs(self, client):
        """Generation name, ordinal and path of each DTF, oldest first; other names are no generations."""
        found = []
        for name in listing(os.path.join(self.path, "clients", client)):
            match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.([1-9]\d{0,6})\.dtf", name)
            if match:
                found.append((match[1], int(match[2]), os.path.join(self.path, "clients", client, name)))
        return sorted(found)

    def removed(self, client):
        """Ordinals of the generations that were removed on purpose."""
        names = listing(os.path.join(self.path, "clients", client))
        matches = (re.fullmatch(r".*Z\.([1-9]\d{0,6})\.removed", name) for name in names)
        return {int(match[1]) for match in matches if match}

    def generation(self, address):
        client, _, wanted = address.partition("@")
        dtfs = self.dtfs(client) if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", client) else []
        if not dtfs:
            raise Usage(f"there are no generations of a client {client}")
        wanted = wanted or "latest"
        if wanted == "latest":
            chosen = dtfs[-1:]
        elif re.fullmatch("-[1-9][0-9]*", wanted):
            chosen = dtfs[-int(wanted[1:]):][:1] if int(wanted[1:]) <= len(dtfs) else []
        else:
            chosen = [dtf for dtf in dtfs if dtf[0].startswith(wanted)]
        if len(chosen) != 1:
            raise Usage(f"{client} has {len(chosen)} generations for {wanted}")
        return Generation(self.store, {ordinal: path for _, ordinal, path in dtfs}, chosen[0][1])


def time_text(nanoseconds):
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // 10**9))
    except (OverflowError, ValueError, OSError):
        return f"@{nanoseconds // 10**9}"


def line_of(path, inode):
    mode = stat.filemode(TYPE_BITS[inode.kind] | inode.mode)
    size = "%d,%d" % inode.device if inode.kind in (CHARACTER, BLOCK) else inode.size
    target = " -> " + shown(inode.target) if inode.kind == SYMLINK else ""
    return f"{mode} {inode.uid} {inode.gid} {size} {time_text(inode.mtime_ns)} {shown(path)}{target}"


def run_list(repository, arguments, report):
    generation = repository.generation(arguments.address)
    path = os.fsencode(arguments.path)
    name, object_id, inode = generation.find(path)
    if inode.kind != DIRECTORY:
        print(line_of(name, inode))
        return 0
    parts = []
    for depth, name, _, inode in generation.walk(object_id, report):
        parts[depth:] = [name]
        print(line_of(b"/".join(parts), inode))
    return 3 if report.count else 0


def run_extract(repository, arguments, report):
    generation = repository.generation(arguments.address)
    extraction = Extraction(generation, report)
    extraction.run(os.fsencode(arguments.target), os.fsencode(arguments.path))
    for what, count in extraction.refused.items():
        complain(f"{what}: could not be set on {count} objects")
    return 3 if report.count or extraction.refused else 0


def run_check(repository, arguments, report):
    """Reads every frame of every BDF and every page of every generation."""
    store, known, counts = repository.store, set(), collections.Counter()
    for path in store.paths():
        try:
            bdf = Bdf(path)
            check(bdf.id.hex() + ".bdf" == os.path.basename(path), "id is not the name")
            for offset, _ in bdf.spans():
                counts["frames"] += 1
                chunks, payload = store.frame(bdf.id, offset)
                for start, (length, fingerprint) in chunks.items():
                    counts["chunks"] += 1
                    good = not store.fingerprint or store.fingerprint(payload[start:start + length]) == fingerprint
                    check(good, f"frame at byte {offset}: fingerprint")
                    known.add(fingerprint)
            bdf.close()
        except (Damage, OSError) as error:
            report(os.fsencode(path), error)
    for client in repository.clients():
        ordinals = {ordinal for _, ordinal, _ in repository.dtfs(client)} | repository.removed(client)
        for name, ordinal, path in repository.dtfs(client):
            address = f"{client}@{name}"
            try:
                generation = repository.generation(address)
                check(generation.dtf.client == client and generation.dtf.ordinal == ordinal, "name of the file")
                before = generation.dtf.predecessor
                if before and before not in ordinals:
                    report(os.fsencode(path), f"the generation before it, number {before}, is missing")
                check_tree(generation, address, known, report)
                generation.close()
                counts["generations"] += 1
            except (Damage, OSError, Usage) as error:
                report(os.fsencode(path), error)
    print(", ".join(f"{counts[what]} {what}" for what in ("generations", "frames", "chunks")))
    return 12 if report.count else 0


def check_tree(generation, address, known, report):
    prefix = address.encode() + b":"
    parts = []
    below = generation.walk(1, lambda path, error: report(prefix + path, error))
    for depth, name, _, inode in itertools.chain([(0, b".", 1, generation.inode(1))], below):
        parts[depth:] = [name]
        try:
            extents = list(inode.stored_xattrs[1]) if inode.stored_xattrs else []
            missing = sum(extent.chunk.fingerprint not in known for extent in extents)
            missing += sum(extent.chunk.fingerprint not in known for extent in generation.extents(inode))
            check(missing == 0, f"{missing} chunks are missing or damaged")
        except (Damage, OSError) as error:
            report(prefix + b"/".join(parts), error)


class Report:
    """Says what is damaged or could not be written, and counts."""

    def __init__(self):
        self.count = 0

    def __call__(self, path, error):
        self.count += 1
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        complain(f"{shown(path)}: {reason}")


def parse(arguments):
    parser = argparse.ArgumentParser(description="Reads reelfs repositories without reelfs.")
    parser.add_argument("--verify", action="store_true",
                        help="compute fingerprints in Python, slowly, if there is no module `blake3`")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, positionals in (
        ("list", run_list, ("address", "path?")),
        ("extract", run_extract, ("address", "target", "path?")),
        ("check", run_check, ()),
    ):
        command = commands.add_parser(name)
        command.add_argument("repo")
        for positional in positionals:
            optional = positional.endswith("?")
            command.add_argument(positional.rstrip("?"), **({"nargs": "?", "default": ""} if optional else {}))
        command.set_defaults(run=run)
    return parser.parse_args(arguments)


def main():
    arguments = parse(sys.argv[1:])
    fingerprint = fingerprint_function(arguments.verify)
    if fingerprint is None:
        complain("fingerprints are not verified, only CRCs: no module `blake3`, and no --verify")
    try:
        return arguments.run(Repository(arguments.repo, fingerprint), arguments, Report())
    except Usage as error:
        complain(error)
        return 1
    except Damage as error:
        complain(error)
        return 12
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        complain(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
