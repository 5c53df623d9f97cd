"""Data that other packages ship or simulate: write them as files, fit them by one command each, and say what came out

    python tests/foreign.py --to files                         # NAME.csv or NAME.npz, and the command lines
    python tests/foreign.py --to files --run --out nbs/results # and runs them; appends to foreign.csv there

needs `pip install msr_nb[sims]`, and no network. Rows that the table has already are not made again.
"""
import argparse
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd

from msr_nb.datasets import Trajectories
from msr_nb.estimator import MechanismSparsityICA
from msr_nb.metrics import mcc, r_squared
from msr_nb.own_data import long_enough, read_data
from msr_nb.page import WARNINGS, gather
from msr_nb.recipe import REVISION

FAST = '--steps 1500 --set batch_size=128'  # some minutes a fit, at a price in precision
STOPPED = 124  # as `timeout` has it


class Foreign(NamedTuple):
    "Data as their users have them"
    data: pd.DataFrame | dict | Path  # a table, arrays by name, or a file that the package ships
    options: str = ''  # of `msr_nb fit`
    truth: pd.DataFrame | None = None  # what is known of the latents, in the order of the rows


MADE: dict[str, tuple[str, Callable[[], Foreign]]] = {}  # name -> package, and what makes the data


def of(package: str):
    "Into the registry"
    def register(make):
        MADE[make.__name__] = package, make
        return make
    return register


def shipped(package: str) -> Path: return Path(importlib.util.find_spec(package).submodule_search_locations[0])


def mixing(z: np.ndarray, d_x: int, seed: int = 0) -> np.ndarray:
    "Sensors that each see all of z, and saturate a little"
    rng, z = np.random.default_rng(seed), (z - z.mean(0)) / z.std(0)
    mixed = (z + .4 * np.tanh(z @ rng.normal(size=(z.shape[1],) * 2))) @ rng.normal(size=(z.shape[1], d_x))
    return mixed + 2 * np.tanh(mixed)


def columns(values: np.ndarray, name: str) -> dict:
    "Columns of a table, or the numbers of a row, numbered"
    return {f'{name}{i}': column for i, column in enumerate(np.atleast_1d(values).T)}


TUNNEL = {  # of the package's tutorial, fitted to the real tunnel
    'S': np.array([[4.34165202, 2.8594438, 1.91565691], [.89410569, 1.58679242, 2.68477163]]),
    'd1': .1, 'd2': .17, 'd3': .25, 'Ts': np.array([.42685688, .41231782, .46652526]),
    'Tp': np.array([.2909342, .29624314, .30526271]), 'Tc': np.array([.00431032, .01447611, .02041075]),
    'Q': np.array([.12834946, .12870338, .13078523]), 'C0': 58.13307318503893, 'A': 1.42261211,
    'a1': 506.8049747171294, 'a2': 510.98343062774353}
FACTORS = ('red', 'green', 'blue', 'pol_1', 'pol_2')


def tunnel_factors(n: int, rng) -> tuple[np.ndarray, list[str]]:
    "Three lamps and two polarisers that follow each other from frame to frame; what was intervened on"
    low, high = np.array([0, 0, 0, -90, -90]), np.array([255, 255, 255, 90, 90])
    z, done = np.empty((n, 5)), rng.choice(['none', *FACTORS], n, p=[.35, *[.13] * 5])
    z[0] = rng.uniform(low, high)
    for t in range(1, n):
        red, green, blue, one, two = z[t - 1]
        mean = np.array([red, .5 * green + .5 * red, .5 * blue + .5 * green, one, .5 * two + .5 * one])
        z[t] = mean + .1 * (high - low) * rng.normal(size=5)
        if done[t] != 'none': z[t, FACTORS.index(done[t])] = rng.uniform(low, high)[FACTORS.index(done[t])]
        z[t] = np.where(z[t] < low, 2 * low - z[t], np.where(z[t] > high, 2 * high - z[t], z[t])).clip(low, high)
    return z, list(done)


