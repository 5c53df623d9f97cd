"""A sweep loses nothing and repeats nothing, whichever of its processes is killed."""
import json
import multiprocessing
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path

import pytest

from msr_nb import runs
from msr_nb.runs import run_hash
from msr_nb.sweep import TABLE, expand, keep, open_table, read_table, sweep

dask = pytest.importorskip('dask', reason="needs Dask: pip install 'msr_nb[sweep]'")
distributed = pytest.importorskip('dask.distributed', reason="needs Dask: pip install 'msr_nb[sweep]'")
psutil = pytest.importorskip('psutil')  # comes with it

pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs a system with SIGKILL')
PATIENCE = 300  # seconds, for a machine that does much else
SPEC = {'n': 500, 'steps': 100, 'method': 'paper', 'seeds': [0, 1, 2],
        'runs': [{'datasets': ['ActionDiag', 'TimeDiag']}],
        'model_options': {'width': 16, 'depth': 1, 'mechanism_width': 8},
        'train_options': {'optimizer': 'adam', 'batch_size': 32}}
HASHES = sorted(map(run_hash, expand(SPEC)))


@pytest.fixture(scope='module', autouse=True)
def context():
    "Processes are forked from one that has imported torch, to save seconds"
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['msr_nb.cli', 'msr_nb.sweep', 'pytest', 'torch._dynamo', 'dask.distributed',
                                    'distributed.cli.dask_scheduler', 'distributed.cli.dask_worker'])
    forkserver.ensure_running()  # before Dask sets a preload of its own
    with dask.config.set({'distributed.worker.multiprocessing-method': 'forkserver'}): yield context


def wait_for(condition):
    "The first value of `condition()` that is true"
    start = time.monotonic()
    while not (value := condition()):
        assert time.monotonic() - start < PATIENCE
        time.sleep(.05)
    return value


def rows(folder):
    "When each run ended, by hash"
    if not (folder / TABLE).exists(): return {}
    try: table = read_table(folder)
    except Exception: return {}  # just being made
    return dict(zip(table.hash, table.finished, strict=True)) if len(table) else {}


def check_complete(folder, before):
    "One row a run, those that were there before as they were; and a further call runs nothing"
    table = read_table(folder)
    assert sorted(table.hash) == HASHES
    assert set(table.status) == {'done'}
    after = rows(folder)
    assert {h: after[h] for h in before} == before
    assert sorted(p.stem for p in (folder / 'latents').iterdir()) == HASHES
    sweep(SPEC, folder, scheduler='tcp://127.0.0.1:1', progress=False)  # where nobody listens
    assert rows(folder) == after


def test_a_table_is_whole_as_soon_as_it_is_there(tmp_path, monkeypatch):
    "Who makes it and who reads it never set the mode of one file, or they lock each other out"
    connect, opened = sqlite3.connect, []
    def checked(path, **options):
        if Path(path).name == TABLE:
            with closing(connect(path)) as other:
                assert other.execute('PRAGMA journal_mode').fetchone() == ('wal',)
                opened.append(other.execute('SELECT count(*) FROM runs').fetchone()[0])
        return connect(path, **options)
    monkeypatch.setattr(sqlite3, 'connect', checked)
    with open_table(tmp_path / 'out') as table:
        keep(table, expand(SPEC)[0], {'status': 'done'})
        assert len(read_table(tmp_path / 'out')) == 1  # while it is open
    assert opened == [0, 1] and sorted(os.listdir(tmp_path / 'out')) == [TABLE]


def test_a_killed_worker_loses_no_run(tmp_path):
    with (distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
          distributed.Client(cluster, set_as_default=False) as client, ThreadPoolExecutor() as pool):
        sweeping = pool.submit(sweep, SPEC, tmp_path, cluster.scheduler_address, progress=False)
        pids = {nanny.worker_address: nanny.pid for nanny in cluster.workers.values()}
        address, stacks = wait_for(lambda: next(iter(client.call_stack().items()), None))  # a run that is under way
        os.kill(pids[address], signal.SIGKILL)
        before = rows(tmp_path)
        assert sweeping.result(PATIENCE) is not None
        assert not set(before) & {key.removeprefix('msr_nb-') for key in stacks}
    check_complete(tmp_path, before)


