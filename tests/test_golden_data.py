"""The 'authors' protocol against arrays drawn with the authors' stream (tests/golden, 500 examples each), and the
graphs of theirs that the notebooks do not show."""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msr_nb.datasets import DATASETS, RandomGraph, generate
from msr_nb.graphs import consistency_pattern

GOLDEN = Path(__file__).parent / 'golden'
ACTION, TIME = 'action_sparsity_', 'temporal_sparsity_'
SPARSE_TIME = replace(DATASETS['TimeNonDiag'], graph=RandomGraph(.3, self_loops=True))

FILES = {  # file -> arguments of generate
    ACTION + 'trivial': {'name': 'ActionDiag'},
    ACTION + 'non_trivial': {'name': 'ActionNonDiag'},
    ACTION + 'non_trivial_no_suff_var': {'name': 'ActionNonDiagNoSuffVar'},
    ACTION + 'non_trivial_no_graph_crit': {'name': 'ActionNonDiagNoGraphCrit'},
    ACTION + 'non_trivial_k2': {'name': 'ActionNonDiag_k2'},
    ACTION + 'non_trivial_sigmoid': {'name': 'ActionNonDiagSigmoid'},
    ACTION + 'non_trivial_norm': {'name': 'ActionNonDiagNorm'},
    ACTION + 'non_trivial+linear_mixing': {'name': 'ActionNonDiag', 'mixing': 'linear'},
    ACTION + 'non_trivial+graph_action_3_easy': {'name': 'ActionBlockDiag'},
    TIME + 'trivial': {'name': 'TimeDiag'},
    TIME + 'non_trivial': {'name': 'TimeNonDiag'},
    TIME + 'non_trivial_no_suff_var': {'name': 'TimeNonDiagNoSuffVar'},
    TIME + 'non_trivial_no_graph_crit': {'name': 'TimeNonDiagNoGraphCrit'},
    TIME + 'non_trivial_k2': {'name': 'TimeNonDiag_k2'},
    TIME + 'non_trivial_sigmoid': {'name': 'TimeNonDiagSigmoid'},
    TIME + 'non_trivial_norm': {'name': 'TimeNonDiagNorm'},
    TIME + 'non_trivial+density0.3+seed1': {'name': SPARSE_TIME, 'seed': 1},
    TIME + 'non_trivial+graph_temporal_3_hard': {'name': 'TimeBlockNonDiag'},
}


def test_every_file_is_in_the_table():
    assert {path.stem for path in GOLDEN.glob('*_sparsity_*.npz')} == set(FILES)


@pytest.mark.parametrize('file', FILES)
def test_authors_stream(file):
    golden = np.load(GOLDEN / f'{file}.npz')
    data = generate(**FILES[file], n=500, protocol='authors')
    for split, ours in data._asdict().items():
        for array in ('x', 'z', 'a'):
            theirs, mine = golden.get(f'{array}_{split}'), getattr(ours, array)
            assert (theirs is None) == (mine is None)
            if mine is not None:
                assert mine.dtype == np.float32
                np.testing.assert_allclose(mine.reshape(theirs.shape), theirs, rtol=0, atol=1e-5)
        for graph in ('Gz', 'Ga'):
            assert np.array_equal(getattr(ours, graph), golden.get(graph))


@pytest.mark.parametrize('case', json.loads((GOLDEN / 'metrics.json').read_text()), ids=lambda case: str(case['case']))
def test_consistency_pattern(case):
    G = np.load(GOLDEN / 'metrics.npz')[f"G_{case['case']}"]
    assert np.array_equal(consistency_pattern(**{case['graph']: G}), case['consistency_pattern'])
