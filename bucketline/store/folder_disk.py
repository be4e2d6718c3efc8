"""What a folder store does on the disk: every call blocks, and is made in a thread by ``folder``.

Comes in: keys and bytes. Goes out: files, and the errors of ``base``. Metadata lie in ``.bucketline/metadata`` under key
and ETag, written before the object appears and removed after it has gone: they never meet another version's bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import orjson

from bucketline.store.base import Changed, Exists, NotFound, Stat, StoreError, StoreFull, StoreUnavailable
from bucketline.store.folder_file import TemporaryFile, etag_of, sweep, sync_folder
from bucketline.store.paths import OURS, folders, names_of, walk

__all__ = ["Disk", "OpenFile"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)
_IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST)


class Disk:
    """One folder; ``address`` is how people call it."""

    def __init__(self, root: str, address: str, now: Callable[[], float]) -> None:
        self.root = root
        self.address = address
        self._now = now
        self._temporary = os.path.join(root, OURS, "tmp")
        self._metadata = os.path.join(root, OURS, "metadata")
        self._prepared = False
        self._preparing = threading.Lock()

    def open(self, key: str, etag: str | None) -> OpenFile:
        """A file for reading. Raises NotFound, Changed."""
        with self.told(key):
            # Not to wait for the writer of somebody's named pipe.
            file = os.open(self._path(key), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        opened = OpenFile(self, key, file)
        if opened.is_file and etag in (None, opened.etag):
            return opened
        opened.close()
        raise self.changed(key) if opened.is_file else self._absent(key)

    def get(self, key: str, offset: int, length: int | None, etag: str | None) -> bytes:
        opened = self.open(key, etag)
        try:
            return opened.range(offset, opened.size_bytes if length is None else length)
        finally:
            opened.close()

    def put(self, key: str, data: bytes, if_absent: bool, metadata: Mapping[str, str] | None) -> str:
        file = self.begin(key)
        try:
            with self.told(key):
                file.write(data)
            return self.commit(file, key, metadata, if_absent=if_absent)
        finally:
            file.discard()

    def begin(self, key: str) -> TemporaryFile:
        """A file to write to. Raises StoreUnavailable when the folder is none or cannot be made."""
        names_of(key)  # a key that is none is said before anything is written
        try:
            self._prepare()
            return TemporaryFile(self._temporary)
        except OSError as error:
            self._prepared = False  # perhaps somebody tidied up; the next writing makes it anew
            if error.errno in _FULL:
                raise self._sentence(error, key) from None
            raise self._unusable(error) from None

    def _prepare(self) -> None:
        """Once in a store's life: our own folder, and away with what a crash has left in it."""
        with self._preparing:
            if not self._prepared or not os.path.isdir(self._temporary):
                os.makedirs(self._temporary, exist_ok=True)
                sweep(self._temporary, self._now())
                self._prepared = True

    def write(self, file: TemporaryFile, key: str, pieces: Sequence[bytes]) -> None:
        with self.told(key):
            file.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def append(self, file: TemporaryFile, key: str, offset: int, length: int) -> None:
        """Append a range of an object to a file. Raises NotFound, Changed when the object is shorter."""
        source = self.open(key, None)
        try:
            with self.told(key):
                if file.append(source.file, offset, length) < length:
                    raise Changed(f"The object {key!r} in {self.address} ends before the range that was asked for.")
        finally:
            source.close()

    def commit(
        self, file: TemporaryFile, key: str, metadata: Mapping[str, str] | None, *, if_absent: bool = False
    ) -> str:
        path = self._path(key)
        with self.told(key):
            etag = file.seal()
            before = _etag_at(path)
            if metadata:
                self._note(key, etag, metadata)
            try:
                _in_its_folder(path, lambda: file.publish(path, if_absent=if_absent))
            except OSError as error:
                self._forget(key, etag)
                if if_absent and isinstance(error, FileExistsError):
                    raise Exists(f"The object {key!r} is already in {self.address}.") from None
                raise
            if before:
                self._forget(key, before)
            return etag

    def stat(self, key: str) -> Stat:
        with self.told(key):
            status = os.stat(self._path(key))
        if not stat.S_ISREG(status.st_mode):
            raise self._absent(key)
        etag = etag_of(status)
        return Stat(key, status.st_size, etag, status.st_mtime, self._noted(key, etag))

    def walk(self, prefix: str) -> Iterator[Stat]:
        with self.told(prefix):
            for key, _, status in walk(self.root, prefix):
                yield Stat(key, status.st_size, etag_of(status), status.st_mtime)

    def folders(self, prefix: str) -> list[str]:
        with self.told(prefix):
            return folders(self.root, prefix)

    def delete(self, key: str) -> None:
        path = self._path(key)
        etag = _etag_at(path)
        with contextlib.suppress(NotFound), self.told(key):
            os.unlink(path)
        if etag:
            self._forget(key, etag)
            self._drop_empty_folders(os.path.dirname(path))

    def _drop_empty_folders(self, folder: str) -> None:
        """Those of the first level stay: people put files into ``inbox/`` by hand."""
        with contextlib.suppress(OSError):
            while os.path.dirname(folder) != self.root and folder != self.root:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def copy(self, src: str, dst: str) -> None:
        stated = self.stat(src)
        file = self.begin(dst)
        try:
            self.append(file, src, 0, stated.size_bytes)
            self.commit(file, dst, stated.metadata)
        finally:
            file.discard()

    def changed(self, key: str) -> Changed:
        return Changed(f"The object {key!r} in {self.address} was replaced while it was in use.")

    def _absent(self, key: str) -> NotFound:
        return NotFound(f"There is no object {key!r} in {self.address}.")

    def _path(self, key: str) -> str:
        return os.path.join(self.root, *names_of(key))

    def _note_path(self, key: str, etag: str) -> str:
        return os.path.join(self._metadata, f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:40]}-{etag}.json")

    def _note(self, key: str, etag: str, metadata: Mapping[str, str]) -> None:
        path = self._note_path(key, etag)
        file = TemporaryFile(self._temporary)
        try:
            file.write(orjson.dumps(dict(metadata)))
            file.seal()
            _in_its_folder(path, lambda: file.publish(path, if_absent=False))
        finally:
            file.discard()

    def _noted(self, key: str, etag: str) -> dict[str, str]:
        try:
            with open(self._note_path(key, etag), "rb") as file:
                noted: dict[str, str] = orjson.loads(file.read())
                return noted
        except (OSError, orjson.JSONDecodeError):
            return {}

    def _forget(self, key: str, etag: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._note_path(key, etag))

    @contextlib.contextmanager
    def told(self, key: str) -> Iterator[None]:
        """The system's errors in a sentence."""
        try:
            yield
        except OSError as error:
            raise self._sentence(error, key) from None

    def _sentence(self, error: OSError, key: str) -> StoreError:
        reason = (error.strerror or str(error)).lower()
        if error.errno in _FULL:
            return StoreFull(f"No room in {self.address} for {key!r}: {reason}; free some and try again.")
        if error.errno in _ABSENT:
            return self._absent(key)
        if error.errno == errno.ENAMETOOLONG:
            return StoreError(f"The name {key!r} is too long for the folder {self.address}.")
        if error.errno in _IN_THE_WAY:
            return StoreError(
                f"{key!r} cannot be written in the folder {self.address}: one name there would be both a file and a folder."
            )
        return self._unusable(error)

    def _unusable(self, error: OSError) -> StoreUnavailable:
        reason = (error.strerror or str(error)).lower()
        return StoreUnavailable(f"The folder {self.address} cannot be used: {reason}; check its rights and its disk.")


