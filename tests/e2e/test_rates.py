"""Rate limits: what all downloads, or all uploads, together may take, from the command line and from the prompt."""

import random
import re
import subprocess
import threading
import time

import pytest
import requests

import client
from client import Content, FakeHolder
from programs import LONG, SANITIZED, wait_until
from prompts import Prompt
from test_download import holder_rows

MIB = 1 << 20
WINDOW_S = 10 if LONG else 3

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer is slower than some of the rates")


def moved(sample, lead=MIB // 2, window_s=WINDOW_S):
    """Bytes a second by which `sample` grows, once it has grown by `lead`."""
    before = sample()
    wait_until(lambda: sample() > before + lead)
    while True:
        began, before = time.monotonic(), sample()
        time.sleep(window_s)
        ended, after = time.monotonic(), sample()
        if ended - began < window_s + 0.5:  # else the machine itself stood still meanwhile
            return (after - before) / (ended - began)


def received_from(holder):
    """What this machine's sockets received from a holder, by the kernel's own account; in it, what waits to be read."""
    command = ["ss", "-tinH", f"dport = :{holder.port}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(int(count) for count in re.findall(r"\bbytes_received:(\d+)", text))


def verified(api):
    """What a peer has of its downloads: whole chunks."""
    return api.status()["received_bytes"]


def say(prompt, line, answer):
    """While the progress line is drawn anew again and again."""
    prompt.child.send(line + "\r")
    prompt.expect(answer)


def near(rate, limit):
    """Within 5 % over 10 s; what lies between two looks, as a chunk that is not whole yet, weighs more in a shorter time."""
    tolerance = 0.05 * 10 / WINDOW_S
    assert (1 - tolerance) * limit <= rate <= (1 + tolerance) * limit, f"{rate / limit:.3f} times the limit"


# ---- down ----


def test_limit_down_holds(tracker, start_shell):
    rate = 2 * MIB if LONG else 4 * MIB
    content = Content.random(32 * MIB, seed=31, name="file")
    with FakeHolder(content, tracker=tracker.address):
        shell = start_shell(tracker=tracker, args=["--limit-down", str(rate), "--chunk-size", "64K"])
        shell.say("download file")
        api = shell.client(tracker)
        near(moved(lambda: verified(api)), rate)


def test_limit_down_holds_for_one_large_chunk(tracker, start_shell):
    rate = MIB if LONG else 4 * MIB
    content = Content.random(16 * MIB, seed=31, name="file")
    with FakeHolder(content, tracker=tracker.address) as holder:
        shell = start_shell(tracker=tracker, args=["--limit-down", str(rate), "--chunk-size", "16M"])
        shell.say("download file")
        near(moved(lambda: received_from(holder), lead=MIB), rate)


def test_limit_down_holds_for_many_holders(tracker, start_shell):
    content = Content.random(32 * MIB, seed=32, name="file")
    holders = [FakeHolder(content, tracker=tracker.address).start() for _ in range(12)]
    try:
        shell = start_shell(tracker=tracker, args=["--limit-down", "2M", "--chunk-size", "64K"])
        shell.say("download file")
        api = shell.client(tracker)
        near(moved(lambda: verified(api)), 2 * MIB)
    finally:
        for holder in holders:
            holder.stop()


def test_downloads_share_a_limit_that_changes_on_the_way(tracker, tmp_path):
    contents = [Content.random(40 * MIB, seed=seed, name=f"file{seed}") for seed in (33, 34)]
    with (
        FakeHolder(contents[0], tracker=tracker.address),
        FakeHolder(contents[1], tracker=tracker.address),
    ):
        prompt = Prompt(tmp_path, tracker)
        host, port = re.search(r"address +(\S+):(\d+)", prompt.run("status")).groups()
        api = client.Peer(client.host_port(host, port))
        assert "up unlimited, down unlimited" in prompt.run("limit")
        assert "down 4.0 MiB/s" in prompt.run("limit down 4M")
        prompt.run("download file33")
        prompt.run("download file34")
        near(moved(lambda: verified(api)), 4 * MIB)
        assert min(one["done_bytes"] for one in api.status()["downloads"]) > 2 * MIB
        say(prompt, "limit down 1M", "limits     up unlimited, down 1.0 MiB/s")
        say(prompt, "status", "limits     up unlimited, down 1.0 MiB/s")
        near(moved(lambda: verified(api)), MIB)
        say(prompt, "limit down unlimited", "limits     up unlimited, down unlimited")
        for content in contents:
            wait_until(lambda content=content: (prompt.dir / content.name).exists(), 60)
            assert (prompt.dir / content.name).read_bytes() == content.data
        assert prompt.end() == 0


def test_a_limit_is_no_fault_of_the_holder(tracker, run_peer):
    """Several seconds pass between two looks at a connection: it is neither too slow nor stalled."""
    content = Content.random(96 * 1024, seed=35, name="file")
    with FakeHolder(content, tracker=tracker.address) as one, FakeHolder(content, tracker=tracker.address) as other:
        done = run_peer(["download file"], tracker=tracker, args=["--limit-down", "24K", "--chunk-size", "16K"]).ok()
        assert (done.dir / "file").read_bytes() == content.data
        rows = holder_rows(done.stdout)
        assert set(rows) == {one.address, other.address}
        assert all(faults == 0 and note == "" for _, faults, note in rows.values())
        assert "of the best possible time at 24.0 KiB/s" in done.stdout


# ---- up ----


class Readers:
    """Clients that fetch a content in ranges over and over, each on a connection of its own, and count what comes."""

    def __init__(self, peer_url, content, ranges):
        """`ranges`: for each client a function that says which (first, last) comes next."""
        self.url = f"{peer_url}/v1/files/{content.root}/data?size={content.size}"
        self.content = content
        self.received = [0] * len(ranges)
        self.wrong = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=pair) for pair in enumerate(ranges)]

    def _read(self, number, next_range):
        with requests.Session() as session:
            session.trust_env = False
            while not self._stopping.is_set():
                first, last = next_range()
                at = first
                with session.get(self.url, headers={"Range": f"bytes={first}-{last}"}, stream=True, timeout=60) as answer:
                    for piece in answer.iter_content(16 * 1024):
                        if answer.status_code != 206 or piece != self.content.data[at : at + len(piece)]:
                            self.wrong.append((answer.status_code, at))
                        at += len(piece)
                        self.received[number] += len(piece)
                        if self._stopping.is_set():
                            return

    def total(self):
        return sum(self.received)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        assert not self.wrong


