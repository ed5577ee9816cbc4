"""Contents with their Merkle roots and layers (BEP 52), and have maps as on the wire."""

import base64
import hashlib
import random

BLOCK_SIZE = 16 * 1024
CHUNK_SIZES = [BLOCK_SIZE << shift for shift in range(11)]  # 16 KiB to 16 MiB
LAYER_HASHES_MAX = 65536


def sha256(data):
    return hashlib.sha256(data).digest()


def _levels_above(hashes, padding):
    """The levels of a tree over `hashes`, padded to a power of two; `padding` is the hash of an absent one."""
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        if len(level) % 2:
            level = level + [padding]
        levels.append([sha256(level[i] + level[i + 1]) for i in range(0, len(level), 2)])
        padding = sha256(padding + padding)
    return levels


class Content:
    """Bytes, and what names them: the pair (root, size)."""

    def __init__(self, data, name="content.bin"):
        self.data = bytes(data)
        self.name = name
        self.size = len(self.data)
        leaves = [sha256(self.data[i : i + BLOCK_SIZE]) for i in range(0, self.size, BLOCK_SIZE)]
        self._levels = _levels_above(leaves, bytes(32)) if leaves else [[sha256(b"")]]
        self.root_bytes = self._levels[-1][0]
        self.root = self.root_bytes.hex()

    @classmethod
    def random(cls, size, seed=1, name="content.bin"):
        return cls(random.Random(seed).randbytes(size), name)

    @classmethod
    def of_file(cls, path, name=None):
        return cls(path.read_bytes(), name or path.name)

    def chunk_count(self, chunk_size):
        return -(-self.size // chunk_size)

    def chunk(self, index, chunk_size):
        return self.data[index * chunk_size : (index + 1) * chunk_size]

    def layer(self, chunk_size):
        """One hash for each chunk; the root alone where one chunk holds everything, nothing for an empty content."""
        assert chunk_size in CHUNK_SIZES
        if self.size == 0:
            return b""
        height = (chunk_size // BLOCK_SIZE).bit_length() - 1
        return b"".join(self._levels[min(height, len(self._levels) - 1)])

    def record(self, name=None, complete=True):
        """The content as a row of a registration."""
        return {"name": name or self.name, "size": self.size, "root": self.root, "complete": complete}


def root_of_layer(layer, chunk_size):
    """The root that a layer of at least one hash leads to."""
    hashes = [layer[i : i + 32] for i in range(0, len(layer), 32)]
    padding = bytes(32)
    while chunk_size > BLOCK_SIZE:
        padding = sha256(padding + padding)
        chunk_size //= 2
    return _levels_above(hashes, padding)[-1][0]


def chunk_hash(chunk, chunk_size, size):
    """The hash that the layer of a content of `size` bytes must have for this chunk."""
    if size <= chunk_size:
        return Content(chunk).root_bytes
    leaves = [sha256(chunk[i : i + BLOCK_SIZE]) for i in range(0, len(chunk), BLOCK_SIZE)]
    leaves += [bytes(32)] * (chunk_size // BLOCK_SIZE - len(leaves))
    return _levels_above(leaves, bytes(32))[-1][0]


def bitmap(indexes, count):
    """Chunk numbers as on the wire: most significant bit first, in base64."""
    octets = bytearray(-(-count // 8))
    for index in indexes:
        octets[index // 8] |= 0x80 >> index % 8
    return base64.b64encode(bytes(octets)).decode()


def bitmap_indexes(text, count):
    octets = base64.b64decode(text, validate=True)
    assert len(octets) == -(-count // 8)
    return {index for index in range(count) if octets[index // 8] & 0x80 >> index % 8}
