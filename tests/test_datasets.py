"""What the data notebooks cannot teach: imports, block boundaries, and properties over many graphs."""
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msr_nb import datasets
from msr_nb.datasets import DATASETS, PROTOCOLS, generate
from msr_nb.graphs import consistency_pattern, satisfies_criterion

square = st.integers(1, 6).flatmap(lambda d: arrays(int, (d, d), elements=st.integers(0, 1)))


def test_making_data_needs_numpy_only():
    code = ("import sys, msr_nb.datasets; "
            "print([m for m in ('torch', 'pandas', 'matplotlib', 'scipy', 'nbdev', 'fastcore') if m in sys.modules])")
    assert subprocess.check_output([sys.executable, '-c', code], text=True).strip() == '[]'


@pytest.mark.parametrize('name', ['ActionNonDiag_k2', 'TimeNonDiag', 'TimeNonDiagNorm'])
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_block_size_changes_rounding_only(monkeypatch, name, protocol):
    whole = generate(name, n=300, protocol=protocol)
    monkeypatch.setattr(datasets, 'BLOCK', 7)
    blocks = generate(name, n=300, protocol=protocol)
    for one, other in zip(whole, blocks, strict=True):
        np.testing.assert_allclose(one.x, other.x, atol=1e-5)
        np.testing.assert_allclose(one.z, other.z, atol=1e-6)


@pytest.mark.parametrize('name', DATASETS)
def test_specs_survive_pickling_hence_dask(name):
    spec = pickle.loads(pickle.dumps(DATASETS[name]))
    assert spec == DATASETS[name] and hash(spec) == hash(DATASETS[name])


def test_observations_without_any_variation_are_refused():
    spec = datasets.replace(DATASETS['ActionNonDiag'], latent_std=0.)
    with pytest.raises(ValueError, match='do not vary'):
        generate(spec, n=100, graph=np.zeros((10, 2)))


@settings(deadline=None, max_examples=200)
@given(square)
def test_pattern_is_reflexive_and_transitive(G):
    for pattern in (consistency_pattern(Gz=G), consistency_pattern(Ga=G)):
        assert pattern.diagonal().all()
        assert ((pattern @ pattern > 0) == pattern).all()


@settings(deadline=None, max_examples=200)
@given(square, st.randoms(use_true_random=False))
def test_pattern_follows_relabelling(G, random):
    order = random.sample(range(len(G)), len(G))
    relabelled = np.ix_(order, order)
    assert np.array_equal(consistency_pattern(Gz=G[relabelled]), consistency_pattern(Gz=G)[relabelled])


@settings(deadline=None, max_examples=200)
@given(square)
def test_more_information_never_hurts(G):
    d = len(G)
    if satisfies_criterion(Gz=G):
        assert satisfies_criterion(Gz=G, Ga=np.zeros((d, 1)))
    assert satisfies_criterion(Gz=G, Ga=np.eye(d))
