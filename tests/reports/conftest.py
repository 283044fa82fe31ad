import pytest
from browser import browser, page, reader, site, small_results, studies  # noqa: F401 (fixtures)

from pagbench.reports.site import board_columns


@pytest.fixture(scope="session")
def digits_study(studies):  # noqa: F811
    """The published results of digits@1, read once for all tests of pages; tests only read it."""
    return next(study for study in studies if study.benchmark.label == "digits@1")


@pytest.fixture(scope="session")
def described(digits_study):
    """Its columns, and what they are held against."""
    return board_columns.describe(digits_study)
