"""Where results lie: a file or folder on a disk, or behind a URL, through pyarrow's file systems. No torch."""

import errno
import os
import uuid
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs

from pagbench.errors import ResultsError, first_line
from pagbench.storage.files import TEMPORARY, at_home, file_lock, read_regular, replacing

_OBJECT_STORES = ("s3", "gcs", "abfs")
_ATTEMPTS = 10
LARGEST = 2**28
"""Bytes of a file that is read whole: ImageNet's rows take a tenth."""


def is_url(folder: str | Path) -> bool:
    """Whether a user's name for a folder is a URL, as `s3://bucket/folder`.

    >>> is_url("s3://bucket/results"), is_url("results")
    (True, False)
    """
    return "://" in str(folder)


@dataclass(frozen=True)
class StoragePath:
    """A file or a folder.

    Attributes:
        files: the file system.
        path: in it.
    """

    files: fs.FileSystem
    path: str

    @classmethod
    def parse(cls, folder: "str | Path | StoragePath") -> "StoragePath":
        """A folder on a disk, or behind a URL that pyarrow knows (s3, gs, hdfs) or fsspec does.

        Raises:
            ResultsError: no file system is known for it, or it cannot be reached.
        """
        if isinstance(folder, StoragePath):
            return folder
        if not is_url(folder):
            return cls(fs.LocalFileSystem(), Path(os.path.abspath(at_home(folder))).as_posix())  # noqa: PTH100 (links stay)
        url = str(folder)
        try:
            try:
                files, path = fs.FileSystem.from_uri(url)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # a scheme that fsspec may know
                files, path = fs.FileSystem.from_uri(f"fsspec+{url}")
            if not path.strip("/"):
                raise ValueError("it names no bucket or folder")
            return cls(files, path)
        except (pa.ArrowException, OSError, ValueError, ImportError) as error:
            raise ResultsError(
                f"{url}: cannot be reached ({first_line(error)}); expected a folder, or a URL of s3, gs or another "
                "file system whose fsspec package is installed"
            ) from None

    @property
    def local(self) -> Path | None:
        """Its path, where it is on a disk."""
        return Path(self.path) if isinstance(self.files, fs.LocalFileSystem) else None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name

    def __str__(self) -> str:
        return self.path if self.local is not None else f"{self.files.type_name}:{self.path}"

    def __truediv__(self, name: str) -> "StoragePath":
        return StoragePath(self.files, f"{self.path.rstrip('/')}/{name}")

    @property
    def parent(self) -> "StoragePath":
        """The folder that it is in."""
        return StoragePath(self.files, str(PurePosixPath(self.path).parent))

    def exists(self) -> bool:
        """Whether a file is there."""
        return self.files.get_file_info(self.path).type == fs.FileType.File

    def read(self, largest: int = LARGEST) -> bytes:
        """The whole file, of at most so many bytes, of which no more are read; on a disk a regular one.

        Raises:
            FileNotFoundError: there is none.
            OSError: it is larger, no regular file, or cannot be read.
        """
        if self.local is not None:
            return read_regular(self.local, largest)
        for _ in range(_ATTEMPTS):
            try:
                with self.files.open_input_file(self.path) as file:
                    content: bytes = file.read(largest + 1)
            except OSError:
                if self.exists():
                    raise
                raise FileNotFoundError(self.path) from None  # object stores say it in their own words
            if len(content) > largest:
                raise OSError(errno.EFBIG, f"more than {largest} bytes", str(self))
            # object stores are asked for the size first: another run may replace the object before it is read
            if len(content) == self.files.get_file_info(self.path).size:
                break
        return content

    def children(self, *, deep: bool = False) -> list["StoragePath"]:
        """Files in the folder, and with `deep` in those below, in order; none where there is no folder."""
        try:
            infos = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True, recursive=deep))
        except FileNotFoundError:  # removed while it is listed
            return []
        except OSError as error:
            raise ResultsError(f"{self}: cannot be listed ({first_line(error)})") from None
        return [StoragePath(self.files, info.path) for info in sorted(infos, key=lambda i: i.path) if info.is_file]

    def write(self, content: bytes) -> None:
        """Puts the whole file there: readers see the old one or the new one, never half of one.

        It is written beside its place, and renamed; object stores show no object before it is whole.

        Raises:
            OSError: the file system refuses.
        """
        if self.local is None:
            self._put(content)
            return
        for attempt in range(_ATTEMPTS):
            try:
                with replacing(self.local) as temporary:
                    temporary.write_bytes(content)
                return
            except FileNotFoundError:  # another run has just emptied and removed the folder
                if attempt == _ATTEMPTS - 1:
                    raise

    def _put(self, content: bytes) -> None:
        """The same behind a URL."""
        if self.files.type_name in _OBJECT_STORES:
            with self.files.open_output_stream(self.path) as stream:
                stream.write(content)
            return
        temporary = self.parent / f".{self.name}.{uuid.uuid4().hex}{TEMPORARY}"
        self.files.create_dir(self.parent.path, recursive=True)
        with self.files.open_output_stream(temporary.path) as stream:
            stream.write(content)
        self.files.move(temporary.path, self.path)

    def remove(self) -> None:
        """Removes the file, if it is there."""
        with suppress(FileNotFoundError):
            self.files.delete_file(self.path)

    def remove_folder(self) -> None:
        """Removes the folder with what is in it, if it is there."""
        with suppress(FileNotFoundError):
            self.files.delete_dir(self.path)

    def remove_if_empty(self) -> None:
        """Removes the folder unless a file is in it, or has come meanwhile. Behind a URL an empty one may stay.

        What a killed process has left half written goes, too; one that lives writes it anew.
        """
        if self.local is None:
            return
        with suppress(OSError):
            for path in self.local.glob(f".*{TEMPORARY}"):
                path.unlink(missing_ok=True)
            self.local.rmdir()

    def lock(self) -> AbstractContextManager[bool]:
        """Within, no other run changes what is in this folder, if the value is true.

        Behind a URL, and on a file system without locks, nothing can be locked, and it may.
        """
        return nullcontext(False) if self.local is None else file_lock(self.local / ".lock")
