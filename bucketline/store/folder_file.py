"""One file being written in a folder store: temporary, locked, made visible in one step.

Comes in: bytes, or ranges of other files. Goes out: a file under its final name, with ``fsync`` before and after, or
nothing. All methods block and are called in a thread by ``folder``. A temporary file is locked as long as its process
lives, so ``sweep`` can tell what a crash has left from what another process is writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
import uuid

__all__ = ["TemporaryFile", "etag_of", "sweep", "sync_folder"]

_YOUNG_S = 60.0  # between a file's making and its locking lies less than this
_NO_RANGE_COPY = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_COPY_BYTES = 1 << 20


def etag_of(status: os.stat_result) -> str:
    """Cheap and sufficient: every write here makes a new file, and a change in place moves time or size."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sweep(folder: str, now_s: float) -> int:
    """Remove temporary files that no living process holds; returns how many."""
    removed = 0
    for entry in list(os.scandir(folder)):
        with contextlib.suppress(OSError):
            if now_s - entry.stat().st_mtime < _YOUNG_S:
                continue
            file = os.open(entry.path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
                removed += 1
            finally:
                os.close(file)
    return removed


class TemporaryFile:
    """A file without a name that counts. ``publish`` or ``discard`` ends it; the lock serialises a late thread with
    the discarding one after a cancellation.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, f"{os.getpid()}-{uuid.uuid4().hex}.tmp")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._guard = threading.Lock()
        self._digest: hashlib._Hash = hashlib.sha256()
        with contextlib.suppress(OSError):  # some network file systems have no locks; then age alone protects
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        with self._guard:
            self._write(data)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def append(self, source: int, offset: int, length: int) -> int:
        """Append a range of an open file, inside the kernel where it can; returns how much there was of it."""
        with self._guard:
            left = length
            while left:
                done = self._append_some(source, offset, left)
                if not done:
                    break
                offset, left = offset + done, left - done
            return length - left

    def _append_some(self, source: int, offset: int, most: int) -> int:
        if hasattr(os, "copy_file_range"):
            try:
                return os.copy_file_range(source, self._file, most, offset_src=offset)
            except OSError as error:
                if error.errno not in _NO_RANGE_COPY:
                    raise
        data = os.pread(source, min(most, _COPY_BYTES), offset)
        self._write(data)
        return len(data)

    def seal(self) -> str:
        """All bytes to the disk; returns the ETag the file has from now on, under whatever name."""
        with self._guard:
            os.fsync(self._file)
            return etag_of(os.fstat(self._file))

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def publish(self, path: str, *, if_absent: bool) -> None:
        """Give the file its name in one step. Raises FileExistsError when ``if_absent`` and the name is taken."""
        with self._guard:
            if if_absent:
                self._link(path)
            else:
                self._rename(path)
            self._close()
        sync_folder(os.path.dirname(path))

    def _link(self, path: str) -> None:
        try:
            os.link(self.path, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Without hard links the name is reserved first: an empty file is visible until the next step.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.replace(self.path, path)
        else:
            os.unlink(self.path)

    def _rename(self, path: str) -> None:
        try:
            os.replace(self.path, path)
        except IsADirectoryError:
            os.rmdir(path)  # an empty folder that deleted objects left; a full one raises and stays
            os.replace(self.path, path)

    def discard(self) -> None:
        """Leave nothing behind; after ``publish`` it does nothing."""
        with self._guard:
            if self._file >= 0:
                self._close()
                with contextlib.suppress(OSError):
                    os.unlink(self.path)

    def _close(self) -> None:
        os.close(self._file)
        self._file = -1
