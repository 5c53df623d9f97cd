"The stored table of runs says what made each row, and says it once"
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from msr_nb.baselines import BASELINES
from msr_nb.datasets import PROTOCOLS, find_spec
from msr_nb.estimator import METHODS
from msr_nb.mixing import MIXINGS, SMOOTH
from msr_nb.nets import ACTIVATIONS
from msr_nb.published import read_runs
from msr_nb.recipe import Recipe

RESULTS = Path(__file__).resolve().parent.parent / 'nbs/results'
FILES = {'runs.csv', 'measured.csv', 'mixing.csv', 'systems.csv', 'cells.csv', 'foreign.csv', 'balls.csv', 'trials.csv'}
LARGEST = 1_500_000  # bytes
COLUMNS = '''purpose dataset protocol seed data_seed n latents method settings revision commit device threads command
seconds total_seconds peak_megabytes steps mcc r r_con shd false_negatives false_positives precision recall f1 edges
valid_elbo udr graphs torch'''.split()
KNOWN = ['edges', 'price', 'share', 'minutes', 'latent_std', 'observation_std', 'beta', 'rate', 'train_options',
         'model_options', 'recipe', 'n_latents']
TRIALS = {  # table of tests/trials.py -> what a row is about, and what else it says
    'trials.csv': (['mixing', 'seed', 'activation'], 'steps elbo_trial elbo_800 r_800 elbo_end r_end'),
    'mixings.csv': (['mixing', 'seed'], 'steps latents edges latents_found activation mcc r shd floor ceiling')}


@pytest.fixture(scope='module')
def text(): return pd.read_csv(RESULTS / 'runs.csv', dtype=str, keep_default_na=False)


@pytest.fixture(scope='module')
def runs(): return read_runs(RESULTS / 'runs.csv')


def test_nothing_else_is_stored():
    assert {str(path.relative_to(RESULTS)) for path in RESULTS.rglob('*') if path.is_file()} == FILES
    assert max(path.stat().st_size for path in RESULTS.iterdir()) < LARGEST


def test_columns(text): assert list(text) == COLUMNS


def test_rows_are_unique(text):
    "A run that serves several purposes names them all in one row"
    assert not text.duplicated().any()
    assert not text.drop(columns='purpose').duplicated().any()


def test_no_row_names_a_machine(text):
    paths = re.compile(r'/(?:work|tmp|root|home|Users|mnt)\b|--out|[A-Z]:\\')
    assert not [cell for column in text for cell in text[column] if paths.search(cell)]
    assert text.command.str.fullmatch(r'msr_nb (?:reproduce|figures|sweep|fit)\b.*').all()


def test_code_is_named(text):
    assert text.revision.str.fullmatch(r'[1-9]\d*').all()
    assert text['commit'].str.fullmatch(r'[0-9a-f]{7,40}|').all()  # empty where it cannot be told
    assert text.torch.str.fullmatch(r'\d+\.\d+\.\d+\S*').all()


def test_what_was_run_is_known(runs):
    for name in runs.dataset.unique(): find_spec(name)  # raises for unknown ones
    assert set(runs.protocol) <= set(PROTOCOLS)
    assert set(runs.method) <= {*METHODS, *BASELINES}
    assert {key for settings in runs.settings for key in settings} <= set(KNOWN)
    assert all(run.steps is not pd.NA or 'minutes' in run.settings for run in runs.itertuples())


def test_settings_are_canonical(text):
    "So that equal settings are equal text"
    assert all(cell == json.dumps(json.loads(cell), sort_keys=True, separators=(',', ':')) for cell in text.settings)


def test_learned_graphs_are_those_that_were_scored(runs):
    for run in runs[runs.graphs.map(bool)].itertuples():
        spec = find_spec(run.dataset)
        (G_hat,) = run.graphs.values()
        wrong = abs(spec.graph(len(G_hat), run.data_seed) - pd.DataFrame(G_hat).to_numpy()).sum()
        assert wrong == run.shd, run


def test_foreign_data_are_there_once_and_say_what_made_them():
    table = pd.read_csv(RESULTS / 'foreign.csv', dtype=str, keep_default_na=False)
    assert table.name.is_unique and set(table.exit) <= {'0', '1', '2', '124'}
    assert table.command.str.fullmatch(r'msr_nb fit [\w.]+ .*--steps \d+.*').all()
    ours = re.compile(r'/(?:work|tmp|root|home)\b|--out')
    assert not [cell for column in table for cell in table[column] if ours.search(cell)]
    assert table['commit'].str.fullmatch(r'[0-9a-f]{7,40}').all() and table.revision.str.fullmatch(r'[1-9]\d*').all()
    assert (table.latents[table.exit == '0'] != '').all() and (table.message[table.exit != '0'] != '').all()


def test_balls_say_what_made_them():
    table = pd.read_csv(RESULTS / 'balls.csv', dtype=str, keep_default_na=False)
    assert not table.duplicated(['method', 'n_balls', 'size', 'seed', 'steps']).any()
    assert table.command.str.fullmatch(r'python tests/balls.py --seeds \d+ \d+ --methods \w+ .*--steps \d+').all()
    assert table['commit'].str.fullmatch(r'[0-9a-f]{7,40}').all() and table.revision.str.fullmatch(r'[1-9]\d*').all()


@pytest.mark.parametrize('name', sorted(FILES & {*TRIALS}))
def test_trials_are_there_once_and_say_what_made_them(name):
    table = pd.read_csv(RESULTS / name, dtype=str, keep_default_na=False)
    key, columns = TRIALS[name]
    assert list(table) == [*key, *columns.split(), 'seconds', 'revision', 'commit', 'command']
    assert not table.duplicated(key).any() and set(table.mixing) <= {*MIXINGS, 'tunnel'}
    assert set(table.activation) <= {*ACTIVATIONS}
    assert table['commit'].str.fullmatch(r'[0-9a-f]{7,40}').all() and table.revision.str.fullmatch(r'[1-9]\d*').all()
    for row in table.itertuples():
        words = f'python tests/trials.py --mixings {row.mixing} --seeds {row.seed} --steps {row.steps}'
        how = '--whole' if name == 'mixings.csv' else f'--networks {row.activation}'
        assert row.command == f'{words} {how}'


def test_every_mixing_was_tried_with_every_network():
    table = pd.read_csv(RESULTS / 'trials.csv').query('seed == 0')
    tried = table.groupby('mixing').activation.agg(set)
    assert {'network', *SMOOTH, 'tunnel'} <= set(tried.index) and tried.map({*Recipe().networks}.issubset).all()
    assert table.steps.nunique() == 1 and table.notna().all(axis=None)
