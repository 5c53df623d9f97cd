"""Roll-outs and counterfactuals of random models: what changes if a latent is set, and what must not."""
import copy
from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr_nb.rollouts import had_been, roll_forward
from msr_nb.training import seeded
from msr_nb.transition import VARIANCES, Prior, Transition

relaxed = settings(deadline=None)  # the first call of a network takes longer than the others


@st.composite
def cases(draw, least_lags=0):
    "A model with a random graph and random weights, latents of some frames, actions or None"
    lags = draw(st.integers(least_lags, 3))
    d_z, d_a = draw(st.integers(1, 5)), draw(st.integers(0 if lags else 1, 3))
    options = {'variance': draw(st.sampled_from(VARIANCES)), 'mask_per_example': draw(st.booleans())}
    n, T = draw(st.integers(1, 3)), draw(st.integers(max(lags, 1), lags + 3))
    with seeded(draw(st.integers(0, 1_000))):
        transition = Transition(d_z, d_a, lags, width=6, **options).double()
        for mask in transition.graphs().values(): mask.gamma.data = torch.randn(mask.shape).double()
        transition.fill.data.normal_()
        z, a = torch.randn(n, T, d_z).double(), torch.randn(n, T, d_a).double() if d_a else None
    return SimpleNamespace(prior=Prior(transition)), z, a


def frozen(model):
    "A copy that does not draw its masks"
    model = copy.deepcopy(model)
    for mask in model.prior.graphs().values(): mask.freeze()
    return model


@relaxed
@given(cases(least_lags=1), st.data())
def test_setting_a_latent_moves_its_children_and_nobody_else(case, data):
    model, z, a = case
    transition, (T, d_z) = model.prior.transition, z.shape[1:]
    j, t = data.draw(st.integers(0, d_z - 1), 'latent'), data.draw(st.integers(0, T - 1), 'frame')
    new = had_been(model, z, {j: torch.where(torch.arange(T) == t, z[..., j] + 1, torch.nan)}, a)
    moved, G = new != z, transition.mask_z.graph() > 0  # (n, T, d_z), (d_z, d_z)
    assert not moved[:, :t].any()
    assert (moved[:, t] == (torch.arange(d_z) == j)).all()
    if t + 1 < T: assert (moved[:, t + 1] == (G[:, j] if t + 1 >= transition.lags else False)).all()
    reached = torch.arange(d_z) == j
    for later in range(t + 1, T):
        reached = reached | G[:, reached].any(1)
        assert not moved[:, later, ~reached].any()


@relaxed
@given(cases())
def test_if_nothing_is_set_nothing_changes(case):
    model, z, a = case
    assert torch.equal(had_been(model, z, {}, a), z)
    assert torch.equal(had_been(model, z, {j: z[..., j] for j in range(z.shape[2])}, a), z)


@relaxed
@given(cases(least_lags=1))
def test_innovations_stay(case):
    "With one latent set throughout, the others differ from their mechanisms' means as before"
    model, z, a = case
    new = had_been(model, z, {0: torch.zeros(z.shape[:2])}, a)
    lags, prior = model.prior.transition.lags, frozen(model).prior
    with torch.no_grad():
        before, after = (frames - prior.p_z_given_past(frames, a).mean for frames in (z, new))
    torch.testing.assert_close(after[:, lags:, 1:], before[:, lags:, 1:])
    assert (new[..., 0] == 0).all() and torch.equal(new[:, :lags, 1:], z[:, :lags, 1:])


@relaxed
@given(cases())
def test_roll_out_repeats_the_mean_of_the_prior_and_leaves_no_trace(case):
    model, z, a = case
    state, noise = copy.deepcopy(model.prior.state_dict()), torch.get_rng_state()
    to_come = None if a is None else a[:, :1] * torch.tensor([[1.], [-1.], [2.]])
    rolled = roll_forward(model, z, to_come, 3)
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(torch.equal(state[name], now) for name, now in model.prior.state_dict().items())
    frames, actions = torch.cat([z, rolled], 1), None if a is None else torch.cat([a, to_come], 1)
    with torch.no_grad(): mean = frozen(model).prior.p_z_given_past(frames, actions).mean
    torch.testing.assert_close(rolled, mean[:, z.shape[1]:])
