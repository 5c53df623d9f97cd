"""A run that is killed, however often and at whatever moment, ends where it would have ended anyway, bit for bit."""
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from msr_nb import cli, estimator, runs
from msr_nb.datasets import generate
from msr_nb.estimator import MechanismSparsityICA
from msr_nb.files import load_tensors
from msr_nb.soap import SOAP
from msr_nb.sparsity import Sparsity
from msr_nb.training import CHECKPOINT, TrainConfig, Trainer, seeded
from msr_nb.vae import MechanismVAE, ModelConfig

pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs a system with SIGKILL')
STEPS, EVERY = 600, 50
GONE = 2**30  # numbers of processes that no system has
PATIENCE = 300  # seconds, for a machine that does much else


# ---- processes

@pytest.fixture(scope='module', autouse=True)
def one_thread():
    "Sums depend on the number of threads"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def start():
    "Run a function of this module in a process of its own, forked from one that has imported torch, to save seconds"
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['msr_nb.cli', 'pytest', 'torch._dynamo'])
    started = []
    def start(function, *args):
        process = context.Process(target=call, args=(function, *args))
        started.append(process)
        process.start()
        return process
    yield start
    for process in started:
        if process.is_alive(): process.kill()
        process.join()


def call(function, *args):
    torch.set_num_threads(1)
    sys.exit(function(*args))


def finish(process):
    "Exit code of a process that ends by itself"
    process.join(PATIENCE)
    return process.exitcode


def killed_when(process, condition):
    "Kill the process as soon as `condition` holds"
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.is_alive() and time.monotonic() < deadline, f'exit code {process.exitcode}'
        time.sleep(.005)
    os.kill(process.pid, signal.SIGKILL)
    return finish(process) == -signal.SIGKILL


def steps_done(folder):
    "Of the checkpoint in a folder; 0 without one"
    path = Path(folder) / CHECKPOINT
    if not path.exists(): return 0
    with safe_open(path, 'pt') as f: return json.loads(f.metadata()['json'])['steps_done']


# ---- training

class CountingTrainer(Trainer):
    "A trainer that knows how many steps this process made, and leaves time to kill it"
    steps_here, pause = 0, 0.

    def step(self):
        super().step()
        self.steps_here += 1
        time.sleep(self.pause)


def die(*_):
    "What no `except` or `finally` sees"
    os.kill(os.getpid(), signal.SIGKILL)