@pytest.fixture
def sweeping(tmp_path, context):
    "A sweep in a process of its own, when its first run is kept; and the processes that it started"
    process = context.Process(target=sweep, args=(SPEC, tmp_path), kwargs={'workers': 2, 'progress': False})
    process.start()
    try:
        wait_for(lambda: rows(tmp_path))
        yield process, psutil.Process(process.pid).children(recursive=True)
    finally: process.kill()
    process.join()


def test_a_killed_sweep_goes_on(tmp_path, sweeping):
    process, workers = sweeping
    process.kill()
    process.join()
    before = rows(tmp_path)
    assert 0 < len(before) < len(HASHES)
    assert workers and not psutil.wait_procs(workers, timeout=PATIENCE)[1]  # they do not outlive it
    sweep(SPEC, tmp_path, workers=1, progress=False)
    check_complete(tmp_path, before)


def test_a_killed_process_loses_no_run(tmp_path, sweeping):
    process, workers = sweeping
    for p in sorted(workers, key=lambda p: p.create_time(), reverse=True):  # a run that is under way is the newest
        with suppress(psutil.NoSuchProcess):  # it has ended since the list was made
            if p.children(): continue
            p.kill()
            break
    before = rows(tmp_path)
    process.join(PATIENCE)
    assert process.exitcode == 0
    check_complete(tmp_path, before)


def test_no_port_is_opened(sweeping):
    "Where anybody could listen in, or have code run"
    process, workers = sweeping
    open_ports = []
    for p in (psutil.Process(process.pid), *workers):
        with suppress(psutil.NoSuchProcess): open_ports += p.net_connections('inet')
    assert not open_ports


def test_two_sweeps_at_once_run_nothing_twice(tmp_path, sweeping):
    process, _ = sweeping
    before = rows(tmp_path)
    try: sweep(SPEC, tmp_path, workers=1, progress=False)  # waits for a while, then does what is left: nothing
    except ValueError as error: assert 'in use by another process' in str(error)
    process.join(PATIENCE)
    check_complete(tmp_path, before)


def test_another_revision_is_not_reused(tmp_path, monkeypatch):
    spec = SPEC | {'seeds': [0], 'runs': [{'datasets': 'ActionDiag'}]}
    old = sweep(spec, tmp_path, workers=1, progress=False)
    monkeypatch.setattr(runs, 'REVISION', runs.REVISION + 1)
    new = sweep(spec, tmp_path, workers=1, progress=False)
    assert (new.revision - old.revision).tolist() == [1] and set(old.hash).isdisjoint(new.hash)
    assert len(read_table(tmp_path)) == 2


def dask_command(log, name, *args):
    "What `dask NAME` does, in this process"
    with open(log, 'w') as file:
        for stream in (1, 2): os.dup2(file.fileno(), stream)
    import_module(f'distributed.cli.dask_{name}').main.main(args)


@contextmanager
def scheduler_and_worker(folder, context):
    "Processes of their own; the address"
    file, started = folder / 'scheduler.json', []
    def start(name, *args):
        args = (*args, '--scheduler-file', str(file), '--no-dashboard', '--host', '127.0.0.1')
        started.append(context.Process(target=dask_command, args=(folder / f'{name}.log', name, *args)))
        started[-1].start()
    def read_address():
        try: return json.loads(file.read_text())['address']
        except (OSError, ValueError): return None
    try:
        start('scheduler', '--port', '0')
        address = wait_for(read_address)
        start('worker', '--nthreads', '1', '--no-nanny')
        yield address
    finally:
        for process in started: process.kill()
        for process in started: process.join()


def test_a_lost_scheduler_can_be_replaced(tmp_path, context):
    folder, homes = tmp_path / 'sweep', [tmp_path / name for name in ('first', 'second')]
    for home in homes: home.mkdir()
    with ThreadPoolExecutor() as pool:
        with scheduler_and_worker(homes[0], context) as address:
            sweeping = pool.submit(sweep, SPEC, folder, address, progress=False)
            wait_for(lambda: rows(folder) or sweeping.done())
        with pytest.raises(ConnectionError, match='lost the scheduler'): sweeping.result(PATIENCE)
    before = rows(folder)
    assert 0 < len(before) < len(HASHES)
    with scheduler_and_worker(homes[1], context) as address: sweep(SPEC, folder, address, progress=False)
    check_complete(folder, before)