def tunnel_sensors(z: np.ndarray) -> dict[str, np.ndarray]:
    "What the tunnel shows, by sensor, of factors in its own units (n, 5)"
    import causalchamber.simulators.lt as lt
    settings = {f'diode_{kind}_{i}': size for kind, size in (('ir', 2), ('vis', 1)) for i in (1, 2, 3)}
    settings |= {f't_{kind}_{i}': 3 for kind in ('ir', 'vis') for i in (1, 2, 3)}
    inputs = pd.DataFrame(z, columns=FACTORS).assign(**settings, v_c=5, v_angle_1=5, v_angle_2=5)
    tunnel = lt.Deterministic(**TUNNEL)
    return dict(zip(tunnel.outputs_names, tunnel.simulate_from_inputs(inputs), strict=True))


def driven_tunnel(
    n: int = 54_000,
    seed: int = 0,
    angles: bool = True,  # with the two sensors that read the polarisers' angles
) -> Trajectories:
    "Five factors, each driven by its own action and the next one's, as the tunnel's standardised sensors see them"
    rng = np.random.default_rng(seed)
    a = rng.uniform(-1, 1, (n, 5))
    z = .6 * a + .4 * np.sin(2.5 * np.roll(a, -1, axis=1)) + .03 * rng.normal(size=(n, 5))
    sensors = tunnel_sensors(np.array([127.5, 127.5, 127.5, 45, 45]) + np.array([100, 100, 100, 40, 40]) * z)
    x = np.stack([values for name, values in sensors.items() if angles or 'angle' not in name], axis=1)
    x = (x - x.mean(0)) / x.std(0)
    x += .01 * rng.normal(size=x.shape)
    x, z, a = (part[:, None].astype(np.float32) for part in (x, z, a))
    return Trajectories(x, z, a, None, np.eye(5, dtype=int) + np.roll(np.eye(5, dtype=int), 1, axis=1))


@of('causalchamber')
def light_tunnel() -> Foreign:
    "One long record of nine sensors of the light tunnel, and which of five factors was set by hand"
    z, done = tunnel_factors(20_000, np.random.default_rng(0))
    sensors = tunnel_sensors(z)
    table = pd.DataFrame({'frame': range(len(z)), 'intervention': done, **sensors})
    return Foreign(table, '--actions intervention --time frame', pd.DataFrame(z, columns=FACTORS))


def vowels() -> pd.DataFrame:
    "A row for each frame of each utterance"
    from aeon.datasets import load_japanese_vowels
    x, speaker = load_japanese_vowels()
    def frames(i): return pd.DataFrame(x[i].T, columns=[f'lpc{k}' for k in range(12)]).assign(
        utterance=i, frame=range(x[i].shape[1]), speaker=f'speaker {speaker[i]}')
    return pd.concat([frames(i) for i in range(len(x))], ignore_index=True)


@of('aeon')
def japanese_vowels() -> Foreign:
    "640 utterances of 7 to 29 frames, by nine speakers"
    return Foreign(vowels(), '--actions speaker --sequence utterance --time frame')


@of('aeon')
def japanese_vowels_raw() -> Foreign:
    "The same as users have it in memory: an array of arrays"
    from aeon.datasets import load_japanese_vowels
    x, _ = load_japanese_vowels()
    ragged = np.empty(len(x), object)
    ragged[:] = [part.T for part in x]
    return Foreign({'x': ragged})


@of('aeon')
def japanese_vowels_padded() -> Foreign:
    "The same, padded with NaN to the longest"
    from aeon.datasets import load_japanese_vowels
    x, _ = load_japanese_vowels()
    padded = np.full((len(x), max(part.shape[1] for part in x), 12), np.nan)
    for row, part in zip(padded, x, strict=True): row[:part.shape[1]] = part.T
    return Foreign({'x': padded})


def motions() -> tuple[np.ndarray, np.ndarray]:
    "Accelerometer and gyroscope on a wrist, (80, 6, 100), and what was done"
    from aeon.datasets import load_basic_motions
    return load_basic_motions()


@of('aeon')
def basic_motions_as_loaded() -> Foreign:
    "Channels before time, as aeon has it"
    return Foreign({'x': motions()[0]})


@of('aeon')
def basic_motions() -> Foreign:
    "Time before channels, and the activity as an integer label that holds for all of a sequence"
    x, activity = motions()
    labels = np.unique(activity, return_inverse=True)[1]
    return Foreign({'x': x.swapaxes(1, 2), 'a': np.repeat(labels[:, None], x.shape[2], 1)})


@of('aeon')
def longley() -> Foreign:
    "Sixteen years of six economic series"
    from aeon.datasets import load_longley
    series = load_longley().T
    return Foreign(pd.DataFrame(columns(series, 'series')).assign(year=range(1947, 1947 + len(series))), '--time year')


