"""Makes a .torrent (version 1, which both aria2 and libtorrent know) of one file."""

import hashlib


def encode(value):
    """Bencoding, BEP 3."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    pairs = sorted((key.encode() if isinstance(key, str) else key, item) for key, item in value.items())
    return b"d" + b"".join(encode(key) + encode(item) for key, item in pairs) + b"e"


def make(path, announce, piece_bytes):
    """The torrent's bytes."""
    pieces = b""
    with open(path, "rb") as file:
        while piece := file.read(piece_bytes):
            pieces += hashlib.sha1(piece, usedforsecurity=False).digest()
    info = {"name": path.name, "length": path.stat().st_size, "piece length": piece_bytes, "pieces": pieces}
    return encode({"announce": announce, "info": info})
