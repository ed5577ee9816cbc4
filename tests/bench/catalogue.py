"""Made-up peers and files for trackers: always the same for the same numbers.

A file is a number; so is a peer.  Peer p holds the files `held(p)`; each file has as many holders as any other.
"""

import functools
import hashlib
import itertools
import math
import random
import struct

FIRST_PORT = 1024
PORTS = 65536 - FIRST_PORT
SYLLABLES = (
    "ba be bi bo ca ce co da de di do fa fe ga ge go la le li lo lu ma me mi "
    "mo na ne ni no pa pe po ra re ri ro sa se si so ta te ti to va ve vi za"
)
STRANGE = ["café", "niño", "straße", "żółw", "каталог", "αρχείο", "資料", "データ", "été", "São"]
EXTENSIONS = {"mp4": 30, "mkv": 12, "flac": 10, "jpg": 12, "pdf": 10, "tar.gz": 6, "iso": 3, "txt": 8, "csv": 5, "zst": 4}
WORDS = 6000
STRIDES = [7919, 104729, 1299709, 15485863, 611953, 350377, 746773, 951161, 479001599, 87178291199]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def secret(peer):
    return digest(f"secret {peer}")


def peer_id(peer):
    return hashlib.sha256(bytes.fromhex(secret(peer))).hexdigest()


def root(file):
    return digest(f"root {file}")


def size(file):
    return 1000 + file * 7919 % 100_000_000


def vocabulary():
    """Words; the first ones are the more frequent ones."""
    choose = random.Random("words")
    syllables = SYLLABLES.split()
    words = {"".join(choose.choices(syllables, k=choose.randint(2, 4))): None for _ in range(WORDS)}
    return [*STRANGE, *words]


class Names:
    """As people give them: folders, words of which some are frequent, numbers, kinds.  No two files have the same one."""

    def __init__(self):
        self.vocabulary = vocabulary()
        self.extensions = [name for name, weight in EXTENSIONS.items() for _ in range(weight)]

    def words(self, file):
        """The four that its name is made of."""
        drawn = struct.unpack("<4I", hashlib.sha256(b"%d" % file).digest()[:16])
        return [self.vocabulary[int(len(self.vocabulary) * (one / 2**32) ** 3)] for one in drawn]

    def of(self, file):
        words = self.words(file)
        folder = f"{words[0]}/{words[1]} {file % 97}/" if file % 10 < 7 else ""
        return f"{folder}{words[2].title()}-{words[3]}_{file}.{self.extensions[file * 7919 % len(self.extensions)]}"


def item(file, name):
    """A file as a registration has it."""
    return f'{{"name":"{name}","size":{size(file)},"root":"{root(file)}"}}'


@functools.lru_cache
def stride(turn, files):
    """A step by which all files are met, each once."""
    return next(step for step in itertools.count(STRIDES[turn % len(STRIDES)]) if math.gcd(step, files) == 1)


def held(peer, each, files):
    """The numbers of a peer's files: all are taken once, in some order, before any is taken again, in another one."""
    numbers = range(peer * each, (peer + 1) * each)
    return [number % files * stride(number // files, files) % files for number in numbers]


def held_in_a_row(peer, each, files):
    """The same, but those that stand beside each other: sooner taken in, as one place of a database changes."""
    return [number % files for number in range(peer * each, (peer + 1) * each)]


def registration(peer, items):
    """A body of POST /v1/peers; `items` as item() gives them."""
    instance = digest(f"instance {peer}")[:32]
    port = FIRST_PORT + peer % PORTS
    return f'{{"id":"{peer_id(peer)}","instance":"{instance}","port":{port},"files":[{",".join(items)}]}}'