def episodes(name: str, policy: Callable, count: int, **given) -> pd.DataFrame:
    "A row for each observation, and the action that led to it"
    import gymnasium
    world, rows = gymnasium.make(name, **given), []
    world.action_space.seed(0)
    rng = np.random.default_rng(0)
    for episode in range(count):
        seen, _ = world.reset(seed=episode)
        over, step = False, 0
        while not over:
            action = policy(world, rng)
            seen, _, ended, cut, _ = world.step(action)
            step, over = step + 1, ended or cut
            rows.append({'episode': episode, 'step': step, 'action': np.ravel(action)[0], **columns(seen, 'obs')})
    return pd.DataFrame(rows)


@of('gymnasium')
def cartpole() -> Foreign:
    "Random pushes: integer actions, four observations, which are the state, and episodes that end when the pole falls"
    table = episodes('CartPole-v1', lambda world, rng: int(world.action_space.sample()), 800)
    return Foreign(table, '--actions action --sequence episode --time step',
                   table.filter(like='obs').set_axis(['place', 'speed', 'angle', 'turn'], axis=1))


@of('gymnasium')
def acrobot() -> Foreign:
    "Three torques written as 0, 1, 2; two angles as cosine and sine"
    table = episodes('Acrobot-v1', lambda world, rng: int(world.action_space.sample()), 60, max_episode_steps=200)
    obs = table.filter(like='obs').to_numpy()
    state = {f'angle{i}': np.arctan2(obs[:, 2 * i + 1], obs[:, 2 * i]) for i in (0, 1)} | columns(obs[:, 4:], 'speed')
    return Foreign(table, '--actions action --sequence episode --time step', pd.DataFrame(state))


@of('gymnasium')
def pendulum() -> Foreign:
    "A torque between -2 and 2; one angle as cosine and sine, and a velocity"
    def policy(world, rng): return rng.uniform(-2, 2, 1).astype(np.float32)
    table = episodes('Pendulum-v1', policy, 60)
    obs = table.filter(like='obs').to_numpy()
    state = pd.DataFrame({'angle': np.arctan2(obs[:, 1], obs[:, 0]), 'speed': obs[:, 2]})
    return Foreign(table, '--actions action --sequence episode --time step', state)


@of('scanpy')
def krumsiek11() -> Foreign:
    "Four trajectories of 160 frames of eleven genes that regulate each other"
    import scanpy
    cells = scanpy.datasets.krumsiek11()
    table = cells.to_df().reset_index(drop=True)
    return Foreign(table.assign(run=np.repeat(range(4), 160), frame=np.tile(range(160), 4)),
                   '--sequence run --time frame', table)


@of('scanpy')
def pbmc68k() -> Foreign:
    "700 blood cells, 765 genes, and the type of each cell as if it were an intervention"
    import scanpy
    cells = scanpy.datasets.pbmc68k_reduced()
    table = cells.to_df().reset_index(drop=True)
    return Foreign(table.assign(type=cells.obs.bulk_labels.astype(str).to_numpy()), '--actions type')


@of('statsmodels')
def macrodata_by_year() -> Foreign:
    "Quarters of the US economy, with the column that comes to mind as time"
    import statsmodels.api as sm
    return Foreign(sm.datasets.macrodata.load_pandas().data, '--time year')


@of('statsmodels')
def macrodata() -> Foreign:
    "Twelve series of the US economy, 203 quarters"
    import statsmodels.api as sm
    table = sm.datasets.macrodata.load_pandas().data
    months = {quarter: f'{3 * quarter - 2:02.0f}' for quarter in (1, 2, 3, 4)}
    date = table.year.astype(int).astype(str) + '-' + table.quarter.map(months) + '-01'
    return Foreign(table.drop(columns=['year', 'quarter']).assign(date=date), '--time date')


@of('statsmodels')
def grunfeld() -> Foreign:
    "Eleven firms, twenty years, three numbers a year"
    import statsmodels.api as sm
    return Foreign(sm.datasets.grunfeld.load_pandas().data, '--sequence firm --time year')


