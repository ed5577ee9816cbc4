"""A user of a synced folder who knows exactly what each act took away."""

import ctypes
import hashlib
import os
import pathlib
import shutil

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2


def _rename(old, new, flags):
    if _libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(old))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents(folder):
    """Of all files, also those in the trash and on their way."""
    found = set()
    for path, _, names in os.walk(folder):
        for name in names:
            file = pathlib.Path(path, name)
            if file.is_file() and not file.is_symlink() and not name.endswith((".db", "-wal", "-shm")):
                found.add(digest(file))
    return found


class User:
    """Works in a folder while a peer syncs it.

    `written` has each content that was a whole file here, `ended` those that the user took away on purpose: what it was that
    went is looked at after it is gone, as the peer may have put something else there in between.
    """

    def __init__(self, folder, aside, written, ended):
        self.folder = pathlib.Path(folder)
        self.aside = pathlib.Path(aside)  # on the same file system, synced by nobody
        self.written = written
        self.ended = ended
        self.count = 0
        self.aside.mkdir(parents=True, exist_ok=True)

    def _spare(self):
        self.count += 1
        return self.aside / str(self.count)

    def _end(self, path):
        """What was taken out of the folder is no more."""
        if path.is_dir() and not path.is_symlink():
            self.ended.update(contents(path))
            shutil.rmtree(path)
        else:
            self.ended.add(digest(path))
            path.unlink()

    def save(self, name, data):
        """As editors do: a new file takes the old one's place."""
        path, spare = self.folder / name, self._spare()
        spare.write_bytes(data)
        self.written.add(digest(spare))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _rename(spare, path, _EXCHANGE)
        except FileNotFoundError:
            try:
                _rename(spare, path, _NOREPLACE)
            except OSError:
                self._end(spare)
            return
        self._end(spare)

    def overwrite(self, name, data, append=False):
        """In its place, by whoever has it open."""
        with open(self.folder / name, "r+b") as file:
            old = file.read()
            new = old + data if append else data
            self.written.add(hashlib.sha256(new).hexdigest())
            if not append:
                file.seek(0)
                file.truncate()
            file.write(data)
        if new != old:
            self.ended.add(hashlib.sha256(old).hexdigest())

    def rename(self, old, new):
        """Over what is there, if anything."""
        target, spare = self.folder / new, self._spare()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _rename(self.folder / old, target, _NOREPLACE)
        except FileExistsError:
            _rename(target, spare, _NOREPLACE)
            self._end(spare)
            _rename(self.folder / old, target, _NOREPLACE)

    def remove(self, name):
        """A file, or a folder with all that is in it."""
        spare = self._spare()
        _rename(self.folder / name, spare, _NOREPLACE)
        self._end(spare)