def truncate_and_die(tensors, path, meta):
    "A write that gets no further than half of the file"
    save_file(tensors, path, meta)
    os.truncate(path, os.path.getsize(path) // 2)
    die()


save_file = safetensors.torch.save_file
WEAK_SPOTS = {'none': (), 'half-written': (safetensors.torch, 'save_file', truncate_and_die),
              'not yet renamed': (os, 'replace', die)}


def train(folder, weak_spot='none', pause=0.):
    "A small run, which may die at its next checkpoint"
    if spot := WEAK_SPOTS[weak_spot]: setattr(*spot)
    data = generate('ActionNonDiag', n=2000, d_z=4, d_x=6).train
    with seeded(0): model = MechanismVAE(ModelConfig(6, 4, data.a.shape[-1], 0, width=16, depth=1, mechanism_width=8))
    config = TrainConfig(STEPS, batch_size=64, checkpoint_every=EVERY, log_every=20)
    x, a = torch.from_numpy(data.x), torch.from_numpy(data.a)
    trainer = CountingTrainer(model, x, a, Sparsity({'Ga': 6}), config)
    trainer.pause = pause
    history = trainer.run(folder, show=False)
    history.to_csv(folder / f'history-{trainer.steps_here}.csv', index=False)


def assert_same_end(folder, other):
    "The same tensors and the same history, apart from when it was saved and the time it took"
    (mine, meta), (theirs, their_meta) = (load_tensors(f / CHECKPOINT) for f in (folder, other))
    assert mine.keys() == theirs.keys()
    for k, v in mine.items(): assert torch.equal(v, theirs[k]), k
    for m in (meta, their_meta):
        del m['train_config']['checkpoint_every']
        for row in [m, *m['rows']]: del row['seconds']
    assert meta == their_meta


@pytest.fixture(scope='module')
def whole(one_thread, tmp_path_factory):
    "A run that nothing interrupts, in this process, for instance with another order of sets"
    folder = tmp_path_factory.mktemp('whole')
    train(folder)
    assert steps_done(folder) == STEPS
    return folder


def test_killed_again_and_again(start, whole, tmp_path):
    complete = (whole / CHECKPOINT).read_bytes()
    left_over = {f'{CHECKPOINT}.{GONE}.tmp': complete, f'{CHECKPOINT}.{GONE + 1}.tmp': complete[:99], 'x.tmp': b''}
    for name, content in left_over.items(): (tmp_path / name).write_bytes(content)
    def dies(weak_spot): return finish(start(train, tmp_path, weak_spot)) == -signal.SIGKILL
    def killed_at(step): return killed_when(start(train, tmp_path, 'none', .002), lambda: steps_done(tmp_path) >= step)
    assert dies('half-written') and steps_done(tmp_path) == 0  # at its first checkpoint
    assert killed_at(150)  # between two rows of the history
    first = steps_done(tmp_path)
    assert dies('not yet renamed') and steps_done(tmp_path) == first
    assert killed_at(350)
    second = steps_done(tmp_path)
    assert 150 <= first < 350 <= second < STEPS

    assert finish(start(train, tmp_path)) == 0
    assert [p.name for p in tmp_path.glob('*.csv')] == [f'history-{STEPS - second}.csv']  # it went on
    assert_same_end(tmp_path, whole)
    mine, theirs = (pd.read_csv(next(f.glob('*.csv'))).drop(columns='seconds') for f in (tmp_path, whole))
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    assert [p.name for p in tmp_path.glob('*.tmp')] == ['x.tmp']  # its own are cleared away, nothing else is


def test_a_finished_run_makes_no_further_step(start, whole):
    before = (whole / CHECKPOINT).read_bytes()
    assert finish(start(train, whole)) == 0
    assert (whole / 'history-0.csv').exists() and (whole / CHECKPOINT).read_bytes() == before
    (whole / 'history-0.csv').unlink()


# ---- estimator

class Interrupt(Exception): pass


@pytest.mark.parametrize('name, method', [
    ('TimeNonDiag', 'paper'), ('ActionNonDiag', 'paper'), ('ActionNonDiag', 'aligned'), ('TimeNonDiag', 'aligned')])
def test_estimator_goes_on_where_it_was_stopped(tmp_path, name, method):
    data = generate(name, n=300, d_z=4, d_x=6).train
    def fit(folder, stop_at=None):
        logs = []
        def probe(fitted):
            if len(logs) == stop_at: raise Interrupt
            logs.append(fitted.score(data.x, data.a))
            return {'mcc': logs[-1]}
        made = MechanismSparsityICA(
            4, edges=7, method=method, steps=60, folder=folder, device='cpu', progress=False,
            model_options={'width': 8, 'depth': 1, 'mechanism_width': 4},
            train_options={'batch_size': 16, 'log_every': 7, 'checkpoint_every': 10})
        return made.fit(data.x, data.a, probe), len(logs)
    whole, logs = fit(None)
    for stop_at in (logs // 3, logs // 3):  # counted from where it went on; between them, and after, stages end
        with pytest.raises(Interrupt): fit(tmp_path, stop_at)
    (resumed, logs_resumed), (again, logs_again) = fit(tmp_path), fit(tmp_path)
    assert logs_again == 0 < logs_resumed < logs
    for other in (resumed, again):
        assert np.array_equal(other.transform(data.x), whole.transform(data.x))
        pd.testing.assert_frame_equal(*(e.history_.drop(columns='seconds') for e in (other, whole)), check_exact=True)
        for g, probs in whole.mask_history_.items(): assert np.array_equal(other.mask_history_[g], probs)
    assert np.array_equal(resumed.history_.seconds, again.history_.seconds)


def count_steps(path):
    "Every step of every optimiser from now on, in a file that outlives the process"
    counter, step = np.memmap(path, np.int64, 'r+' if path.exists() else 'w+', shape=1), SOAP.step
    def counted(*args):
        counter[0] += 1
        return step(*args)
    SOAP.step = counted


def fit_over_time(folder):
    "A small fit by the whole recipe; 2 % of it lie between two checkpoints, as by default"
    count_steps(folder / 'count')
    data = generate('TimeNonDiag', n=3_000, d_z=4, d_x=8).train
    MechanismSparsityICA(
        4, edges=10, steps=1_000, folder=folder / 'fit', progress=False,
        model_options={'width': 32, 'depth': 1, 'mechanism_width': 8, 'activation': 'silu'},
        train_options={'batch_size': 32, 'checkpoint_every': 20, 'log_every': 20}).fit(data.x, data.a).save(folder)


def test_killed_while_straightening(start, tmp_path):
    whole, killed = (tmp_path / name for name in ('whole', 'killed'))
    for folder in (whole, killed): folder.mkdir()
    assert finish(start(fit_over_time, whole)) == 0
    def far(): return steps_done(killed / 'fit' / '3-straighten') >= 200
    assert killed_when(start(fit_over_time, killed), far)
    assert finish(start(fit_over_time, killed)) == 0
    total, made = (np.fromfile(folder / 'count', np.int64)[0] for folder in (whole, killed))
    assert total <= made < 1.1 * total  # it repeats less than a tenth of the fit
    (mine, _), (theirs, _) = (load_tensors(folder / 'estimator.safetensors') for folder in (killed, whole))
    assert mine.keys() == theirs.keys()
    for k, v in mine.items(): assert torch.equal(v, theirs[k]), k


# ---- command line

COMMAND = ('reproduce TimeDiag --n 2000 --steps 100 --latents 4 --set width=32 --set mechanism_width=16 '
           '--set batch_size=64 --set counting=50 --set alignment.search.steps=50 --set alignment.search.starts=4 '
           '--no-baseline --quiet --out').split()


def command(out):
    "The command, with more checkpoints than every 2000 steps"
    estimator.TrainConfig = partial(TrainConfig, checkpoint_every=10)
    return cli.main([*COMMAND, str(out)])


SCRIPT = 'import sys, torch; from msr_nb.cli import main; torch.set_num_threads(1); sys.exit(main())'


def python(*args):
    "A command in a Python of its own"
    return subprocess.Popen([sys.executable, '-c', SCRIPT, *map(str, args)])


def test_the_same_command_again_after_a_kill(start, tmp_path):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    result = out / 'result.json'
    def reaches(stage, steps): return lambda: steps_done(out / stage) >= steps
    moments = [(out / 'run.json').exists, reaches('0-open', 10), reaches('0-open', 30), reaches('3-straighten', 10)]
    with python(*COMMAND, whole) as uninterrupted:
        for moment in moments:  # before the first checkpoint, in the first stage, and in a later one
            assert killed_when(start(command, out), moment) and not result.exists()
        assert finish(start(command, out)) == 0 == uninterrupted.wait(PATIENCE)
    same = ('dataset', 'seed', 'n', 'settings', 'revision', 'mcc', 'r', 'r_con', 'shd', 'edges', 'steps', 'graphs')
    mine, theirs = (json.loads((f / 'result.json').read_text(encoding='utf-8')) for f in (out, whole))
    assert {k: mine[k] for k in same} == {k: theirs[k] for k in same}
    histories = [pd.read_csv(f / 'history.csv').drop(columns='seconds') for f in (out, whole)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    models = [load_tensors(f / 'model' / 'estimator.safetensors')[0] for f in (out, whole)]
    for k, v in models[0].items(): assert torch.equal(v, models[1][k]), k
    written = result.stat().st_mtime_ns
    assert finish(start(command, out)) == 0 and result.stat().st_mtime_ns == written  # done is done


def test_no_process_is_left_behind(tmp_path):
    "The fit without sparsity ends with the command, and the same command at once goes on"
    both, theirs = [word for word in COMMAND if word != '--no-baseline'], tmp_path / 'out' / 'no_sparsity'
    left = []
    for how in (signal.SIGTERM, signal.SIGKILL):
        with python(*both, tmp_path / 'out') as killed:
            process, deadline = psutil.Process(killed.pid), time.monotonic() + PATIENCE
            while not (theirs / 'run.json').exists() or not (helpers := process.children(recursive=True)):
                assert killed.poll() is None and time.monotonic() < deadline
                time.sleep(.005)
            killed.send_signal(how)
            killed.wait(PATIENCE)
        assert not (theirs / 'result.json').exists()
        left += helpers
    with python(*both, tmp_path / 'out') as last: assert last.wait(PATIENCE) == 0
    assert not psutil.wait_procs(left, timeout=PATIENCE)[1]
    result = json.loads((tmp_path / 'out' / 'result.json').read_text(encoding='utf-8'))
    assert result['no_sparsity']['edges'] == 16 > result['edges']


def test_a_folder_that_was_being_signed_is_free(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'run.json.1.tmp').write_text('{"revi')
    assert cli.main([*COMMAND, str(tmp_path / 'out')]) == 0
    assert not list((tmp_path / 'out').rglob('*.tmp'))


def test_a_run_of_another_revision_is_refused(tmp_path, monkeypatch, capsys):
    assert cli.main([*COMMAND, str(tmp_path / 'out')]) == 0
    monkeypatch.setattr(runs, 'REVISION', runs.REVISION + 1)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    assert cli.main([*COMMAND, str(tmp_path / 'out')]) == 2
    assert f'with revision {runs.REVISION - 1} and not {runs.REVISION}' in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')} == before