@of('deeptime')
def sqrt_model() -> Foreign:
    "A hidden state that is one of two, seen through two bent coordinates"
    from deeptime.data import sqrt_model
    np.random.seed(0)  # noqa: NPY002, of the first state, which `seed` does not reach
    state, seen = sqrt_model(20_000, seed=0)
    return Foreign(pd.DataFrame(columns(seen, 'y')).assign(frame=range(len(seen))), '--time frame',
                   pd.DataFrame({'state': state}))


@of('pysindy')
def lorenz() -> Foreign:
    "The Lorenz system without noise, mixed into eight sensors"
    from pysindy.utils import lorenz
    from scipy.integrate import solve_ivp
    t = np.arange(0, 200, .02)
    z = solve_ivp(lorenz, (0, t[-1]), [-8., 8., 27.], t_eval=t, rtol=1e-8).y.T
    return Foreign(pd.DataFrame(columns(mixing(z, 8), 's')).assign(t=t.round(2)), '--time t',
                   pd.DataFrame(z, columns=['x', 'y', 'z']))


@of('pvlib')
def weather_as_shipped() -> Foreign:
    "The file of a typical year, as the weather service writes it"
    return Foreign(shipped('pvlib') / 'data/703165TY.csv', '')


def year() -> pd.DataFrame:
    "A row for each hour"
    import pvlib
    return pvlib.iotools.read_tmy3(shipped('pvlib') / 'data/703165TY.csv', map_variables=True)[0]


@of('pvlib')
def weather_all_columns() -> Foreign:
    "All 68 columns as the package reads them, flags and constants included"
    return Foreign(year().rename_axis('when').reset_index(), '--time when')


@of('pvlib')
def weather() -> Foreign:
    "What varies of the weather, and the position of the sun as action"
    import pvlib
    table = year().select_dtypes('number').replace(-9900, np.nan)
    table = table[[name for name in table if not re.search('uncert|extra|ource', name) and table[name].nunique() > 20]]
    when = pd.date_range('2001-01-01 00:30', periods=len(table), freq='h', tz='Etc/GMT+9')
    sun = pvlib.solarposition.get_solarposition(when, 55.32, -160.52)
    table = table.reset_index(drop=True).assign(hour=range(len(table)), height=np.sin(np.radians(
        sun.elevation.to_numpy())), east=np.sin(np.radians(sun.azimuth.to_numpy())))
    return Foreign(table, '--actions height east --time hour')


@of('tclab')
def temperature_lab() -> Foreign:
    "Ten minutes of two heaters and two thermometers"
    import random

    from tclab import TCLabModel, labtime
    labtime.stop()
    lab, rng, rows = TCLabModel(synced=False), np.random.default_rng(0), []
    random.seed(0)
    for second in range(600):
        if second % 30 == 0: q = rng.integers(0, 101, 2).tolist()
        lab._Q1, lab._Q2 = q  # setting them by name would ask for the time
        lab.update(second + 1)
        rows.append({'second': second, 'Q1': q[0], 'Q2': q[1], 'T1': lab.T1, 'T2': lab.T2,
                     'H1': lab._H1, 'H2': lab._H2, 't1': lab._T1, 't2': lab._T2})
    table = pd.DataFrame(rows)
    truth = table[['H1', 'H2', 't1', 't2']]
    return Foreign(table.drop(columns=[*truth]), '--actions Q1 Q2 --time second', truth)


@of('cdt')
def sachs() -> Foreign:
    "Eleven proteins in 7,466 cells, all conditions pooled"
    return Foreign(shipped('cdt') / 'data/resources/cyto_full_data.csv', '')


def tanks() -> ModuleType:
    "The equations of pcgym alone, without the packages that its training needs"
    stubs = {name: ModuleType(name) for name in ('jax', 'jax.numpy')}
    stubs['jax'].numpy = stubs['jax.numpy']
    spec = importlib.util.spec_from_file_location('pcgym_models', shipped('pcgym') / 'model_classes.py')
    module = importlib.util.module_from_spec(spec)
    before, sys.modules[spec.name] = {name: sys.modules.get(name) for name in stubs}, module
    sys.modules.update(stubs)
    try: spec.loader.exec_module(module)
    finally:
        for name, old in before.items(): sys.modules.pop(name) if old is None else sys.modules.update({name: old})
    return module


