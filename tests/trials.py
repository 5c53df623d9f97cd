"""Which networks fit which mixing, and what does a short training know of it? One row a mixing, seed and activation

    python tests/trials.py --out nbs/results           # trains with all edges open, and appends to trials.csv there
    python tests/trials.py --out nbs/results --whole   # fits with nothing known, and appends to mixings.csv

`elbo_800` and `elbo_end` are of held-out examples on the way and at the end of a training, as are `r_800` and `r_end`.
`elbo_trial` is the best of another one that ends after 800 steps, its step size at nothing. `seconds` is the time of
both. Rows that a table has already are not made again. The light tunnel needs `pip install msr_nb[sims]`.
"""
import argparse
import subprocess
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from foreign import driven_tunnel
from scipy.stats import pearsonr
from sklearn.neural_network import MLPRegressor

from msr_nb import MechanismSparsityICA
from msr_nb.datasets import Trajectories, generate
from msr_nb.estimator import build
from msr_nb.metrics import evaluate, r_score
from msr_nb.mixing import SMOOTH
from msr_nb.recipe import REVISION, Recipe, open_all
from msr_nb.recordings import mean_and_scale, standardise, unit_scale
from msr_nb.sparsity import Sparsity
from msr_nb.training import TrainConfig, Trainer, encode, mean_elbo
from msr_nb.vae import MechanismVAE, ModelConfig

EXAMPLES, HELD_OUT, TESTED = 100_000, 5_000, 4_000
SHORT = Recipe().counting  # steps of a trial
MIXINGS = ('network', *SMOOTH, 'tunnel')


def some(data: Trajectories, rows: slice) -> Trajectories:
    "Some of the sequences"
    return data._replace(x=data.x[rows], z=data.z[rows], a=data.a[rows])


def data_of(mixing: str, seed: int, held_out: int) -> tuple[Trajectories, Trajectories]:
    "What is learned from, and others"
    if mixing == 'tunnel':
        data = driven_tunnel(seed=seed)
        return some(data, slice(0, -held_out)), some(data, slice(-held_out, None))
    splits = generate('ActionNonDiag', EXAMPLES, seed, mixing=mixing)
    return splits.train, some(splits.test, slice(0, held_out))


def scaled(train: Trajectories, others: Trajectories) -> list[tuple[torch.Tensor, torch.Tensor]]:
    "x and a of both without units, as the estimator scales them"
    (mean, scale), unit = mean_and_scale(train.x), unit_scale(train.a)
    return [(torch.from_numpy(standardise(part.x, mean, scale)), torch.from_numpy((part.a / unit).astype(np.float32)))
            for part in (train, others)]


def open_model(data: tuple, d_z: int, activation: str, seed: int) -> MechanismVAE:
    "New, with all edges open"
    model = build(ModelConfig(data[0].shape[-1], d_z, data[1].shape[-1], 0, activation=activation), seed, 'cpu')
    open_all(model)
    return model


def trial(mixing: str, seed: int, activation: str, steps: int) -> dict:
    "A short training, a long one, and a row about them"
    train, others = data_of(mixing, seed, HELD_OUT)
    (data, held_out), seen = scaled(train, others), {}
    def trainer(held_out=None, **config):
        model = open_model(data, train.z.shape[-1], activation, seed)
        return Trainer(model, *data, Sparsity(), TrainConfig(seed=seed, **config), held_out)
    def look(trainer, row):
        z_hat = encode(trainer.model, held_out[0]).numpy()
        seen[row['step']] = mean_elbo(trainer.model, *held_out), r_score(others.z, z_hat)
    asked, start = trainer(held_out, steps=min(SHORT, steps)), time.perf_counter()
    asked.run(show=False)
    trainer(steps=steps, log_every=SHORT).run(callbacks=[look], show=False)
    (elbo, r), (elbo_end, r_end) = seen.get(SHORT, (None, None)), seen[steps]
    return {'mixing': mixing, 'seed': seed, 'activation': activation, 'steps': steps,
            'elbo_trial': asked.best['elbo'], f'elbo_{SHORT}': elbo, f'r_{SHORT}': r, 'elbo_end': elbo_end,
            'r_end': r_end, 'seconds': round(time.perf_counter() - start, 1)}


def ceiling(train: Trajectories, test: Trajectories) -> float:
    "Mean correlation of the latents with what a network makes of the observations that was shown the latents"
    center, spread = train.z[:, 0].mean(0), train.z[:, 0].std(0)
    network = MLPRegressor(hidden_layer_sizes=(128,) * 3, early_stopping=True, random_state=0)
    found = network.fit(train.x[:, 0], (train.z[:, 0] - center) / spread).predict(test.x[:, 0])
    return float(np.mean([pearsonr(*pair).statistic for pair in zip(test.z[:, 0].T, found.T, strict=True)]))


def whole(mixing: str, seed: int, steps: int) -> dict:
    "A fit with nothing known, and a row about it"
    train, test = data_of(mixing, seed, TESTED)
    start = time.perf_counter()
    ica = MechanismSparsityICA(steps=steps, seed=seed, progress=False).fit(train.x, train.a)
    seconds, z_hat = round(time.perf_counter() - start, 1), ica.transform(test.x)
    row = {'mixing': mixing, 'seed': seed, 'steps': steps, 'latents': test.z.shape[-1], 'edges': int(test.Ga.sum()),
           'latents_found': ica.n_latents_, 'activation': ica.model_.config.activation, 'mcc': None,
           'r': r_score(test.z, z_hat), 'shd': None}
    if ica.n_latents_ == row['latents']:
        found = evaluate(test.z, z_hat, Ga=test.Ga, Ga_hat=ica.Ga_)
        row |= {'mcc': found.mcc, 'shd': found.shd}
    return row | {'floor': r_score(test.z, test.x), 'ceiling': ceiling(train, test), 'seconds': seconds}


def add(path: Path, key: dict, make: Callable[[], dict], made: dict):
    "A row to a table that may not exist yet; none if it has one with this key"
    kept = pd.read_csv(path) if path.exists() else None
    if kept is not None and (kept[[*key]] == pd.Series(key)).all(axis=1).any(): return
    row = make() | made
    print(row, flush=True)
    pd.DataFrame([row]).to_csv(path, mode='a', header=kept is None, index=False, float_format='%.5g')


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mixings', nargs='+', choices=MIXINGS, default=MIXINGS)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--networks', nargs='+', help='activations; those that the recipe tries if not given')
    parser.add_argument('--steps', type=int, help='3,000 if not given, and 10,000 with --whole')
    parser.add_argument('--whole', action='store_true', help='fit with nothing known')
    parser.add_argument('--out', type=Path, required=True, help='folder of the tables')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    commit = subprocess.run(['git', 'describe', '--always', '--dirty'], capture_output=True, text=True).stdout.strip()
    args.out.mkdir(parents=True, exist_ok=True)
    steps = args.steps or (10_000 if args.whole else 3_000)
    networks = [None] if args.whole else args.networks or Recipe().networks
    for mixing, seed, network in product(args.mixings, args.seeds, networks):
        key, row = {'mixing': mixing, 'seed': seed}, {'revision': REVISION, 'commit': commit}
        row['command'] = f'python tests/trials.py --mixings {mixing} --seeds {seed} --steps {steps} '
        if args.whole: row['command'] += '--whole'
        else: key['activation'], row['command'] = network, f"{row['command']}--networks {network}"
        make = partial(whole, mixing, seed, steps) if args.whole else partial(trial, mixing, seed, network, steps)
        add(args.out / ('mixings.csv' if args.whole else 'trials.csv'), key, make, row)


if __name__ == '__main__': main()
