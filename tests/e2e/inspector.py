"""A client that looks over a peer's shoulder while others do it harm: is all that it serves right?"""

import contextlib
import random
import threading

import requests

import client

CHUNK = 64 * 1024
MIB = 1 << 20


class Inspector(threading.Thread):
    """Fetches from a peer whatever it says it has, and ranges of all kinds, and keeps what was not right."""

    def __init__(self, content, tracker, seed=9):
        super().__init__(daemon=True)
        self.content = content
        self.tracker = tracker.client()
        self.peer_id = None
        self.generator = random.Random(seed)
        self.life = None  # of the peer that is there now
        self.wrong = []
        self.checked_bytes = self.checked_maps = 0
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.01):
            life = self.life
            with contextlib.suppress(requests.RequestException):
                address = self.find() if life is not None else None
                if address is not None:
                    with contextlib.closing(client.Peer(address, timeout=10)) as api:
                        self.look(api, life)

    def find(self):
        """Where the tracker says that the peer is: now and then, where it was before."""
        rows = [row for row in self.tracker.peers() if row["id"] == self.peer_id]
        return client.host_port(rows[0]["host"], rows[0]["port"]) if rows else None

    def end(self):
        self.ended.set()
        self.join(30)
        self.tracker.close()
        assert not self.wrong, self.wrong[:5]

    def complain(self, life, what):
        if self.life == life:  # else what was said was said by the one that was killed
            self.wrong.append(what)

    def look(self, api, life):
        content = self.content
        answer = api.get(f"/v1/files/{content.root}/have?size={content.size}")
        if answer.status_code != 200:
            return
        have = answer.json()
        chunk_size = have.get("chunk_size", CHUNK)
        count = content.chunk_count(chunk_size)
        held = set(range(count)) if have["complete"] else client.bitmap_indexes(have["bitmap"], count)
        self.checked_maps += 1
        answer = api.layer(content, chunk_size)
        if answer.content != content.layer(chunk_size) and (held or answer.status_code == 200):
            self.complain(life, "layer")
        for index in self.generator.sample(sorted(held), min(5, len(held))):
            last = min((index + 1) * chunk_size, content.size) - 1
            if self.ask(api, life, index * chunk_size, last) not in (206, 503):
                self.complain(life, f"chunk {index} is not there")
        for _ in range(5):
            first, last = sorted(self.generator.randrange(content.size) for _ in range(2))
            self.ask(api, life, first, min(last, first + self.generator.choice((1, 20_000, 300_000, MIB))))
        body = {"size": content.size, "chunk_size": chunk_size, "wanted": client.bitmap(range(count), count)}
        answer = api.call("POST", f"/v1/files/{content.root}/any", body)
        if answer.status_code == 206:
            first = int(answer.headers["Content-Range"].split(" ")[1].split("-")[0])
            self.check(life, answer.content, first)

    def ask(self, api, life, first, last):
        """Asks for a range, and checks also what came of an answer that broke off; its status."""
        received = b""
        answer = api.data(self.content, first, last, stream=True)
        try:
            for piece in answer.iter_content(65536):
                received += piece
        finally:
            if answer.status_code in (200, 206):
                self.check(life, received, first if answer.status_code == 206 else 0)
        return answer.status_code

    def check(self, life, received, first):
        self.checked_bytes += len(received)
        if received != self.content.data[first : first + len(received)]:
            self.complain(life, f"{len(received)} bytes at {first}")