@of('pcgym')
def four_tank() -> Foreign:
    "Four tanks that run into each other, two pumps, ten sensors; a frame every half minute"
    model, rng = tanks().four_tank(), np.random.default_rng(0)
    model.int_method, h, z, v = 'numpy', np.full(4, .5), [], []
    for _ in range(20_000):
        pumps = rng.uniform(0, 10, 2)
        for _ in range(30): h = (h + np.array(model(h, pumps))).clip(1e-3)
        h = (h * np.exp(.02 * rng.normal(size=4))).clip(1e-3)
        z.append(h), v.append(pumps)
    z, v = np.array(z), np.array(v)
    table = pd.DataFrame({'frame': range(len(z)), **columns(v, 'pump'), **columns(mixing(z, 10), 's')})
    return Foreign(table, '--actions pump0 pump1 --time frame', pd.DataFrame(columns(z, 'level')))


def turns() -> pd.DataFrame:
    "A motor: all that its simulator reports, and the switching of its three phases"
    import gym_electric_motor as gem
    world, rng, rows = gem.make('Cont-CC-PMSM-v0'), np.random.default_rng(0), []
    names = world.unwrapped.physical_system.state_names
    run, step, over = -1, 0, True
    for _ in range(20_000):
        if over:
            world.reset(seed=run + 1)
            run, step = run + 1, 0
        action = rng.uniform(-1, 1, world.action_space.shape).astype(np.float32)
        (state, aims), _, ended, cut, _ = world.step(action)
        step, over = step + 1, ended or cut
        rows.append({'run': run, 'step': step, **columns(action, 'duty'), **dict(zip(names, state, strict=True)),
                     **columns(np.ravel(aims), 'aim')})
    return pd.DataFrame(rows)


MOTOR = '--actions duty0 duty1 duty2 --sequence run --time step'


@of('gym-electric-motor')
def motor_all_columns() -> Foreign: return Foreign(turns(), MOTOR)


@of('gym-electric-motor')
def motor() -> Foreign:
    "Without what is constant, and without the set-points"
    table = turns()
    return Foreign(table[[name for name in table if table[name].nunique() > 1 and not name.startswith('aim')]], MOTOR)


def write(name: str, made: Foreign, to: Path) -> Path:
    "The file; what is known of its latents goes beside it"
    if made.truth is not None: made.truth.to_csv(to / f'{name}.truth.csv', index=False)
    if isinstance(made.data, Path):
        path = to / f'{name}{made.data.suffix.lower()}'
        path.write_bytes(made.data.read_bytes())
    elif isinstance(made.data, dict):
        path = to / f'{name}.npz'
        np.savez(path, **made.data)
    else:
        path = to / f'{name}.csv'
        made.data.to_csv(path, index=False)
    return path


def roles(options: str) -> dict:
    "What columns are, by name"
    words, found = shlex.split(options), {}
    for word in words:
        if word.startswith('--'): found[(last := word.removeprefix('--'))] = []
        else: found[last].append(word)
    return {k: v if k == 'actions' else v[0] for k, v in found.items()}


def sizes(made: Foreign) -> dict:
    "How much there is; nothing where the file is not read yet"
    if isinstance(made.data, Path): return {}
    if isinstance(made.data, dict):
        x, a = made.data['x'], made.data.get('a')
        if x.dtype == object: return {'frames': sum(map(len, x)), 'sequences': len(x), 'sensors': x[0].shape[1]}
        known = {'frames': len(x) * x.shape[1], 'sequences': len(x), 'sensors': x.shape[2]}
        return known | {'actions': int(a is not None)}
    given = roles(made.options)
    actions, rest = given.pop('actions', []), len(given)
    sequences = made.data[given['sequence']].nunique() if 'sequence' in given else 1 if given else len(made.data)
    return {'frames': len(made.data), 'sequences': sequences, 'sensors': made.data.shape[1] - len(actions) - rest,
            'actions': len(actions)}


def against_truth(z: np.ndarray, truth: pd.DataFrame) -> dict:
    "How well the latents of all rows that have any know what is known: one to one, and by any linear function"
    z = z.reshape(-1, z.shape[-1])
    rows = ~np.isnan(z).any(1)
    known, z = truth[rows], z[rows]
    each = dict(zip(known, np.sqrt(r_squared(known.to_numpy(), z)).round(4).tolist(), strict=True))
    return {'known': known.shape[1], 'mcc': mcc(known.to_numpy(), z).score, 'r': np.mean([*each.values()]),
            'r_each': as_json(each)}