def random_chunks(content, chunk_size, seed):
    generator = random.Random(seed)

    def next_range():
        first = generator.randrange(content.size // chunk_size) * chunk_size
        return first, first + chunk_size - 1

    return next_range


def everything(content):
    return lambda: (0, content.size - 1)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A shared file that no window of these tests reads to its end."""
    content = Content.random(48 * MIB, seed=36, name="large")
    path = tmp_path_factory.mktemp("shared") / "large"
    path.write_bytes(content.data)
    yield path, content
    path.unlink()


def sharing(start_peer, tracker, path, *args):
    """A peer that serves the file, and that the tracker names for it."""
    peer = start_peer(tracker=tracker, files=[path], args=args)
    wait_until(lambda: peer.client().files() and tracker.client().files())
    return peer


@pytest.mark.parametrize(
    "rate, clients, chunk_size",
    [(4 * MIB, 1, None), (4 * MIB, 1, 16 * MIB), (4 * MIB, 40, 64 * 1024), (MIB // 2, 6, MIB), (128 * 1024, 3, 16384)],
    ids=["a whole file", "one large chunk", "many connections", "large for the rate", "small and slow"],
)
def test_limit_up_holds(tracker, start_peer, large, rate, clients, chunk_size):
    path, content = large
    peer = sharing(start_peer, tracker, path, "--limit-up", str(rate))
    ranges = [random_chunks(content, chunk_size, seed) if chunk_size else everything(content) for seed in range(clients)]
    with Readers(peer.url, content, ranges) as readers:
        near(moved(readers.total, lead=rate // 4), rate)


def test_downloads_of_others_keep_to_limit_up(tracker, start_peer, start_shell, large):
    path, _ = large
    sharing(start_peer, tracker, path, "--limit-up", "2M")
    shell = start_shell(tracker=tracker, args=["--chunk-size", "64K"])
    shell.say("download large")
    api = shell.client(tracker)
    near(moved(lambda: verified(api)), 2 * MIB)


def test_limit_up_changes_on_the_way(tracker, large, tmp_path):
    path, content = large
    prompt = Prompt(tmp_path, tracker, path)
    holder = wait_until(lambda: tracker.client().owners(content.root))["holders"][0]
    url = f"http://{holder['host']}:{holder['port']}"
    say(prompt, "limit up 8M", "limits     up 8.0 MiB/s, down unlimited")
    ranges = [everything(content), random_chunks(content, MIB, 1), random_chunks(content, 64 * 1024, 2)]
    with Readers(url, content, ranges) as readers:
        near(moved(readers.total), 8 * MIB)
        say(prompt, "limit up 1M", "limits     up 1.0 MiB/s, down unlimited")
        near(moved(readers.total, lead=0), MIB)
        say(prompt, "limit up 0", "limits     up unlimited, down unlimited")
        assert moved(readers.total, lead=0, window_s=1) > 10 * MIB
    assert prompt.end() == 0


# ---- what is said, and what is refused ----


def test_limits_are_shown(tracker, start_peer):
    peer = start_peer(tracker=tracker, args=["--limit-up=1M", "--limit-down", "64K"])
    status = peer.client().status()
    assert (status["limit_up_bytes_s"], status["limit_down_bytes_s"]) == (MIB, 65536)
    metrics = requests.get(peer.url + "/metrics", timeout=20).text
    assert "\nenxame_peer_limit_up_bytes_per_second 1048576\n" in metrics
    assert "\nenxame_peer_limit_down_bytes_per_second 65536\n" in metrics


def test_limits_from_a_script(tracker, run_peer):
    done = run_peer(["limit", "limit up 64K", "limit down 1M", "limit up unlimited"], tracker=tracker).ok()
    said = re.findall(r"^limits +(.*)$", done.stdout, re.MULTILINE)
    assert said == [
        "up unlimited, down unlimited", "up 64.0 KiB/s, down unlimited", "up 64.0 KiB/s, down 1.0 MiB/s",
        "up unlimited, down 1.0 MiB/s",
    ]  # fmt: skip


@pytest.mark.parametrize("option", ["--limit-up", "--limit-down"])
@pytest.mark.parametrize("value", ["", "5", "1.5M", "-1M", "fast", "10M/s", "2T"])
def test_a_bad_rate_is_a_usage_error(tracker, run_peer, option, value):
    refused = run_peer(tracker=tracker, args=[f"{option}={value}"])
    assert refused.status == 2
    assert option in refused.stderr and f'"{value}"' in refused.stderr and "such as 500K" in refused.stderr


@pytest.mark.parametrize("line", ["limit up", "limit 1M", "limit sideways 1M", "limit up 5", "limit down fast"])
def test_a_bad_limit_command_changes_nothing(tracker, run_peer, line):
    refused = run_peer([line, "limit"], tracker=tracker, args=["--limit-up", "2M"])
    assert refused.status == 1
    assert "usage: limit" in refused.stderr or "such as 500K" in refused.stderr
    assert "up 2.0 MiB/s, down unlimited" in refused.stdout
