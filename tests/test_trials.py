"The table of trials is made a row at a time, and no row twice"
import numpy as np
import pandas as pd
import pytest
import trials

from msr_nb.metrics import r_score

COLUMNS = '''mixing seed activation steps elbo_trial elbo_800 r_800 elbo_end r_end seconds revision commit
command'''.split()


@pytest.mark.trains
def test_rows_are_made_once(tmp_path, monkeypatch):
    for name, small in (('EXAMPLES', 2_000), ('HELD_OUT', 200)): monkeypatch.setattr(trials, name, small)
    for networks in (['silu'], ['leaky_relu', 'silu']):
        trials.main(['--mixings', 'saturating', '--networks', *networks, '--steps', '20', '--out', str(tmp_path)])
    table = pd.read_csv(tmp_path / 'trials.csv')
    assert list(table) == COLUMNS and list(table.activation) == ['silu', 'leaky_relu']
    assert table.drop(columns=['elbo_800', 'r_800']).notna().all(axis=None)
    assert table[['elbo_800', 'r_800']].isna().all(axis=None)  # it did not come so far
    assert table.command[1] == 'python tests/trials.py --mixings saturating --seeds 0 --steps 20 --networks leaky_relu'


def test_floor_and_ceiling(monkeypatch):
    monkeypatch.setattr(trials, 'EXAMPLES', 5_000)
    train, test = trials.data_of('saturating', 0, 500)
    assert r_score(test.z, test.x) < .99 and .95 < trials.ceiling(train, test) < 1
    assert trials.ceiling(train, test._replace(z=test.z[::-1])) < .3


def test_the_tunnel_is_what_is_said_of_it():
    pytest.importorskip('causalchamber')
    data = trials.driven_tunnel(5_000)
    assert (data.x.shape, data.z.shape, data.a.shape) == ((5_000, 1, 9), (5_000, 1, 5), (5_000, 1, 5))
    assert trials.driven_tunnel(500, angles=False).x.shape == (500, 1, 7)
    assert abs(data.x.mean((0, 1))).max() < 1e-2 and abs(data.x.std((0, 1)) - 1).max() < 1e-2
    assert data.Ga.sum() == 10 and (data.Ga.sum(0) == 2).all() and (data.Ga.sum(1) == 2).all()
    given = np.abs(np.corrcoef(data.z[:, 0].T, data.a[:, 0].T)[:5, 5:])
    assert ((given > .1) == data.Ga).all()  # each factor follows two actions
