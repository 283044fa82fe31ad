"""Rows of first editions stay what they were when they were published."""

import numpy as np
import pytest

from pagbench import columns, measures, results
from pagbench.measures.calibration import fit_temperature
from pagbench.models import registry

_ROUNDED = 2.0**-11
"""Published values have 11 significant bits."""


@pytest.mark.parametrize("name", ["digits/noise-0.6", "digits/standard", "digits/smoothness-300"])
def test_rows_are_the_published_ones(name, digits, digits_batch, digits_splits, observe):
    kept = results.read(results.path_of(results.PUBLISHED, digits, name), columns.schema(digits))
    published = kept.rows.set_index("sample_id").loc[list(digits_batch.ids)]
    classifier = registry.find(name).load(digits).classifier
    calibration = digits_splits.calibration
    temperature = fit_temperature(classifier(calibration.images), calibration.labels, seed=0)
    context = observe(classifier, temperature.value)
    found = {
        column: values for measure in digits.measures for column, values in measures.load(measure)(context).items()
    }
    assert set(found) <= set(published.columns)
    np.testing.assert_allclose(
        temperature, published[["temperature", "temperature_low", "temperature_high"]].iloc[0], rtol=_ROUNDED
    )
    for column, values in found.items():
        if not column.startswith("temperature"):
            np.testing.assert_allclose(values, published[column], rtol=_ROUNDED, atol=2e-5, err_msg=column)
