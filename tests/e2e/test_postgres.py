"""The PostgreSQL servers that tests use: nothing of them may outlive the tests."""

import pathlib
import signal
import subprocess
import sys

import pytest

import postgres
from programs import wait_until

HERE = pathlib.Path(__file__).parent

# Makes a home of a server that does not answer, and waits.
MAKER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import postgres
home = postgres.Home()
cluster = home.cluster()
cluster.freeze()
print(home.folder, *sorted(postgres._processes(home.folder)), flush=True)
time.sleep(600)
"""


def segments():
    """The segments of shared memory of this machine."""
    return {line.split()[1] for line in pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def test_nothing_is_left_of_a_server_whose_tests_were_killed(clusters):
    maker = subprocess.Popen([sys.executable, "-c", MAKER, HERE], stdout=subprocess.PIPE, text=True)
    folder, *pids = maker.stdout.readline().split()
    number = (pathlib.Path(folder) / "c0/data/postmaster.pid").read_text().splitlines()[6].split()[1]
    assert len(pids) > 3 and number in segments()
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    wait_until(lambda: not pathlib.Path(folder).exists())
    wait_until(lambda: not any(pathlib.Path("/proc", pid).exists() for pid in pids))
    assert number not in segments()


def test_a_killed_server_has_all_that_was_committed(clusters):
    cluster = clusters.cluster(durable=True)
    cluster.sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    for how in (cluster.kill, cluster.stop):
        how()
        with pytest.raises(postgres.Failed):
            cluster.sql("SELECT 1")
        cluster.start()
        assert cluster.sql("SELECT n FROM kept") == "1"


def test_a_standby_takes_over_with_what_was_committed(clusters):
    primary = clusters.cluster(durable=True)
    standby = primary.standby()
    primary.sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    primary.kill()
    standby.promote()
    assert standby.sql("INSERT INTO kept VALUES (2); SELECT count(*) FROM kept") == "2"


def test_a_command_runs_with_a_server_and_its_status_is_passed_on():
    words = 'test -n "$(psql -Atc "SELECT 1" "${ENXAME_TEST_POSTGRES}postgres")" && exit 7'
    command = [sys.executable, HERE / "postgres.py", "sh", "-c", words]
    try:
        postgres.Home().close()
    except postgres.Unavailable as reason:
        pytest.skip(str(reason))
    assert subprocess.run(command, timeout=120, check=False).returncode == 7