def as_json(value) -> str: return json.dumps(value, ensure_ascii=False)


def doubts(ica: MechanismSparsityICA, data: Trajectories) -> dict:
    "What the page about a fit warns of, by name; a page that cannot be made is a doubt, too"
    try: facts = gather(ica, data.x, data.a)
    except Exception as error: return {'no page': f'{type(error).__name__}: {error}'}
    return {name: said for name, warn in WARNINGS.items() if (said := warn(facts))}


def answers(folder: Path, path: Path, options: str) -> dict:
    "What is in the folder of a run, and what the page about it warns of"
    result, ica = json.loads((folder / 'result.json').read_text()), MechanismSparsityICA.load(folder / 'model')
    used, truth = long_enough(read_data(path, **roles(options)), 1), path.with_suffix('.truth.csv')
    history = pd.read_csv(folder / 'history.csv').query("stage == 'open'")
    sure = np.concatenate([values.ravel() for values in ica.edge_confidences_.values()])
    found = {k: result[k] for k in ('latents', 'edges', 'commit', 'revision')} | {
        'notes': as_json(used.notes), 'seconds': result['total_seconds'], 'elbo': result['valid_elbo'],
        'elbo_before': history.valid_elbo.max(),  # with all edges open, before the latents are turned
        'cells': sure.size, 'doubtful': int(((sure > .05) & (sure < .95)).sum()),
        'warnings': as_json(doubts(ica, used.data))}
    if not truth.exists(): return found
    return found | against_truth(np.load(folder / 'latents.npz')['z'], pd.read_csv(truth))


def commit() -> str:
    return subprocess.run(['git', 'describe', '--always', '--dirty'], capture_output=True, text=True).stdout.strip()


def run(name: str, made: Foreign, to: Path, how: str, minutes: float) -> dict:
    "One command, and a row about it"
    path = write(name, made, to)
    line = shlex.join(['msr_nb', 'fit', path.name, *shlex.split(f'{made.options} {how}')])
    code = 'import sys; from msr_nb.cli import main; sys.exit(main())'
    start = time.perf_counter()
    argv = [sys.executable, '-c', code, *shlex.split(line)[1:], '--out', f'runs/{name}']
    with open(to / f'{name}.said', 'w') as file:
        try: exit = subprocess.run(argv, cwd=to, stdout=file, stderr=file, timeout=60 * minutes).returncode
        except subprocess.TimeoutExpired: exit = STOPPED
    row = {'name': name, 'package': MADE[name][0], 'version': version(MADE[name][0])}
    row |= dict.fromkeys(('frames', 'sequences', 'sensors', 'actions')) | sizes(made) | {'command': line, 'exit': exit}
    said = [part.strip() for part in re.split(r'[\r\n]', (to / f'{name}.said').read_text()) if part.strip()]
    row['message'] = {0: '', STOPPED: f'not done after {minutes:g} minutes'}.get(exit, said[-1])
    row |= dict.fromkeys(('notes', 'latents', 'edges', 'cells', 'doubtful', 'elbo', 'elbo_before', 'warnings'))
    row |= dict.fromkeys(('known', 'mcc', 'r', 'r_each'))
    row |= {'seconds': round(time.perf_counter() - start, 1), 'revision': REVISION, 'commit': commit()}
    return row if exit else row | answers(to / 'runs' / name, path, made.options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--to', type=Path, required=True, help='folder of the files')
    parser.add_argument('--only', nargs='+', choices=MADE, default=[*MADE])
    parser.add_argument('--run', action='store_true', help='also fit them')
    parser.add_argument('--how', default=FAST, help=f'more options of `msr_nb fit` (default {FAST})')
    parser.add_argument('--minutes', type=float, default=12., help='longest time of a command')
    parser.add_argument('--out', type=Path, help='folder of foreign.csv')
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    table = args.out and args.out / 'foreign.csv'
    done = set(pd.read_csv(table).name) if table and table.exists() else set()
    for name in args.only:
        if name in done: continue
        made = MADE[name][1]()
        print(write(name, made, args.to), made.options, flush=True)
        if not args.run: continue
        row = run(name, made, args.to, args.how, args.minutes)
        print(row, flush=True)
        if not table: continue
        pd.DataFrame([row]).to_csv(table, mode='a', header=not table.exists(), index=False, float_format='%.5g')


if __name__ == '__main__': main()
