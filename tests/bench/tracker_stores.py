"""Where trackers keep what they know.  A store serves: a context of one or several trackers, on a fresh copy of the small
database (Course.fill_small() made it)."""

import contextlib
import pathlib
import sys

from process import Failed
from tracker_course import PATIENT

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import postgres  # noqa: E402

# As a server that has this work alone would have; what concerns durability is as it comes.
SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "2GB", "min_wal_size": "1GB", "max_connections": "100"}
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
TEMPLATE = "bench_small"
COPY = "bench_run"


def fault(folder):
    """Why there can be no cluster in the folder; None where there can."""
    try:
        postgres.Home(folder).close()
    except postgres.Unavailable as reason:
        return str(reason)
    return None


class Sqlite:
    name = ""
    title = ""

    @contextlib.contextmanager
    def serve(self, course):
        database = course.small_copy()
        with course.enxame(database.parent, database) as server:
            yield server


class Postgres:
    """All share one cluster, which lies where the databases do and ends with the course."""

    def __init__(self, trackers):
        self.trackers = trackers
        self.name = "-postgresql" if trackers == 1 else f"-postgresql-{trackers}"
        self.title = "PostgreSQL: " if trackers == 1 else f"PostgreSQL, {trackers} trackers: "

    @contextlib.contextmanager
    def serve(self, course):
        cluster = self.cluster(course)
        cluster.drop(COPY)
        cluster.sql(f"CREATE DATABASE {COPY} TEMPLATE {TEMPLATE} OWNER {postgres.USER}")
        cluster.sql("CHECKPOINT")
        with course.enxame(course.disk.fresh("run"), cluster.uri(COPY), PATIENT, self.trackers) as server:
            server.others.append(cluster.process.pid)
            yield server

    @staticmethod
    def cluster(course):
        """One with the template in it."""
        if not course.cluster:
            try:
                home = course.stack.enter_context(postgres.Home(course.disk.work.parent))
                cluster = home.cluster(durable=True, settings=SETTINGS, segment_mib=16)
                careless = [name for name in DURABLE if cluster.sql(f"SHOW {name}") != "on"]
                if careless:
                    raise Failed(f"PostgreSQL runs without {', '.join(careless)}: its commits would not be durable")
                cluster.sql(f"CREATE DATABASE {TEMPLATE} OWNER {postgres.USER}")
                with course.enxame(course.disk.fresh("small-postgresql"), cluster.uri(TEMPLATE)) as server:
                    course.fill_small(server)
            except (postgres.Unavailable, postgres.Failed) as problem:
                raise Failed(str(problem)) from None
            course.cluster = cluster
        return course.cluster
