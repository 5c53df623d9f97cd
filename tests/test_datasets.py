"""What the data notebooks cannot teach: imports, block boundaries, and properties over many graphs."""
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msr_nb import datasets
from msr_nb.datasets import DATASETS, PROTOCOLS, draw_instance, generate, sample_trajectories
from msr_nb.graphs import consistency_pattern, satisfies_criterion
from msr_nb.mixing import MIXINGS, SMOOTH, draw_mixing

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
    spec = replace(DATASETS['ActionNonDiag'], latent_std=0.)
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


SQUASHED = {'smooth': .05, 'polynomial': .05, 'saturating': .005, 'positive': .03}  # a far latent presses a tanh flat


@pytest.mark.parametrize('mixing', SMOOTH)
@pytest.mark.parametrize('name', ['ActionNonDiag', 'TimeNonDiag'])
def test_smooth_mixings_are_bent_and_injective(name, mixing):
    "At the latents that data sets make, for observations as they are standardised"
    spec, left = replace(DATASETS[name], mixing=mixing), []
    for seed in range(3):
        instance = draw_instance(spec, spec.graph(10, seed), np.random.default_rng(seed))
        z = sample_trajectories(instance, 4_000, *np.random.default_rng(seed).spawn(2))[0].z.reshape(-1, 10)
        x = instance.mixing(z)
        J = instance.mixing.jacobian(z[:1_000]) / x.std(0)[:, None]
        assert np.linalg.svd(J, compute_uv=False).min() > SQUASHED[mixing]
        seen = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
        left.append(((z - seen @ np.linalg.lstsq(seen, z)[0]).var(0) / z.var(0)).mean())
    assert .04 < np.mean(left) < .23


@pytest.mark.parametrize('mixing', MIXINGS)
def test_mixings_know_how_many_they_show(mixing):
    f = draw_mixing(mixing, np.random.default_rng(0), 3, 7)
    assert f.d_x == 7 and f(np.zeros((2, 3))).shape == (2, 7) and f(np.zeros((2, 3))).dtype == np.float32
    assert f.jacobian(np.zeros((2, 3))).shape == (2, 7, 3)
