"""The metrics agree with what the authors' own code gives on the same arrays, and with scikit-learn."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from msr_nb.graphs import consistency_pattern
from msr_nb.metrics import align_graph, evaluate, mcc, r_con, r_score, r_squared, shd
from msr_nb.published import published

GOLDEN = Path(__file__).parent / 'golden'
CASES = json.loads((GOLDEN / 'metrics.json').read_text(encoding='utf-8'))
EXACT = {'abs': 1e-9, 'rel': 0}

each_case = pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case["kind"]}-{case["graph"]}-{case["case"]}')


@pytest.fixture(scope='module')
def arrays():
    with np.load(GOLDEN / 'metrics.npz') as stored: return dict(stored)


def of_case(arrays, case): return [arrays[f'{name}_{case["case"]}'] for name in ('z', 'zh', 'G', 'Gh')]


@each_case
def test_mcc(arrays, case):
    z, z_hat, _, _ = of_case(arrays, case)
    assert mcc(z, z_hat).score == pytest.approx(case['mcc_pearson'], **EXACT)
    assert mcc(z, z_hat, method='spearman').score == pytest.approx(case['mcc_spearman'], **EXACT)
    assert mcc(z, z_hat).assignment.tolist() == case['assignment']


@each_case
def test_r(arrays, case):
    z, z_hat, G, _ = of_case(arrays, case)
    pattern = consistency_pattern(**{case['graph']: G})
    assert pattern.tolist() == case['consistency_pattern']
    assert r_score(z, z_hat) == pytest.approx(case['r'], **EXACT)
    assert r_con(z, z_hat, pattern) == pytest.approx(case['r_con'], **EXACT)


@each_case
@pytest.mark.parametrize('kind', [np.asarray, torch.tensor])
def test_evaluate(arrays, case, kind):
    z, z_hat, G, G_hat = map(kind, of_case(arrays, case))
    found = evaluate(z, z_hat, **{case['graph']: G, f'{case["graph"]}_hat': G_hat})
    assert (found.mcc, found.r, found.r_con) == pytest.approx([case[k] for k in ('mcc_pearson', 'r', 'r_con')], **EXACT)
    for name in ('shd', 'false_negatives', 'false_positives'): assert getattr(found, name) == case[name]
    assert shd(G, align_graph(G_hat, case['assignment'], case['graph'])) == case['shd']
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


@each_case
def test_r_squared_is_that_of_a_linear_regression(arrays, case):
    z, z_hat, _, _ = of_case(arrays, case)
    expected = [LinearRegression().fit(z_hat, target).score(z_hat, target) for target in z.T]
    assert r_squared(z, z_hat) == pytest.approx(expected, **EXACT)


def test_scores_do_not_depend_on_order_scale_or_frames_axis(arrays):
    z, z_hat, G, G_hat = of_case(arrays, CASES[1])
    order = np.array([3, 1, 5, 0, 2, 4])
    moved = (z_hat[:, order] * [1e-6, -2, 3e5, 4, -5, 6] + 100).reshape(200, 2, 6)
    a = evaluate(z, z_hat, Gz=G, Gz_hat=G_hat).to_dict()
    b = evaluate(z.reshape(200, 2, 6), moved, Gz=G, Gz_hat=G_hat[order][:, order]).to_dict()
    assert a == pytest.approx(b, **EXACT)


@pytest.mark.parametrize('d_hat', [1, 3, 6, 9])
def test_any_number_of_learned_latents(arrays, d_hat):
    z, z_hat, G, _ = of_case(arrays, CASES[2])
    z_hat = np.concatenate([z_hat, z_hat**2], axis=1)[:, :d_hat]
    found = evaluate(z, z_hat, Ga=G, Ga_hat=np.ones((d_hat, 6)))
    assert (mcc(z, z_hat).assignment >= 0).sum() == min(6, d_hat)
    assert found.mcc <= found.r_con + 1e-9 and found.r_con <= found.r + 1e-9
    assert found.false_negatives == G[mcc(z, z_hat).assignment < 0].sum()


@pytest.mark.filterwarnings('error')
def test_constant_coordinates_score_zero_without_a_warning():
    z = np.random.default_rng(0).normal(size=(50, 3))
    for dead in (np.full((50, 3), .1), np.zeros((50, 3))):
        for a, b in ((z, dead), (dead, z), (dead, dead)):
            found = evaluate(a, b, Gz=np.eye(3), Gz_hat=np.eye(3))
            assert (found.mcc, found.r, found.r_con) == (0, 0, 0)
            assert mcc(a, b, 'spearman').score == 0


def test_published_rows_are_those_of_the_papers():
    rows = published('ActionBlockDiag')
    assert set(rows['dataset']) == {'ActionBlockDiag'} and set(rows['source']) == {'jmlr2025_logs'}
    [row] = rows[(rows['method'] == 'constraint') & (rows['value'] == 10)].to_dict('records')
    assert (row['mcc'], row['r_con'], row['graph_cells']) == (.8493, .9879, 50)
    assert published('TimeNonDiagSigmoid').empty
