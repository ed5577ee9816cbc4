"""Where the benchmarks work: a folder of their own, by default in memory, and words to the user."""

import fcntl
import os
import pathlib
import shutil
import sys
import tempfile

import report
from process import Failed

PREFIX = "enxame-bench-"
BLOCK_BYTES = 1 << 24


def _sweep(base):
    """Removes what a run that was killed has left; a live one holds its lock."""
    for folder in base.glob(f"{PREFIX}*"):
        try:
            with open(folder / "lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass


class Workplace:
    """A folder that is removed at the end."""

    def __init__(self, base, markdown):
        self.markdown = markdown
        base = base or pathlib.Path("/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir())
        _sweep(base)
        try:
            self.work = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
        except OSError as fault:
            raise Failed(f"cannot work in {base}: {fault.strerror}; --work DIR chooses another place") from None
        self._lock = open(self.work / "lock", "wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.work, ignore_errors=True)
        self._lock.close()

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def attempt(self, program, step):
        """What the step gives.  Where another program than ours failed in it, that is said, and it gives None."""
        try:
            return step()
        except Failed as fault:
            if program.startswith("enxame"):
                raise
            self.say(f"  {program} failed and is left out this time: {fault}")
            return None

    def table(self, head, rows):
        print(report.table(head, rows, self.markdown), flush=True)

    def needs_room(self, size):
        """Fails where fewer bytes than that are free here."""
        free = shutil.disk_usage(self.work).free
        if free < size:
            needed, there = report.size_text(size), report.size_text(free)
            raise Failed(f"{needed} are needed in {self.work.parent}, where {there} are free; "
                         "--work DIR chooses another place")  # fmt: skip

    def fresh(self, name):
        """An empty folder of that name."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def random_file(self, name, size):
        path = self.work / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for position in range(0, size, BLOCK_BYTES):
                file.write(os.urandom(min(BLOCK_BYTES, size - position)))
        return path
