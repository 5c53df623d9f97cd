"""Properties of the scores for comparing across papers: what they ignore, their range, and that a seed settles them."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_nb.graphs import consistency_pattern
from msr_nb.metrics import mcc, r_con, r_score
from msr_nb.more_metrics import REGRESSORS, block_mcc, concentration, dci, find_blocks, held_out, nonlinear_r2

EXACT = {'abs': 1e-8, 'rel': 0}
SEEDS = st.integers(0, 10_000)
SCORES = {'kernel': nonlinear_r2} | {
    method: lambda *args, method=method, **kwargs: np.array(dci(*args, method, **kwargs)[:3]) for method in REGRESSORS}
each_score = pytest.mark.parametrize('score', SCORES.values(), ids=SCORES)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(150, 3))
    return z, z + .3 * z @ rng.normal(size=(3, 3)) + .2 * rng.normal(size=(150, 3))


def pattern_of(rng, d):
    "The consistency pattern of a random graph"
    return consistency_pattern(Ga=rng.binomial(1, .5, size=(d, rng.integers(1, 4))))


# ---- held-out scores

@each_score
def test_order_sign_and_scale_do_not_matter(pair, score):
    "But that trees break ties by the order of coordinates and by their seed"
    z, z_hat = pair
    moved = z_hat[:, [2, 0, 1]] * [1e-6, -2, 3e5] + 100
    assert score(z, moved) == pytest.approx(score(z, z_hat), abs=1e-8 if score is nonlinear_r2 else .05)


def test_importance_follows_the_order_of_the_learned_latents(pair):
    z, z_hat = pair
    found = dci(z, z_hat[:, [2, 0, 1]]).importance
    assert found == pytest.approx(dci(z, z_hat).importance[:, [2, 0, 1]], abs=.05)
    assert found.sum(1) == pytest.approx(1)


@each_score
def test_a_seed_settles_the_scores(pair, score):
    first, again, other = (score(*pair, samples=60, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@each_score
@pytest.mark.parametrize('d_z, d_hat', [(1, 1), (1, 3), (3, 1), (2, 4)])
def test_range_for_any_number_of_latents(score, d_z, d_hat):
    rng = np.random.default_rng(d_z + d_hat)
    found = score(rng.normal(size=(20, 2, d_z)), rng.normal(size=(20, 2, d_hat)))
    assert ((found >= 0) & (found <= 1)).all()


@each_score
@pytest.mark.filterwarnings('error::RuntimeWarning')
def test_constant_coordinates_score_zero(score):
    z = np.random.default_rng(0).normal(size=(30, 2))
    dead = np.full((30, 2), .1)
    for a, b in ((z, dead), (dead, z), (dead, dead)): assert score(a, b) == pytest.approx(0, abs=1e-9)


def test_tensors_score_as_arrays(pair):
    tensors = [torch.tensor(x, requires_grad=True) for x in pair]
    assert all(map(np.array_equal, held_out(*tensors), held_out(*pair)))
    assert block_mcc(*tensors, torch.eye(3)).score == block_mcc(*pair, np.eye(3)).score


@given(SEEDS)
def test_concentration_is_a_share(seed):
    rng = np.random.default_rng(seed)
    importance = rng.gamma(.3, size=rng.integers(1, 6, size=2))
    assert -1e-12 <= concentration(importance) <= 1 + 1e-12
    assert concentration(7 * importance[::-1]) == pytest.approx(concentration(importance), **EXACT)


# ---- blocks

@settings(max_examples=30)
@given(SEEDS, st.integers(1, 5), st.integers(1, 7))
def test_block_mcc_lies_between_r_con_and_r(seed, d_z, d_hat):
    rng = np.random.default_rng(seed)
    z, noise = rng.normal(size=(40, d_z)), rng.normal(size=(40, d_hat))
    z_hat, pattern = z @ rng.normal(size=(d_z, d_hat)) + .3 * noise, pattern_of(rng, d_z)
    found = block_mcc(z, z_hat, pattern)
    ordered = [0, mcc(z, z_hat).score, r_con(z, z_hat, pattern), found.score, r_score(z, z_hat), 1]
    assert (np.diff(ordered) >= -1e-8).all()
    sizes = [len(block) for block in found.blocks]
    assert found.scores @ sizes / d_z == pytest.approx(found.score, **EXACT)
    assert sum(map(len, found.groups)) == min(d_z, d_hat)
    assert len(set(np.concatenate(found.groups))) == min(d_z, d_hat)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 5))
def test_any_mixing_that_the_pattern_allows_scores_one(seed, d):
    "In any order of the learned latents, with latents that are correlated"
    rng = np.random.default_rng(seed)
    pattern = pattern_of(rng, d)
    L = pattern * rng.normal(size=(d, d)) + 2 * d * np.eye(d)  # invertible, and so is its inverse of this pattern
    z = rng.normal(size=(60, d)) @ (np.eye(d) + rng.normal(size=(d, d)))
    assert block_mcc(z, z @ L.T[:, rng.permutation(d)], pattern).score == pytest.approx(1, abs=1e-6)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 5))
def test_block_mcc_ignores_order_sign_and_scale(seed, d):
    rng = np.random.default_rng(seed)
    z, pattern = rng.normal(size=(20, 2, d)), pattern_of(rng, d)
    z_hat = z @ rng.normal(size=(d, d))
    learned, true = rng.permutation(d), rng.permutation(d)
    moved = z_hat[..., learned] * rng.choice([-3, .01, 5], size=d) + 9
    score = block_mcc(z, z_hat, pattern).score
    assert block_mcc(z[..., true], moved, pattern[true][:, true]).score == pytest.approx(score, **EXACT)


@given(SEEDS, st.integers(1, 6))
def test_blocks_are_a_partition(seed, d):
    blocks = find_blocks(pattern_of(np.random.default_rng(seed), d))
    assert sorted(np.concatenate(blocks)) == list(range(d))


def test_constant_coordinates_have_no_r():
    z = np.random.default_rng(0).normal(size=(50, 3))
    for a, b in ((z, np.ones((50, 3))), (np.ones((50, 3)), z)): assert block_mcc(a, b, np.eye(3)).score == 0
