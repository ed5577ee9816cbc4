"""An independent client of Enxame, written from BEP 52 and the protocol alone: it shares no code with the programs.

Content      bytes with their Merkle root and layers (BEP 52), by hashlib
Tracker      the tracker API
Peer         the peer API
FakeHolder   serves a content by the peer API, with faults that tests switch on and off
"""

from apis import CLOCK_MAX, Clock, Identity, Peer, Tracker, expect, expect_problem, host_port, raw
from contents import (
    BLOCK_SIZE,
    CHUNK_SIZES,
    Content,
    bitmap,
    bitmap_indexes,
    chunk_hash,
    root_of_layer,
    sha256,
)
from fake_holder import FAULTS, FakeHolder

__all__ = [
    "BLOCK_SIZE", "CHUNK_SIZES", "CLOCK_MAX", "FAULTS", "Clock", "Content", "FakeHolder", "Identity", "Peer", "Tracker",
    "bitmap", "bitmap_indexes", "chunk_hash", "expect", "expect_problem", "host_port", "raw", "root_of_layer", "sha256",
]  # fmt: skip
