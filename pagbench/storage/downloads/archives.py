"""Files that are published in an archive with others."""

import os
import shutil
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pagbench.errors import WeightsError


def unpack(archive: Path, path: Path) -> None:
    """Takes one file out of a tar archive, by way of a temporary file: the one whose name ends the file's place.

    Args:
        archive: the archive, compressed or not.
        path: where the file shall be, as in `…/smoothing/models/x.tar` for the member `models/x.tar`.

    Raises:
        WeightsError: the archive is none, or has no such file, or the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            member = next((m for m in tar if m.isfile() and _ends(path, m.name)), None)
            content = None if member is None else tar.extractfile(member)
            if content is None:
                raise WeightsError(f"{archive}: has no {path.parent.name}/{path.name}; put the file at {path}")
            with content, temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
        temporary.replace(path)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
            raise WeightsError(
                f"{path}: cannot write there ({error.strerror}); make room, or set PAGBENCH_CACHE to another folder"
            ) from None
        raise WeightsError(f"{archive}: cannot be unpacked ({error}); delete it to fetch it anew") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _ends(path: Path, name: str) -> bool:
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and path.parts[-len(parts) :] == parts
