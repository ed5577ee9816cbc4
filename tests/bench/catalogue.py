"""Made-up peers and files for trackers: always the same for the same numbers.

A file is a number; so is a peer.  Peer p holds the files `held(p)`; each file has as many holders as any other.
"""

import hashlib
import json
import random

FIRST_PORT = 1024
PORTS = 65536 - FIRST_PORT
SYLLABLES = (
    "ba be bi bo ca ce co da de di do fa fe ga ge go la le li lo lu ma me mi "
    "mo na ne ni no pa pe po ra re ri ro sa se si so ta te ti to va ve vi za"
)
STRANGE = ["café", "niño", "straße", "żółw", "каталог", "αρχείο", "資料", "データ", "été", "São"]
EXTENSIONS = {"mp4": 30, "mkv": 12, "flac": 10, "jpg": 12, "pdf": 10, "tar.gz": 6, "iso": 3, "txt": 8, "csv": 5, "zst": 4}
WORDS = 6000
# Of files at a time: none has a common divisor with a round number of files.
STRIDES = [7919, 104729, 1299709, 15485863, 611953, 350377, 746773, 951161, 87178291199, 479001599]


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
        self.words = vocabulary()

    def of(self, file):
        choose = random.Random(file)
        words = [self.words[int(len(self.words) * choose.random() ** 3)] for _ in range(4)]
        folder = f"{words[0]}/{words[1]} {choose.randint(1, 99)}/" if choose.random() < 0.7 else ""
        (extension,) = choose.choices(list(EXTENSIONS), EXTENSIONS.values())
        return f"{folder}{words[2].title()}-{words[3]}_{file}.{extension}"


def item(file, name):
    """A file as a registration has it."""
    return json.dumps({"name": name, "size": size(file), "root": root(file)}, ensure_ascii=False, separators=(",", ":"))


def held(peer, each, files):
    """The numbers of a peer's files: all are taken once, in some order, before any is taken again, in another one."""
    numbers = range(peer * each, (peer + 1) * each)
    return [number % files * STRIDES[number // files % len(STRIDES)] % files for number in numbers]


def registration(peer, items):
    """A body of POST /v1/peers; `items` as item() gives them."""
    instance = digest(f"instance {peer}")[:32]
    port = FIRST_PORT + peer % PORTS
    return f'{{"id":"{peer_id(peer)}","instance":"{instance}","port":{port},"files":[{",".join(items)}]}}'
