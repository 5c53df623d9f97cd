"""What was found by trying to break it, kind by kind: each case is refused in one line, or answered rightly.

HYPOTHESIS_PROFILE=full tries many more cases. Kills are in test_resume.py and test_sweep.py.
"""
import io
import json
import multiprocessing
import resource
import shutil
import sqlite3
import struct
import warnings
import zipfile
from contextlib import suppress
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix

from msr_nb import MechanismSparsityICA, cli, runs
from msr_nb.baselines import BASELINES, SupervisedEncoder
from msr_nb.estimator import check_device, configurations
from msr_nb.files import load_tensors, save_tensors
from msr_nb.identifiability import plot_report, report
from msr_nb.metrics import evaluate, mcc
from msr_nb.recipe import FIT
from msr_nb.recordings import mean_and_scale, read, read_actions, standardise
from msr_nb.sparsity import Sparsity
from msr_nb.sweep import TABLE, has_latents, keep, latents_file, open_table, runs_left
from msr_nb.training import CHECKPOINT, DIVERGED_BELOW, DivergedError, TrainConfig, Trainer, seeded
from msr_nb.vae import MechanismVAE, ModelConfig

rng = np.random.default_rng(0)
x, a, x3 = rng.normal(size=(200, 5)), rng.normal(size=(200, 2)), rng.normal(size=(200, 3, 5))
SMALL = {'width': 8, 'depth': 1, 'mechanism_width': 4}
TINY = {'steps': 30, 'progress': False, 'method': 'paper', 'device': 'cpu', 'model_options': SMALL}
SHARE = 12  # of the examples of a profile: most cases here train something, or write files
quick = settings(max_examples=settings.default.max_examples // SHARE, derandomize=settings.default.max_examples <= 100,
                 suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def estimator(**options): return MechanismSparsityICA(**({'n_latents': 2} | TINY | options))


def trainer(**options):
    "A small model with actions, and its optimiser"
    with seeded(0): model = MechanismVAE(ModelConfig(5, 2, 2, 0, **SMALL))
    frames = [torch.from_numpy(values.astype(np.float32))[:, None] for values in (x, a)]
    config = TrainConfig(**{'steps': 8, 'batch_size': 16, 'log_every': 2, 'checkpoint_every': 4} | options)
    return Trainer(model, *frames, Sparsity({'Ga': 2}), config)


@pytest.fixture(scope='module')
def fitted(): return estimator().fit(x, a)


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    "Name -> a file that this package wrote, and what reads it"
    home = tmp_path_factory.mktemp('stored')
    trainer().run(home, show=False)
    estimator(folder=home).fit(x, a).save(home)
    return {CHECKPOINT: (home / CHECKPOINT, lambda folder: trainer().run(folder, show=False)),
            FIT: (home / FIT, lambda folder: estimator(folder=folder).fit(x, a)),
            'estimator.safetensors': (home / 'estimator.safetensors', MechanismSparsityICA.load)}


def one_line(error): return len(str(error).splitlines()) == 1


# ---- a wrong result, silently

sizes = st.floats(-100, 100).map(lambda e: 10.**e)


@quick
@given(sizes, st.floats(-1e5, 1e5), st.integers(0, 2**32 - 1))
def test_units_do_not_matter(size, offset, seed):
    "Time stamps, coordinates, pressures"
    plain = np.random.default_rng(seed).normal(size=(100, 3))
    wild = (plain + offset) * size
    found = [standardise(v, *mean_and_scale(v)) for v in (plain, wild)]
    assert np.abs(found[0] - found[1]).max() < 1e-4
    assert np.allclose(mean_and_scale(wild)[1], wild.std(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize('size', [1e300, 1e-300])
def test_units_at_the_ends_of_what_a_float_can_hold(size):
    assert np.abs(standardise(x * size, *mean_and_scale(x * size)).std(0) - 1).max() < 1e-3


@pytest.mark.parametrize('size', [1e300, 1e-300])
def test_units_of_actions_at_the_ends_of_what_a_float_can_hold(size):
    assert np.allclose(estimator().fit(x, a * size).Ga_, estimator().fit(x, a).Ga_)


def nan_column(): return np.where(np.arange(5) == 2, np.nan, x)


REFUSALS = {'other folder': ({}, x**3, a), 'constant': ({}, x * 0, a), 'shape': ({}, x[0], a),
            'infinite': ({}, np.where(x > 2, np.inf, x), a), 'no value': ({}, nan_column(), a),
            'actions': ({}, x, a[:9]), 'nothing known': ({}, x, None),
            'diverges': ({'train_options': {'lr': 1e30, 'lr_warmup': 0.}, 'folder': None}, x, a),
            'lr': ({'train_options': {'lr': -1.}}, x, a), 'latents': ({'n_latents': 9}, x, a),
            'width': ({'model_options': {'width': 0}}, x, a), 'device': ({'device': 'cpuu'}, x, a),
            'edges': ({'edges': np.inf}, x, a), 'lags': ({'lags': 5}, x, a)}


@quick
@given(st.sampled_from(sorted(REFUSALS)))
def test_a_refused_fit_changes_nothing(stored, tmp_path, why):
    options, bad_x, bad_a = REFUSALS[why]
    folder = tmp_path / 'fit'
    shutil.rmtree(folder, ignore_errors=True)
    known = estimator(folder=folder).fit(x, a)
    before, names = known.transform(x), set(vars(known))
    new = estimator(**{'folder': folder} | options)
    for refused in (known.set_params(**options), new):
        with pytest.raises((ValueError, DivergedError)) as error: refused.fit(bad_x, bad_a)
        assert one_line(error.value)
    assert np.array_equal(known.transform(x), before) and set(vars(known)) == names
    with pytest.raises(ValueError, match='not fitted'): new.transform(x)


@quick
@given(st.sampled_from(sorted(BASELINES)), st.sampled_from(['seed', 'steps', 'width', 'depth', 'batch_size', 'x']))
def test_a_refused_baseline_changes_nothing(name, what):
    made = BASELINES[name](2, steps=2, width=4, depth=1, batch_size=8, progress=False)
    known = {'z': x3[..., :2]} if isinstance(made, SupervisedEncoder) else {}
    labels = (x3[..., :1] > 0).astype(float)
    seen = {'a': labels} if name == 'ivae' else {}
    before, wrong = made.fit(x3, labels, **known).transform(x3, **seen), x3 * (1 + 0 * x3)
    if what == 'x': wrong[0, 0, 0] = np.nan
    else: made.set_params(**{what: -1})
    with pytest.raises(ValueError, match=what): made.fit(wrong, labels, **known)
    assert np.array_equal(made.transform(x3, **seen), before)


JUNK = st.one_of(  # values that a parameter cannot have, and some that it can
    st.integers(-2, 0), st.just(2**63), st.floats(-1e300, 0), st.just(np.nan), st.just(np.inf), st.floats(0, 2),
    st.none(), st.booleans(), st.text(max_size=3), st.lists(st.integers(), max_size=2), st.just({}),
    st.just({'Ga': None}), st.just({3: np.inf}), st.binary(max_size=2))


@quick
@given(st.data())
def test_baselines_name_the_argument(data):
    name = data.draw(st.sampled_from(sorted(BASELINES)))
    made = BASELINES[name](2)
    what = data.draw(st.sampled_from(sorted(set(made.get_params()) - {'progress'})))
    made.set_params(**{what: data.draw(JUNK)})
    try: made.check_parameters()
    except ValueError as error: assert what in str(error) and one_line(error)


rates = st.floats(0, 30).map(lambda e: 10.**e)


@quick
@given(rates, st.sampled_from(['soap', 'adam']), st.integers(1, 6), st.integers(1, 4))
def test_the_last_good_state_is_good(lr, optimizer, steps, log_every):
    "Whether training ends or gives up, and after the last update, too"
    made = trainer(lr=lr, optimizer=optimizer, steps=steps, log_every=log_every, lr_warmup=0.)
    with suppress(DivergedError): made.run(show=False)
    assert made.explained() >= DIVERGED_BELOW and not made.model.training
    assert all(p.isfinite().all() for p in made.model.parameters())


def test_the_mask_of_a_masked_array_counts():
    masked = np.ma.masked_array(x, mask=x > 1, fill_value=99.)
    assert np.isnan(read(masked).frames).sum() == (x > 1).sum()
    for call in (lambda: estimator().fit(x, np.ma.masked_array(a, mask=a > 1)), lambda: mcc(masked, x),
                 lambda: mcc(x, masked), lambda: evaluate(masked, x),
                 lambda: estimator().fit(x, np.ma.masked_array(np.arange(200) % 3, mask=np.arange(200) < 5))):
        with pytest.raises(ValueError, match='NaN'): call()


@pytest.mark.parametrize('make', [estimator, lambda: BASELINES['pca'](2), lambda: BASELINES['random'](2, width=8)])
def test_columns_in_another_order_are_refused(make):
    table = pd.DataFrame(x, columns=[*'abcde'])
    known = make().fit(table, a)
    assert known.transform(table).shape == (200, 2)
    for other in (table[[*'edcba']], table.rename(columns={'a': 'f'})):
        with pytest.raises(ValueError, match='columns of the fit'): known.transform(other)


def test_actions_in_another_order_are_refused():
    actions = pd.DataFrame(a, columns=['u', 'v'])
    known = estimator().fit(x, actions)
    with pytest.raises(ValueError, match='columns'): known.elbo(x, actions[['v', 'u']])
    with pytest.raises(ValueError, match='columns'): known.predict(x, actions[['v', 'u']])
    parts = [actions[:9], actions[['v', 'u']][9:]]
    with pytest.raises(ValueError, match='columns'): estimator().fit([x[:9], x[9:]], parts)


def test_search_scores_latents_by_what_the_data_say(fitted):
    assert fitted.score(x, a) == fitted.elbo(x, a)


# ---- files that are not what they seem

@quick
@given(st.data())
def test_a_flipped_bit_is_seen(stored, tmp_path, data):
    path, _ = stored[data.draw(st.sampled_from(sorted(stored)))]
    written, copy = bytearray(path.read_bytes()), tmp_path / path.name
    written[data.draw(st.integers(0, len(written) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    copy.write_bytes(written)
    try: found, meta = load_tensors(copy)
    except ValueError as error:
        assert one_line(error)
        return
    wanted, said = load_tensors(path)  # a bit between the parts
    assert meta == said and found.keys() == wanted.keys()
    assert all(torch.equal(found[k], v) or not v.isfinite().all() for k, v in wanted.items())


def change(tensors, how, name):
    "The same without a tensor, or with one that is not what it should be"
    new = dict(tensors)
    if how == 'gone': del new[name]
    elif how == 'more': new['extra'] = torch.zeros(3)
    elif how == 'kind': new[name] = new[name].to(torch.int16)
    elif how == 'shape': new[name] = torch.cat([new[name].reshape(1, *new[name].shape)] * 2)
    else: new[name] = torch.full_like(new[name], how)
    return new


@pytest.mark.parametrize('name', [CHECKPOINT, FIT, 'estimator.safetensors'])
@quick
@given(st.data())
def test_another_content_is_refused(stored, tmp_path, name, data):
    "Though it is sound, and its checksum right"
    path, reads = stored[name]
    tensors, meta = load_tensors(path)
    how = data.draw(st.sampled_from(['gone', 'more', 'kind', 'shape', np.nan, np.inf]))
    numbers = [k for k, v in tensors.items() if k.startswith('model.') and v.is_floating_point()]
    weights = tensors if isinstance(how, str) else numbers
    save_tensors(tmp_path / name, change(tensors, how, data.draw(st.sampled_from(sorted(weights)))), meta)
    with pytest.raises(ValueError) as error: reads(tmp_path)
    assert one_line(error.value) and name in str(error.value)


@pytest.mark.parametrize('name', [CHECKPOINT, FIT, 'estimator.safetensors'])
@quick
@given(st.data())
def test_another_description_is_refused(stored, tmp_path, name, data):
    path, reads = stored[name]
    tensors, meta = load_tensors(path)
    key = data.draw(st.sampled_from(sorted({*meta} - {'revision', 'version', 'names'})))
    other = data.draw(st.sampled_from([None, 'x', [1, [2]], {'a': 'b'}]))
    if data.draw(st.booleans()): del meta[key]
    else: meta[key] = other
    save_tensors(tmp_path / name, tensors, meta)
    with pytest.raises(ValueError) as error: reads(tmp_path)
    assert one_line(error.value)


@quick
@given(st.binary(max_size=64), st.sampled_from([b'', struct.pack('<Q', 2), struct.pack('<Q', 2**62)]))
def test_any_bytes_are_refused(stored, tmp_path, content, head):
    for name, (_, reads) in stored.items():
        (tmp_path / name).write_bytes(head + content)
        with pytest.raises(ValueError, match='not a file of this package') as error: reads(tmp_path)
        assert one_line(error.value)
        (tmp_path / name).unlink()


def test_deep_json_and_no_checksum_are_refused(stored, tmp_path):
    path, _ = stored[FIT]
    deep = '[' * 100_000 + ']' * 100_000
    for meta in ({'json': deep, 'checksum': ''}, {'json': '3', 'checksum': 'x'}, {'json': '{}'}):
        save_file(load_file(path), tmp_path / 'deep', meta)
        with pytest.raises(ValueError, match='not a file of this package'): load_tensors(tmp_path / 'deep')


def test_a_checkpoint_without_its_optimiser_is_refused(tmp_path):
    trainer().run(tmp_path, show=False)
    tensors, meta = load_tensors(tmp_path / CHECKPOINT)
    save_tensors(tmp_path / CHECKPOINT, {k: v for k, v in tensors.items() if not k.startswith('optimizer.')}, meta)
    with pytest.raises(ValueError, match=r'must be .* got absent'): trainer(steps=8).run(tmp_path, show=False)


# ---- a raw exception, or a refusal after minutes of training

def test_one_latent_is_enough():
    assert MechanismSparsityICA(1, **(TINY | {'method': 'aligned'})).fit(x, a).Ga_.shape == (1, 2)


def test_sequences_may_begin_at_the_same_frame():
    same = x3.copy()
    same[:, 0] = 0
    assert MechanismSparsityICA(2, **(TINY | {'method': 'aligned'})).fit(same).Gz_.shape == (2, 2)


@pytest.mark.parametrize('steps', [1, 3])
def test_a_few_steps_are_a_fit(steps):
    assert MechanismSparsityICA(2, **(TINY | {'method': 'aligned', 'steps': steps})).fit(x3).Gz_.shape == (2, 2)


graphs = st.dictionaries(st.sampled_from(['Gz', 'Ga']), st.lists(st.integers(0, 1), min_size=9, max_size=9).map(
    lambda cells: np.reshape(cells, (3, 3))), min_size=1)


@quick
@given(graphs, st.integers(1, 4), st.sampled_from(['tanh', 'zero', 'constant', 'huge', 'tiny', 'nan', 'shape']))
def test_any_graph_has_a_report(given_graphs, samples, how):
    def mean(u):
        z = u[:, :3] + u[:, -3:]**2
        return {'tanh': np.tanh(z), 'zero': 0 * z, 'constant': 0 * z + 3, 'huge': z * 1e200, 'tiny': z * 1e-200,
                'nan': z * np.nan, 'shape': z[:, :2]}[how]
    if how in ('nan', 'shape'):
        with pytest.raises(ValueError, match='what mean returns'): report(given_graphs, mean, samples)
    else:
        found = report(given_graphs, mean, samples)
        plot_report(found).clear()
        assert repr(found) and found._repr_html_() and np.isfinite(found.spans.smallest).all()


def test_a_report_on_too_few_frames_says_so():
    known = estimator().fit(x3)
    for few in (x3[:, :1], x3[:1, :2]):
        with pytest.raises(ValueError, match='must'): known.report(few)
    with pytest.raises(ValueError, match='2 frames'): estimator().fit(x, a).report(x[:1], a[:1])
    for mask in known.model_.prior.graphs().values(): mask.freeze(torch.zeros(mask.shape))
    assert known.report(x3).spans.index.to_list() == ['linear identifiability']


PARAMETERS = sorted(set(estimator().get_params()) - {'progress', 'device', 'recipe', 'folder'})


@quick
@given(st.sampled_from(PARAMETERS), JUNK)
def test_parameters_are_refused_by_name(name, value):
    e, data = estimator(**{name: value}), read(x)
    try: configurations(e, data, read_actions(a, data))
    except ValueError as error: assert one_line(error)
    except TypeError: assert name in ('model_options', 'train_options', 'edges', 'price')  # 60_estimator


@quick
@given(st.sampled_from([f.name for f in fields(TrainConfig)]), JUNK)
def test_train_options_are_refused_by_name(name, value):
    try: TrainConfig(**{name: value})
    except ValueError as error: assert name in str(error) and one_line(error)


def test_integers_that_are_no_floats():
    with pytest.raises(ValueError, match='minutes'): TrainConfig(minutes=10**400)
    with pytest.raises(ValueError, match='edges'): estimator(edges=10**400).fit(x, a)


@pytest.mark.parametrize('device', [
    'cpuu', 'meta', 1.5, 'cuda:99', -1, 'cpu:x', 10**30])
def test_devices_that_are_not_there(device):
    with pytest.raises(ValueError, match='device must be one that this machine has') as error: check_device(device)
    assert one_line(error.value)


@quick
@given(st.integers(-5, 10**7), st.integers(1, 50))
def test_labels_are_few(label, n):
    labels, frames = np.full(n, label), read(np.arange(2. * n).reshape(n, 2))
    if 0 <= label <= n: assert read_actions(labels, frames).shape == (n, max(label, 1))
    else:
        with pytest.raises(ValueError, match='labels in a must be'): read_actions(labels, frames)


# ---- the command line

@pytest.fixture
def home(tmp_path, monkeypatch):
    "An empty folder with a file to fit"
    monkeypatch.chdir(tmp_path)
    np.savez('ok.npz', x=x3[:60], a=rng.normal(size=(60, 3, 2)))
    return tmp_path


class Reached(ValueError): pass


@pytest.fixture
def refusals(home, monkeypatch, capsys):
    "Run a command that must not get as far as training; what it said, in one line, leaving nothing"
    def reached(*args): raise Reached('nothing was wrong')
    monkeypatch.setattr(cli, 'run_into', reached)
    def refused(*args):
        before = sorted(home.rglob('*'))
        try: code = cli.main([str(arg) for arg in args])
        except SystemExit as stop: code = stop.code
        said = capsys.readouterr().err
        assert code == 2 and said.count('\n') == 1 and len(said) < 20_000, (args, code, said)
        assert sorted(home.rglob('*')) == before
        return said
    return refused


FEW = ('--latents', 2, '--price', 0, '--steps', 30, '--quiet', *(f'--set={k}={v}' for k, v in SMALL.items()))
ODD = st.one_of(
    st.sampled_from(['9' * 400, '-' * 5_000, '1e999', 'nan', '(' * 5_000, '[' * 99 + ']' * 99, '"\\d"', '{1: 2}', '...',
                     '1j', '-' * 9 + '1', '9' * 20, '\x00', '', '0', '-1', 'None', 'True', '2020-01-01', '1' * 5_000]),
    st.text(max_size=6), st.floats().map(str), st.integers().map(str))
SET = sorted(cli.SETTABLE)


@quick
@given(st.sampled_from(SET), ODD)
def test_settings_from_the_command_line(refusals, key, value):
    refusals('fit', 'ok.npz', *FEW, '--set', f'{key}={value}')


@pytest.mark.parametrize('key, value', [
    ('past', '3'), ('alignment.regression.frequencies', '0'),
    ('width', '1000000000'), ('batch_size', str(10**13))])
def test_settings_that_were_too_much(refusals, key, value): refusals('fit', 'ok.npz', *FEW, '--set', f'{key}={value}')


@pytest.mark.parametrize('args', [
    ('--steps', '9' * 400), ('--seed', 2**70), ('--seed', '9' * 5_000), ('--latents', 99), ('--lags', 9),
    ('--edges', 99), ('--out', 'ok.npz'), ('--out', 'ok.npz/deep'), ('--out', '.'), ('--out', ''), ('--out', '/proc/x'),
    ('--minutes', 'inf')])
def test_options_that_cannot_be(refusals, args): refusals('fit', 'ok.npz', *FEW, *args)


def test_reproduce_on_too_few_examples(refusals):
    assert 'n is too small' in refusals('reproduce', 'ActionDiag', '--n', 100, *FEW[2:])


PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@quick
@given(st.sampled_from(PACKED), st.integers(0, 2**32), st.binary(min_size=1, max_size=60))
def test_damaged_arrays(refusals, packed, place, content):
    array = io.BytesIO()
    np.save(array, x3[:40])
    with zipfile.ZipFile('bad.npz', 'w', packed) as file: file.writestr('x.npy', array.getvalue())
    with open('bad.npz', 'r+b') as file:
        file.seek(place % 300)
        file.write(content)
    refusals('fit', 'bad.npz', *FEW)


@quick
@given(st.binary(max_size=200), st.sampled_from(['.npz', '.csv', '.tsv', '.toml']))
def test_any_file(refusals, content, kind):
    with open(f'any{kind}', 'wb') as file: file.write(content)
    refusals(*(['sweep', 'any.toml'] if kind == '.toml' else ['fit', f'any{kind}']), '--quiet')


@pytest.mark.parametrize('spec', [
    'a=' + '[' * 3_000, 'runs=3', 'n=inf', 'n=2020-01-01', 'minutes=nan', 'n=' + '9' * 30, 'steps=' + '9' * 400,
    'seeds=[]', 'model_options={width=2020-01-01}', 'seeds=[0.5]', 'nonsense=1'])
def test_sweeps_that_cannot_be(refusals, spec):
    with open('s.toml', 'w') as file: file.write(f"{spec}\n[[runs]]\ndatasets=['ActionDiag']\nmethod='paper'\n")
    refusals('sweep', 's.toml', '--quiet')


@pytest.mark.parametrize('args, said', [
    (('--actions', 'u', '--drop', 'v', 'w', 'day'), "got 'v', 'w'"),
    (('--actions', 'u', '--drop', 'u'), '--actions and by --drop'), (('--time', 'day', '--drop', 'day'), 'by --drop'),
    (('--sequence', 'u'), 'day (constant). Name them by --actions'), (('--time', 'day'), 'by --sequence'),
    (('--time', 'u', '--drop', 'day', 'p', 'q'), 'no sensor is left'), (('--drop', 'day'), '--time COLUMN'),
    (('--actions', 'u', '--drop', 'day', '--sequence', 'p'), '--sequence must name'),
    (('--actions', 'u', '--drop', 'day', '--time', 'p'), 'at least 30 sequences')])
def test_mistakes_about_columns(refusals, home, args, said):
    "Are answered in the words of the command line"
    table = pd.DataFrame({'u': np.arange(20) // 2, 'p': x[:20, 0], 'q': x[:20, 1], 'day': 1})
    table.to_csv(home / 'log.csv', index=False)
    assert said in refusals('fit', 'log.csv', *FEW, *args)


@pytest.mark.parametrize('arrays, said', [
    ({'sequence': np.arange(99)}, 'one for each of 180 frames'), ({'sequence': np.arange(180.)}, 'integers or text'),
    ({'sequence': np.arange(180)}, 'more than 1 frames'),
    ({'x': x3[:180], 'a': x3[:180], 'sequence': np.arange(180)}, 'below each other')])
def test_sequences_that_cannot_be(refusals, home, arrays, said):
    np.savez('log.npz', **{'x': x[:180], 'a': a[:180]} | arrays)
    assert said in refusals('fit', 'log.npz', *FEW)


@pytest.fixture
def splits(home, monkeypatch):
    "The sequences that a command would fit, validate and test on"
    def found(*args):
        seen = []
        monkeypatch.setattr(cli, 'run_into', lambda folder, config, data, *more: seen.append(data) or 1 / 0)
        with pytest.raises(ZeroDivisionError): run('fit', *args, *FEW)
        return [part.x for part in seen[0]]
    return found


@pytest.mark.parametrize('groups, counts', [('run', [8, 1, 1]), ('who', [2, 4, 4])])
def test_groups_are_held_out_whole(splits, groups, counts):
    "Though there are few sequences, which would be cut otherwise"
    table = pd.DataFrame(x, columns=[*'pqrst']).assign(run=rng.permutation(200) % 10)
    table['who'] = table.run.map(lambda run: 'abc'[(run > 1) + (run > 5)])
    table.to_csv('log.csv', index=False)
    parts = splits('log.csv', '--sequence', 'run', '--groups', groups, *(['--drop', 'who'] if groups == 'run' else []))
    assert sorted(len(part) for part in parts) == sorted(counts)
    whose = [{table[groups][table.p == sequence.p[0]].item() for sequence in part} for part in parts]
    assert sum(map(len, whose)) == len(set.union(*whose)) == table[groups].nunique()
    assert [len(part) for part in splits('log.csv', '--sequence', 'run', '--drop', 'who')] == [10, 10, 10]


@pytest.mark.parametrize('sequence', ['trial', 'who'])
def test_padded_arrays_with_labels(splits, refusals, sequence):
    "Axes are found by name, what no recording has is no frame, and its actions do not matter"
    xarray = pytest.importorskip('xarray')
    padded = np.where(np.arange(30)[:, None] < 30 - np.arange(4)[:, None, None], rng.normal(size=(4, 30, 3)), np.nan)
    array = xarray.DataArray(padded, dims=('trial', 'time', 'sensor'), coords={
        'sensor': ['p', 'q', 'heat'], 'who': ('trial', [*'abcd'])}, name='log')
    array.transpose('sensor', 'trial', 'time').to_netcdf('log.nc', engine='scipy')
    found = splits('log.nc', '--sequence', sequence, '--time', 'time', '--actions', 'heat')
    assert [list(part.columns) for part in found[0]] == [['p', 'q']] * 4
    whole = [np.concatenate(parts) for parts in zip(*([*map(np.asarray, part)] for part in found), strict=True)]
    assert all(np.allclose(one, two[:, :2], equal_nan=True) for one, two in zip(whole, padded, strict=True))
    assert '--sequence must be one of' in refusals('fit', 'log.nc', '--sequence', 'trail', '--time', 'time', *FEW)
    assert "axes 'sensor', 'trial' are left" in refusals('fit', 'log.nc', '--time', 'time', *FEW)


def test_cells(splits, refusals):
    anndata = pytest.importorskip('anndata')
    about = pd.DataFrame({'guide': pd.Categorical(['b', 'ctrl'] * 100), 'depth': 1}, [*map(str, range(200))])
    cells = anndata.AnnData(csr_matrix(np.c_[x, 0 * x[:, 0]]), about)
    cells.write_h5ad('cells.h5ad')
    train, *_ = splits('cells.h5ad', '--actions', 'guide', '--drop', '1')
    assert train.shape == (160, 4) and list(train.columns) == [*'0234']
    assert "must be one of guide, depth, got 'gide'" in refusals('fit', 'cells.h5ad', '--actions', 'gide', *FEW)
    assert 'say what was done' in refusals('fit', 'cells.h5ad', *FEW)


def test_sequences_in_an_array_are_those_of_a_table(splits):
    ids = np.array(['b', 'c', 'a', 'd'])[np.arange(200) % 4]
    np.savez('log.npz', x=x, sequence=ids)
    pd.DataFrame(x, columns=[*'pqrst']).assign(run=ids).to_csv('log.csv', index=False)
    for one, two in zip(splits('log.npz'), splits('log.csv', '--sequence', 'run'), strict=True):
        assert all(np.array_equal(part, other) for part, other in zip(one, two, strict=True))


SWEEP = "n=300\nsteps=20\n[[runs]]\ndatasets=['ActionDiag']\nmethod='paper'\n"


@pytest.mark.parametrize('rows', [None, 'a', 'hash, config, result'])
def test_a_table_of_something_else(refusals, home, rows):
    (home / 's.toml').write_text(SWEEP)
    (home / 'out').mkdir()
    if rows is None: (home / 'out' / TABLE).mkdir()
    else:
        with sqlite3.connect(home / 'out' / TABLE) as table:
            table.execute('PRAGMA journal_mode=WAL')
            table.execute(f'CREATE TABLE runs ({rows})')
            table.execute(f"INSERT INTO runs VALUES ({', '.join(['3'] * len(rows.split(', ')))})")
        table.close()
    assert TABLE in refusals('sweep', 's.toml', '--quiet', '--out', 'out')


def test_no_scheduler_leaves_nothing(refusals, home):
    pytest.importorskip('dask.distributed')
    (home / 's.toml').write_text(SWEEP)
    assert 'no scheduler answers' in refusals('sweep', 's.toml', '--quiet', '--scheduler', 'nonsense')


# ---- files left, claimed, or stuck

def run(*args): return cli.main([str(arg) for arg in args])


@pytest.mark.parametrize('limit', [0, 500, 3_000, 30_000])
def test_a_full_disk(home, capsys, limit):
    "One line; and the same command goes on when there is room again"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    with capsys.disabled():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        said = io.StringIO()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr('sys.stderr', said)
                code = run('fit', 'ok.npz', *FEW, '--out', 'out')
        finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2 and said.getvalue().count('\n') == 1 and not list(home.rglob('*.tmp'))
    assert run('fit', 'ok.npz', *FEW, '--out', 'out') == 0


def test_the_same_command_again(home, capsys):
    (home / 'out').mkdir()
    for name in ('run.json.1.tmp', 'history.csv.1.tmp', '.history.png.7.tmp'): (home / 'out' / name).write_text('x')
    (home / 'out' / 'history.csv.1.tmp').unlink()
    (home / 'out' / '.history.png.7.tmp').unlink()
    assert run('fit', 'ok.npz', *FEW, '--out', 'out') == 0
    written = {p: p.stat().st_mtime_ns for p in home.rglob('*')}
    for name in ('history.csv.1.tmp', 'model/estimator.safetensors.7.tmp'): (home / 'out' / name).write_text('x')
    assert run('fit', 'ok.npz', *FEW, '--out', 'out') == 0  # done is done
    (home / 'out' / 'result.json').unlink()
    assert run('fit', 'ok.npz', *FEW, '--out', 'out') == 0  # and what a killed process left goes
    assert {p for p in home.rglob('*') if p.is_file()} == {p for p in written if p.is_file()}
    assert json.loads((home / 'out' / 'result.json').read_text())['dataset'] == 'ok'


def test_a_folder_in_use_is_refused(refusals, home, monkeypatch):
    "Two identical commands at once"
    monkeypatch.setattr(runs.locked.__wrapped__, '__defaults__', (0.,))
    (home / 'out').mkdir()
    with runs.locked(home / 'out'):
        assert 'in use by another process' in refusals('fit', 'ok.npz', *FEW, '--out', 'out')


def test_what_another_process_writes_is_left_to_it(tmp_path):
    "A fit that is going on elsewhere, into the same folder, must not lose its temporary file"
    parent, gone = multiprocessing.parent_process(), 2**30
    alive = parent.pid if parent else 1
    for name in (CHECKPOINT, FIT):
        for pid in (alive, gone): (tmp_path / f'{name}.{pid}.tmp').write_text('x')
    trainer().run(tmp_path, show=False)
    estimator(folder=tmp_path).fit(x, a)
    assert sorted(p.name for p in tmp_path.glob('*.tmp')) == sorted(f'{n}.{alive}.tmp' for n in (CHECKPOINT, FIT))


def test_dots_are_no_name(home, monkeypatch):
    "`...npz` has the stem `..`, which is the folder above"
    for name in ('..', '...'): shutil.copy('ok.npz', f'{name}.npz')
    claimed = []
    monkeypatch.setattr(cli, 'run_into', lambda folder, *args: claimed.append(folder) or 1 / 0)
    for name in ('..', '...'):
        with pytest.raises(ZeroDivisionError): run('fit', f'{name}.npz', *FEW)
    assert {str(folder) for folder in claimed} == {'runs/data'}


@pytest.mark.parametrize('damage', ['gone', 'empty', 'text', 'sound'])
def test_a_run_whose_latents_are_gone_is_run_again(tmp_path, damage):
    configs = {'h': {'dataset': 'x'}}
    h = runs.run_hash(configs['h'])
    with open_table(tmp_path) as table: keep(table, configs['h'], {'status': 'done'})
    path = latents_file(tmp_path, h)
    path.parent.mkdir()
    if damage in ('empty', 'text'): path.write_text('' if damage == 'empty' else 'x' * 99)
    if damage == 'sound': np.save(path, x)
    assert has_latents(tmp_path, h) == (damage == 'sound')
    assert len(runs_left({h: configs['h']}, tmp_path, retry=False)) == (damage != 'sound')


# ---- messages and security

def test_warnings_are_not_shown(home):
    "Of NumPy, of Python's parser, of scikit-learn: what is wrong is said in one line"
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        run('fit', 'ok.npz', *FEW, '--set', 'activation="\\d"')
        np.savez('complex.npz', x=x3 + 1j)
        run('fit', 'complex.npz', *FEW)
    assert not shown


def test_a_stored_estimator_says_neither_where_to_write_nor_on_what_to_compute(tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    estimator(folder=elsewhere).fit(x, a).save(tmp_path / 'model')
    shutil.rmtree(elsewhere)
    known = MechanismSparsityICA.load(tmp_path / 'model')
    assert known.folder is None and known.device is None
    known.fit(x, a)
    assert not elsewhere.exists()
