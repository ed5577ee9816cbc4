"""Where a seeder with other leechers around it chooses what it sends: POST /v1/files/{root}/any."""

import pytest

from client import Content, FakeHolder
from programs import wait_until
from test_download import CHUNK, holder_rows

CONTENT = Content.random(40 * CHUNK - 5, seed=8, name="file")
HALF = set(range(20))


class Stubborn(FakeHolder):
    """Whatever is wanted, it sends this chunk: rightly, and of no use."""

    chunk = 0

    def _choose(self, chunk_size, wanted):
        return self.chunk


@pytest.mark.sanitized
def test_a_seeder_chooses_what_no_leecher_has(tracker, run_peer):
    with (
        FakeHolder(CONTENT, tracker=tracker.address) as seeder,
        FakeHolder(CONTENT, tracker=tracker.address, held=HALF) as leecher,
    ):
        seeder.rate_bytes_s = leecher.rate_bytes_s = 8 << 20
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == CONTENT.data
        assert seeder.requests["any"]
        assert seeder.chunk_requests(CHUNK).keys() >= set(range(40)) - HALF
        assert all(row[1] == 0 for row in holder_rows(done.stdout).values())


def test_a_seeder_that_cannot_choose_is_asked_for_ranges(tracker, run_peer):
    with (
        FakeHolder(CONTENT, tracker=tracker.address) as seeder,
        FakeHolder(CONTENT, tracker=tracker.address, held=HALF),
    ):
        seeder.serves_any = False
        done = run_peer(["download file"], tracker=tracker).ok()
        assert (done.dir / "file").read_bytes() == CONTENT.data
        assert holder_rows(done.stdout)[seeder.address][1] == 0  # it is no fault


def test_what_it_has_yet_to_choose_is_not_asked_for_twice(tracker, run_peer):
    """Neither of itself, nor of it by number: each chunk comes once, also the last."""
    for number in range(5):
        with (
            FakeHolder(CONTENT, tracker=tracker.address) as seeder,
            FakeHolder(CONTENT, tracker=tracker.address, held={0}) as leecher,
        ):
            leecher.fail("busy", on=("data",))
            done = run_peer(["download file"], tracker=tracker).ok()
            assert (done.dir / "file").read_bytes() == CONTENT.data
            assert set(seeder.chunk_requests(CHUNK).values()) == {1}, number


@pytest.mark.sanitized
def test_a_seeder_that_sends_what_was_not_wanted_is_banned(tracker, start_shell):
    """Else it could send the same chunk for ever: each time the right bytes."""
    with (
        Stubborn(CONTENT, tracker=tracker.address) as seeder,
        FakeHolder(CONTENT, tracker=tracker.address, held=HALF) as leecher,
    ):
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: f"{seeder.address} is banned" in shell.err())
        leecher.add_held(range(40))
        assert shell.end() == 0, shell.log()
        assert (shell.dir / "file").read_bytes() == CONTENT.data
        assert holder_rows(shell.out())[leecher.address][1] == 0


@pytest.mark.parametrize("fault", ["wrong_range", "plain_200", "too_many", "too_few", "cut", "garbage", "wrong_bytes"])
def test_a_seeder_that_does_wrong_where_it_may_choose(tracker, start_shell, fault):
    with (
        FakeHolder(CONTENT, tracker=tracker.address) as seeder,
        FakeHolder(CONTENT, tracker=tracker.address, held=HALF) as leecher,
    ):
        seeder.fail(fault, on=("any",))
        shell = start_shell(tracker=tracker)
        shell.say("download file")
        wait_until(lambda: seeder.faults_done)
        leecher.add_held(range(40))
        assert shell.end() == 0, shell.log()
        assert (shell.dir / "file").read_bytes() == CONTENT.data
        rows = holder_rows(shell.out())
        assert rows[leecher.address][1] == 0 and rows[seeder.address][1] > 0, rows
        assert fault != "wrong_bytes" or rows[seeder.address][2].startswith("banned")
