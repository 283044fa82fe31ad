"""Tables of all models on all blocks, each kept as soon as it is measured: a run that was killed goes on."""

import hashlib
from collections.abc import Sequence
from functools import cache as once
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import Progress

from pagbench.errors import ContractError, PagbenchError
from pagbench.models import requests
from pagbench.running import session as measuring
from pagbench.running.interrupts import CancelToken
from pagbench.studies.stability import choices, ways
from pagbench.studies.stability.blocks import Block
from pagbench.studies.stability.passes import measure
from pagbench.studies.stability.preparing import Prepared
from pagbench.studies.stability.published import Published
from pagbench.studies.stability.replicates import VALUE, key
from pagbench.studies.stability.ways import Choice

_TOLERANCE = 2e-3
"""Of a value that is published, with fewer digits, and what is measured here."""
_CODE = (Path(__file__).parent, Path(choices.__file__), Path(ways.__file__))


class Tables:
    """Measures every model on every block, or reads what an earlier run has left.

    Args:
        prepared: the blocks.
        choices: whose settings can all be computed.
        published: the models.
        bar: shows how far it is.
        stop: whether a signal has come.
    """

    def __init__(
        self,
        prepared: Prepared,
        choices: Sequence[Choice],
        published: Sequence[Published],
        bar: Progress,
        stop: CancelToken,
    ) -> None:
        self._prepared, self._choices, self._published = prepared, choices, published
        self._bar, self._stop = bar, stop
        self._lost: dict[str, str] = {}

    def measured(self) -> tuple[dict[str, pd.DataFrame], list[str]]:
        """Tables by model, and why others have none."""
        task = self._bar.add_task("models", total=len(self._prepared.ids) * len(self._published))
        found: dict[str, list[pd.DataFrame]] = {model.name: [] for model in self._published}
        for number, ids in enumerate(self._prepared.parts):
            block = self._prepared.block(number, self._choices)
            for model in self._published:
                self._bar.update(task, description=model.name)
                if model.name not in self._lost:
                    found[model.name] += self._table(model, block)
                self._bar.update(task, advance=len(ids))
                self._stop.check()
        tables = {name: pd.concat(parts) for name, parts in found.items() if name not in self._lost}
        for model in self._published:
            if model.name in tables and (flaw := self._difference(model, tables[model.name])):
                self._lost[model.name] = flaw
        kept = {name: table for name, table in tables.items() if name not in self._lost}
        return kept, [f"{name}: {reason}" for name, reason in self._lost.items()]

    def _table(self, model: Published, block: Block) -> list[pd.DataFrame]:
        """One table, or none where the model cannot be measured."""
        what = ("sensitivity", _code(repr(self._choices)), model.name, model.weights)
        try:
            columns = self._prepared.sources.kept(
                what, self._prepared.images(block.ids), lambda: self._computed(model, block)
            )
        except PagbenchError as error:
            self._lost[model.name] = str(error).removeprefix(f"{model.name}: ")
            return []
        return [pd.DataFrame({n: v.cpu().numpy() for n, v in columns.items()}, index=list(block.ids))]

    def _computed(self, model: Published, block: Block) -> dict[str, torch.Tensor]:
        """The columns of a model's table.

        Raises:
            PagbenchError: the network cannot be loaded, is another than its rows are of, or fails.
        """
        (request,) = requests.resolve([model.name], block.benchmark)
        loaded = request.load(block.benchmark)
        if loaded.weights_sha256 != model.weights:
            here = loaded.weights_sha256[:12]
            raise ContractError(f"its rows are of weights {model.weights[:12]}, here are {here}")
        with measuring.guarded(model.name):
            table = measure(loaded.classifier.to(block.images.device), block, self._choices)
        return {str(name): torch.from_numpy(table[name].to_numpy(copy=True)) for name in table}

    def _difference(self, model: Published, table: pd.DataFrame) -> str:
        """How far what is measured here is from the published rows; empty where it is the same."""
        benchmark = self._prepared.benchmark
        choice = next(choice for choice in self._choices if choice.ranking == "alignment")
        there = model.rows.loc[list(table.index), benchmark.alignment].to_numpy(float)
        here = table[key(choice, choice.published, VALUE)].to_numpy(float)
        off = float(np.nan_to_num(np.abs(here - there)).max())
        return "" if off < _TOLERANCE else f"its {benchmark.alignment} differs from its published rows by {off:.2g}"


@once
def _code(choices: str) -> str:
    """Hash of the code and of the choices that tables depend on, so that no change of either meets older ones."""
    found = hashlib.sha256(choices.encode())
    for path in _CODE:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    return found.hexdigest()
