"""The data frame that `pagbench.run` returns: rows of several models, and what is declared of each in `.attrs`.

Only here is anything read from or put into `.attrs`, as plain JSON values: pandas copies and stores no others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pagbench.cards import ModelCard
from pagbench.results.agreement import check_same_targets
from pagbench.results.files import Declared, Result
from pagbench.results.preflight import Preflight
from pagbench.results.verification import Verification


def to_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Rows of several models; `.attrs` has by model their pre-flight cards, verifications and all that is declared.

    Raises:
        ResultsError: they were measured against different networks.
    """
    check_same_targets((result.name, result.provenance.target_weights) for result in results)
    rows = pd.concat([result.rows for result in results], ignore_index=True) if results else pd.DataFrame()
    cards = {result.name: result.document.get("preflight") for result in results}
    declared = {result.name: result.declared for result in results}
    verified = {name: known.verification for name, known in declared.items()}
    rows.attrs = {
        "preflight": _present(cards),
        "verifications": {
            name: record.model_dump(mode="json", by_alias=True) for name, record in _present(verified).items()
        },
        "trained_on_target": _present({name: known.trained_on_target for name, known in declared.items()}),
        "licenses": _present({name: known.license for name, known in declared.items()}),
        "embargoes": _present({name: known.embargo for name, known in declared.items()}),
        "seconds_per_image": _present({name: known.seconds_per_image for name, known in declared.items()}),
        "networks": _present({name: known.network for name, known in declared.items()}),
        "cards": {
            name: card.model_dump(mode="json", exclude_none=True)
            for name, card in _present({name: known.card for name, known in declared.items()}).items()
        },
        "target_weights": {result.name: dict(result.provenance.target_weights) for result in results},
        "submitted": {name: True for name, known in declared.items() if known.submitted},
    }
    return rows


def declared_in(rows: pd.DataFrame, model: str) -> Declared:
    """What `.attrs` of a data frame declares of a model."""
    preflight, record, card = (rows.attrs.get(kind, {}).get(model) for kind in ("preflight", "verifications", "cards"))
    return Declared(
        None if preflight is None else Preflight.model_validate(preflight),
        None if record is None else Verification.model_validate(record),
        rows.attrs.get("licenses", {}).get(model),
        rows.attrs.get("trained_on_target", {}).get(model),
        rows.attrs.get("seconds_per_image", {}).get(model),
        rows.attrs.get("embargoes", {}).get(model),
        rows.attrs.get("networks", {}).get(model),
        None if card is None else ModelCard.model_validate(card),
        rows.attrs.get("submitted", {}).get(model, False),
    )


def target_weights_in(rows: pd.DataFrame) -> Mapping[str, Mapping[str, str]]:
    """Hashes of the networks behind the targets of each model's rows, where `.attrs` of a data frame says them."""
    weights: Mapping[str, Mapping[str, str]] = rows.attrs.get("target_weights", {})
    return weights


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
