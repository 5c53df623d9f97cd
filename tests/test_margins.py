"""What tests/margins.py notes of an assertion: how far it was from failing."""
import numpy as np
import pandas as pd
import pytest
from fastcore.test import expect_fail
from margins import Margins, environment, rewritten

NAMES = {'x': np.array([1., 2, 3]), 'words': pd.Series(['a', 'b']), 'expect_fail': expect_fail}


def slack(source):
    "By assertion or, in a chain, by comparison"
    margins = Margins()
    exec(rewritten(source), {'margins': margins, **NAMES})
    return [row[0] for row in margins.rows.values()]


@pytest.mark.parametrize('source, expected', [
    ('assert x[0] > .5', [.5]),
    ('assert x[0] < .5', [-.5]),
    ('assert x[0] > 3 and x[1] < 4', [-2, 2]),  # the second is noted whatever the first says
    ('assert 0 < x[0] <= 1.5', [1, .5]),
    ('assert (x > .5).all()', [.5]),
    ('assert (x > 2.5).any()', [.5]),
    ('assert not (x > 2.5).any()', [-.5]),
    ('assert not (x > 2.5).all()', [1.5]),
    ('assert all(v < 5 for v in x)', [2]),
    ('for v in x: assert v < 5', [2]),
    ('test_close(x, x + .25, eps=1)', [.75]),
    ('test_eq(x, x)', [0]),
    ('test_eq([1, 2], [1, 4])', [-2]),
    ('test_eq(None, None)', [0]),
    ("assert (words == 'a').all()", [-1]),
    ("assert 'a' in words.tolist()", [0]),
    ('assert x[0] > x[5] and x[0] < 2', [-np.inf, 1]),  # one that raises
    ('with expect_fail(AssertionError): assert 1 > 2', []),
])
def test_slack(source, expected): assert slack(source) == pytest.approx(expected)


@pytest.mark.parametrize('source', ['assert x[0] > 1', 'assert 2 < x[1]', "assert 'a' != 'a'"])
def test_equal_sides_fail_a_strict_comparison(source):
    [found] = slack(source)
    assert found < 0


def test_this_machine_has_the_first_sets():
    assert environment('native').keys() <= environment('default').keys()
