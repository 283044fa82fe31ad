"""Images that stay on disk until they are looked at."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.errors import DataError, first_line


@dataclass(frozen=True)
class ImageFiles:
    """Image files in order; indexing selects files, `load` reads them.

    Attributes:
        paths: one per image.
        prepare: from a colour picture (`PIL.Image.Image`) to pixels in [0, 1], shape (c, h, w).
    """

    paths: tuple[Path, ...]
    prepare: Callable[[Any], Float[Tensor, "c h w"]]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor | slice) -> "ImageFiles":
        chosen = self.paths[index] if isinstance(index, slice) else tuple(self.paths[i] for i in index.tolist())
        return ImageFiles(chosen, self.prepare)

    def dates(self) -> str:
        """Size and date of every file, in order; what has been put in its place since has others."""
        stats = [path.stat() if path.exists() else None for path in self.paths]
        return repr([None if stat is None else (stat.st_size, stat.st_mtime_ns) for stat in stats])

    def load(self) -> Float[Tensor, "n c h w"]:
        """Reads and prepares all of them, in float32.

        Raises:
            DataError: one is missing or no picture, or there are none at all.
        """
        if not self.paths:
            raise DataError("no pictures in this part of the data set: the benchmark has no such split")
        with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
            return torch.stack(list(pool.map(self._read, self.paths)))

    def _read(self, path: Path) -> Float[Tensor, "c h w"]:
        from PIL import Image

        try:
            with Image.open(path) as picture:
                return self.prepare(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: not a readable picture ({first_line(error)}); copy it anew") from None
