"""The card of a fit that was saved: what it says agrees with the estimator, and the code in it loads the fit."""
import json
import re

import numpy as np
import pytest

from msr_nb import MechanismSparsityICA
from msr_nb.card import facts, kept_bound


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    "A small fit of sequences with actions, and the folder it was saved to"
    folder, rng = tmp_path_factory.mktemp('saved') / 'model', np.random.default_rng(0)
    ica = MechanismSparsityICA(3, steps=40, progress=False, train_options={'batch_size': 32},
                               model_options={'width': 16, 'depth': 1, 'mechanism_width': 8},
                               recipe={'alignment.search.starts': 2, 'alignment.search.steps': 10})
    x, a = rng.normal(size=(400, 2, 6)), rng.uniform(size=(400, 2, 2))
    ica.fit(x, a).save(folder)
    return ica, folder, x


def test_card_says_what_the_estimator_says(saved):
    ica, folder, _ = saved
    meta = json.loads((folder / 'estimator.json').read_text(encoding='utf-8'))
    rows = facts(meta, {'Gz': ica.Gz_, 'Ga': ica.Ga_})
    assert rows['observations'] == '6 sensors' and rows['actions'] == '2 actions' and rows['past'] == '1 frame'
    assert rows['latents'] == '3, as many as it was told'
    assert rows['edges between latents'] == f'{ica.Gz_.sum()} of 9'
    assert rows['edges from actions'] == f'{ica.Ga_.sum()} of 6'
    history = ica.history_.dropna(subset='held_out')
    last = history[history.stage == history.stage.iloc[-1]]
    assert kept_bound(meta['history']) == pytest.approx(last.held_out.max())


def test_code_on_the_card_loads_the_fit(saved):
    ica, folder, x = saved
    code = re.search(r'```python\n(.*?)```', (folder / 'README.md').read_text(encoding='utf-8'), re.DOTALL)[1]
    names = {'x': x}
    exec(code.replace('this folder', str(folder)), names)
    np.testing.assert_array_equal(names['z'], ica.transform(x))


def test_a_page_of_the_users_is_kept(saved, tmp_path):
    (tmp_path / 'README.md').write_text('mine', encoding='utf-8')
    saved[0].save(tmp_path)
    assert (tmp_path / 'README.md').read_text(encoding='utf-8') == 'mine'
