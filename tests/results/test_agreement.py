"""Who is left out where results files contradict each other: never those that are believed more."""

import numpy as np
import pytest

from pagbench.errors import ResultsError
from pagbench.results import plain
from pagbench.results.agreement import PUBLISHED, SUBMITTED, VERIFIED, Claims, odd_ones


def claim(name, voice, part=None, labels=(0, 1, 2)):
    return Claims(name, voice, {} if part is None else {"score": part * 64}, np.array(labels, np.int16))


def test_submissions_cost_no_other_model_anything_whatever_they_say():
    published = [claim(f"p{i}", PUBLISHED, "a") for i in range(2)]
    hostile = [claim(f"x{i}", SUBMITTED, "b", (1, 2, 0)) for i in range(9)]
    assert set(odd_ones([*published, *hostile])) == {one.name for one in hostile}
    alone = [claim("p", PUBLISHED), claim("x", SUBMITTED, "b"), claim("y", SUBMITTED, "c"), claim("z", SUBMITTED)]
    assert set(odd_ones(alone)) == {"x", "y"}, "no published file speaks of the part: nobody else is left out"


def test_where_nothing_is_published_verified_submissions_count():
    honest, hostile = claim("h", VERIFIED, "a"), [claim(f"x{i}", SUBMITTED, "b", (1, 2, 0)) for i in range(3)]
    assert set(odd_ones([*hostile, honest])) == {one.name for one in hostile}
    one, other = claim("x", SUBMITTED, "a", (0, 1, 2)), claim("y", SUBMITTED, "a", (1, 2, 0))
    assert set(odd_ones([one, other])) == {"x", "y"}, "nothing tells which is right"
    assert odd_ones([one, claim("z", SUBMITTED, "a", (0, -1, 2))]) == {}
    assert odd_ones([]) == {}


def test_published_results_that_contradict_each_other_are_for_a_person():
    with pytest.raises(ResultsError, match="its score has weights"):
        odd_ones([claim("a", PUBLISHED, "a"), claim("b", PUBLISHED, "b")])
    with pytest.raises(ResultsError, match="its labels are not those of"):
        odd_ones([claim("a", PUBLISHED), claim("b", PUBLISHED, labels=(2, 1, 0))])


def test_many_keys_that_repeat_are_one_line_at_once():
    text = "{" + ",".join(f'"{number}": 0' for number in range(200_000)) + ', "7": 1}'
    with pytest.raises(plain.PlainJsonError, match="the key '7' for the second time"):
        plain.parse(text.encode())
