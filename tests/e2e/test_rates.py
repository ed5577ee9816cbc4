"""Rate limits: what all downloads, or all uploads, together may take, from the command line and from the prompt."""

import re
import subprocess
import time

import pytest
import requests

from client import Content, FakeHolder
from programs import LONG, SANITIZED, wait_until
from prompts import Prompt

MIB = 1 << 20
WINDOW_S = 10 if LONG else 3

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer is slower than some of the rates")


def moved(sample, lead=MIB // 2, window_s=WINDOW_S):
    """Bytes a second by which `sample` grows, once it has grown by `lead`."""
    before = sample()
    wait_until(lambda: sample() > before + lead)
    began, before = time.monotonic(), sample()
    time.sleep(window_s)
    ended, after = time.monotonic(), sample()
    return (after - before) / (ended - began)


def received_from(*holders):
    """What this machine's sockets received from these holders, by the kernel's own account."""
    ports = " or ".join(f"dport = :{holder.port}" for holder in holders)
    text = subprocess.run(["ss", "-tinH", f"( {ports} )"], capture_output=True, text=True, check=True).stdout
    return sum(int(count) for count in re.findall(r"\bbytes_received:(\d+)", text))


def say(prompt, line, answer):
    """While the progress line is drawn anew again and again."""
    prompt.child.send(line + "\r")
    prompt.expect(answer)


def near(rate, limit, tolerance=0.05):
    assert (1 - tolerance) * limit <= rate <= (1 + tolerance) * limit, f"{rate / limit:.3f} times the limit"


# ---- down ----


@pytest.mark.parametrize("chunk_size", ["64K", "16M"])
def test_limit_down_holds(tracker, start_shell, chunk_size):
    rate = 2 * MIB if LONG else 4 * MIB
    content = Content.random(32 * MIB, seed=31, name="file")
    with FakeHolder(content, tracker=tracker.address) as holder:
        shell = start_shell(tracker=tracker, args=["--limit-down", str(rate), "--chunk-size", chunk_size])
        shell.say("download file")
        near(moved(lambda: received_from(holder)), rate)


def test_limit_down_holds_for_many_holders(tracker, start_shell):
    content = Content.random(32 * MIB, seed=32, name="file")
    holders = [FakeHolder(content, tracker=tracker.address).start() for _ in range(12)]
    try:
        shell = start_shell(tracker=tracker, args=["--limit-down", "2M", "--chunk-size", "64K"])
        shell.say("download file")
        # In the sockets whole chunks of all holders come and go; this counts them when they are verified.
        api = shell.client(tracker)
        near(moved(lambda: api.status()["received_bytes"]), 2 * MIB)
    finally:
        for holder in holders:
            holder.stop()


def test_downloads_share_a_limit_that_changes_on_the_way(tracker, tmp_path):
    contents = [Content.random(40 * MIB, seed=seed, name=f"file{seed}") for seed in (33, 34)]
    with (
        FakeHolder(contents[0], tracker=tracker.address) as one,
        FakeHolder(contents[1], tracker=tracker.address) as other,
    ):
        prompt = Prompt(tmp_path, tracker)
        assert "up unlimited, down unlimited" in prompt.run("limit")
        assert "down 4.0 MiB/s" in prompt.run("limit down 4M")
        prompt.run("download file33")
        prompt.run("download file34")
        near(moved(lambda: received_from(one, other)), 4 * MIB)
        assert min(received_from(one), received_from(other)) > MIB
        say(prompt, "limit down 1M", "limits     up unlimited, down 1.0 MiB/s")
        say(prompt, "status", "limits     up unlimited, down 1.0 MiB/s")
        near(moved(lambda: received_from(one, other)), MIB)
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
        assert one.chunk_requests(16384) + other.chunk_requests(16384) == dict.fromkeys(range(6), 1)
        assert "of the best possible time at 24.0 KiB/s" in done.stdout


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