class OpenFile:
    """A file of one version, read by position. ``close`` may come while another thread still reads."""

    def __init__(self, disk: Disk, key: str, file: int) -> None:
        status = os.fstat(file)
        self.file = file
        self.is_file = stat.S_ISREG(status.st_mode)
        self.size_bytes = status.st_size
        self.etag = etag_of(status)
        self._disk, self._key = disk, key
        self._guard = threading.Lock()

    def range(self, offset: int, length: int) -> bytes:
        """The bytes there are of a range. Raises Changed when the file is no longer what was opened."""
        with self._guard, self._disk.told(self._key):
            if self.file < 0:
                return b""
            data = _pread(self.file, max(0, min(length, self.size_bytes - offset)), offset)
            if etag_of(os.fstat(self.file)) != self.etag:
                raise self._disk.changed(self._key)
            return data

    def close(self) -> None:
        with self._guard:
            if self.file >= 0:
                os.close(self.file)
                self.file = -1


def _pread(file: int, length: int, offset: int) -> bytes:
    data = os.pread(file, length, offset)
    while len(data) < length and (more := os.pread(file, length - len(data), offset + len(data))):
        data += more  # network file systems and very long reads give less than was asked
    return data


def _etag_at(path: str) -> str | None:
    try:
        return etag_of(os.stat(path))
    except OSError:
        return None


def _in_its_folder(path: str, publish: Callable[[], None]) -> None:
    """Publish into a folder that may not be there yet, or that a deletion removes at this moment."""
    for _ in range(8):
        try:
            return publish()
        except FileNotFoundError:
            _make_folder(os.path.dirname(path))
        except NotADirectoryError as error:
            raise FileExistsError(errno.EEXIST, error.strerror, path) from None
    return publish()


def _make_folder(folder: str) -> None:
    """Make a folder and those above, each of them safe on the disk."""
    above = os.path.dirname(folder)
    try:
        os.mkdir(folder)
    except FileNotFoundError:
        _make_folder(above)
        return _make_folder(folder)
    except FileExistsError:
        return None
    except NotADirectoryError as error:
        raise FileExistsError(errno.EEXIST, error.strerror, folder) from None
    with contextlib.suppress(FileNotFoundError):
        sync_folder(above)
    return None
