#!/usr/bin/python3
"""Makes merkle_vectors.h: roots and piece layers that libtorrent, an independent program, computes (BEP 52).

make_vectors.py          writes the header beside this script
make_vectors.py --check  compares it with what would be written; exit status 1 where they differ
"""
import array
import hashlib
import os
import sys
import tempfile

import libtorrent

KIB = 1024
SIZES = [
    1, 100, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 32 * KIB, 3 * 16 * KIB, 64 * KIB, 64 * KIB + 1, 5 * 16 * KIB + 7,
    256 * KIB - 1, 256 * KIB, 7 * 64 * KIB + 12345, 1024 * KIB + 1, 3 * 1024 * KIB, 5 * 1024 * KIB + 4321,
]
CHUNK_SIZES = [16 * KIB, 64 * KIB, 1024 * KIB]


def content(size):
    """Bytes that the test makes by the same formula: 32-bit words, little-endian, each its number times a constant."""
    words = array.array("I", ((i * 2654435761 + 12345) & 0xFFFFFFFF for i in range((size + 3) // 4)))
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()[:size]


def root_and_layer(path, piece_size):
    """The file's root, and its piece layer; a file of one piece has none, and its root stands for it."""
    files = libtorrent.file_storage()
    libtorrent.add_files(files, path)
    torrent = libtorrent.create_torrent(files, piece_size, libtorrent.create_torrent.v2_only)
    libtorrent.set_piece_hashes(torrent, os.path.dirname(path))
    made = torrent.generate()
    root = made[b"info"][b"file tree"][os.path.basename(path).encode()][b""][b"pieces root"]
    return root, made.get(b"piece layers", {}).get(root, root)


def make():
    rows = [f'    {{0, 0, "{hashlib.sha256().hexdigest()}", ""}},\n']
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "content")
        for size in SIZES:
            with open(path, "wb") as file:
                file.write(content(size))
            for chunk_size in CHUNK_SIZES:
                root, layer = root_and_layer(path, chunk_size)
                digest = hashlib.sha256(layer).hexdigest()
                rows.append(f'    {{{size}, {chunk_size}, "{root.hex()}",\n     "{digest}"}},\n')
    return (
        "/* Made by make_vectors.py with libtorrent. */\n/* clang-format off */\n"
        "static const struct vector {\n    uint64_t size, chunk_size;\n    const char *root;\n"
        "    const char *layer; /* SHA-256 of the layer's hashes, one after another */\n} vectors[] = {\n"
        + "".join(rows) + "};\n/* clang-format on */\n"
    )


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "merkle_vectors.h")
    text = make()
    if sys.argv[1:] == ["--check"]:
        with open(path, encoding="ascii") as file:
            if file.read() != text:
                sys.exit(f"{path} differs from what libtorrent computes")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)


if __name__ == "__main__":
    main()
