"""Ids of models that only a file names: `local/<stem>` of a checkpoint, `local/<stem>.<function>` of a function."""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_LONGEST = 180
"""Characters of one part: file systems take 255, and names of files are made of it."""


class LocalFile(NamedTuple):
    """A file that a model is made of.

    Attributes:
        path: absolute, so that an id does not depend on the working folder.
        function: of a Python file; empty for a checkpoint.
    """

    path: Path
    function: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What an id may be made of, the first that tells the files of one folder apart."""
        function = f".{self.function}" if self.function else ""
        return self.path.stem + function, self.path.name + function

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders that it is in."""
        return self.path.parent.parts[1:]


def derive(files: Iterable[LocalFile]) -> dict[LocalFile, str]:
    """An id for each of the files of one call, the same in whatever order they are given.

    Where files of several folders have one name, the id begins with the last folders of their paths, as few as tell
    them apart.

    >>> derive([LocalFile(Path("/nets/run 1/best.pt")), LocalFile(Path("/nets/run 2/best.pt"))]).values()
    dict_values(['local/run-1/best', 'local/run-2/best'])
    """
    alike = defaultdict[str, list[LocalFile]](list)
    distinct = list(dict.fromkeys(files))
    for file in distinct:
        alike[clean(file.names[0])].append(file)
    names = {file: name for group in alike.values() for file, name in _told_apart(group).items()}
    return {file: f"local/{names[file]}" for file in distinct}


def clean(name: str) -> str:
    """What one part of an id can hold of a name: accents are left out, and `-` stands for other marks.

    A hash stands for letters that are none of the alphabet's, and for the end of a long name.

    >>> clean("epoch=9-val_acc=0.98"), clean(".hidden"), clean("modèle (2)"), clean("模型")
    ('epoch-9-val_acc-0.98', 'hidden', 'modele-2', 'file-c98e118e')
    """
    if len(name) <= _LONGEST and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+@-]*", name):
        return name
    bare = "".join(mark for mark in unicodedata.normalize("NFKD", name) if not unicodedata.combining(mark))
    kept = re.sub(r"[^A-Za-z0-9._+@-]+", "-", bare).lstrip("._+@-").rstrip("-")
    lossy = any(mark.isalnum() and not mark.isascii() for mark in bare)
    if kept and not lossy and len(kept) <= _LONGEST:
        return kept
    return f"{kept[: _LONGEST - 9] or 'file'}-{_hash(name)}"


def _hash(name: str) -> str:
    return hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogatepass")).hexdigest()[:8]


def _told_apart(files: Sequence[LocalFile]) -> dict[LocalFile, str]:
    """Names of files that would all have the same one."""
    for kind in range(len(files[0].names)):
        for depth in range(1 + max(len(file.folders) for file in files)):
            chosen = [(*file.folders[::-1][:depth][::-1], file.names[kind]) for file in files]
            names = ["/".join(map(clean, parts)) for parts in chosen]
            if len(set(names)) == len(files):
                return dict(zip(files, names, strict=True))
    return {file: f"{clean(file.names[0])}-{_hash(f'{file.path}:{file.function}')}" for file in files}
