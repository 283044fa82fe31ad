"""Studies that try a benchmark's page: a crowd of models, and cards that mean harm."""

from dataclasses import replace

import numpy as np
import pandas as pd

from pagbench.reports.site import benchmark, building, table
from pagbench.reports.site.rendering import render

HOSTILE = """</script><script>alert(1)</script>"'><img src=x onerror=alert(2)>javascript:alert(3)"""


def crowd(small, count):
    """A study of so many ranked models, made of a small one's with a little noise."""
    ranked = small.board[small.board["rank"].notna()]
    chosen = np.arange(count) % len(ranked)
    board = ranked.iloc[chosen].reset_index(drop=True)
    rng = np.random.default_rng(0)
    floats = board.select_dtypes("float").columns
    board[floats] = board[floats] + rng.normal(0, 0.01, size=(count, 1))
    board["model"] = [f"digits/network-{place}" for place in range(count)]
    board["rank"] = np.arange(1, count + 1)
    board["rank_low"], board["rank_high"] = board["rank"].sub(9).clip(1), board["rank"].add(9).clip(upper=count)
    models = {model.card.id: model for model in small.models}
    copies = [
        replace(models[was], card=models[was].card.model_copy(update={"id": name}), paired=False)
        for was, name in zip(ranked["model"].iloc[chosen], board["model"], strict=True)
    ]
    return replace(small, models=tuple(copies), board=board.copy())


def page_of(shown):
    """The page of a study's benchmark."""
    return benchmark.page(shown, table.downloads(shown))


def written(shown, folder):
    """The page of a study's benchmark, on disk with its scripts and styles."""
    page = page_of(shown)
    for path, found in {page.path: render(page).encode(), **dict(building.assets())}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(found)
    return folder / page.path


def hostile(plain):
    """A study whose cards say what a card must never get to do."""
    said = dict.fromkeys(("title", "family", "license", "architecture", "dataset", "authors", "reference"), HOSTILE)
    models = [
        replace(n, card=n.card.model_copy(update=said)) if place % 2 else n for place, n in enumerate(plain.models)
    ]
    board = plain.board.assign(family=HOSTILE, license=HOSTILE, preflight=HOSTILE)
    board["status"] = [f"doubtful: {HOSTILE}" if s == "ranked" and i else s for i, s in enumerate(board["status"])]
    board.loc[1:, ["rank", "rank_low", "rank_high"]] = pd.NA
    return replace(plain, models=tuple(models), board=board)
