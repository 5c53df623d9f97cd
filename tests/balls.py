"""Fit balls that a camera sees with nothing known, beside floors and a ceiling, and write what came out

    python tests/balls.py --seeds 0 3 --out nbs/results
    python tests/balls.py --seeds 0 1 --methods ours --keep runs --out nbs/results

appends rows to balls.csv there; those that the table has already are not made again. Each seed draws other data, and
begins with other networks. `--keep` saves the estimators of `ours`. Times are those of one thread.
"""
import argparse
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from msr_nb import MechanismSparsityICA
from msr_nb.balls import balls
from msr_nb.baselines import fast_ica
from msr_nb.frames import Frames, channel_units, frame_encoder
from msr_nb.metrics import evaluate
from msr_nb.recipe import REVISION
from msr_nb.training import TrainConfig, minimise, seeded

TRAIN, TEST = 20_000, 2_000  # sequences of two frames
SCORES = ('mcc', 'r', 'shd', 'false_negatives', 'false_positives')


def ours(train, seed, steps, keep=None):
    "Nothing known, neither how many latents nor how many edges"
    options = {'batch_size': 256, 'checkpoint_every': 10**6}
    e = MechanismSparsityICA(steps=steps, seed=seed, train_options=options, progress=False).fit(train.x, train.a)
    if keep: e.save(keep)
    return e.transform, e.Gz_, e.Ga_


def components(train, seed, steps):
    "The same method on principal components, with linear encoder and decoder"
    pca = PCA(train.z.shape[-1], random_state=seed).fit(rows(train.x[:5_000]))
    def few(x): return pca.transform(rows(x)).reshape(*x.shape[:2], -1)
    e = MechanismSparsityICA(train.z.shape[-1], seed=seed, steps=steps, model_options={'depth': 0}, progress=False)
    e.fit(few(train.x), train.a)
    return (lambda x: e.transform(few(x))), e.Gz_, e.Ga_


def fastica(train, seed, steps):
    "Independent components of the pixels"
    ica = fast_ica(train.z.shape[-1], seed).fit(rows(train.x[:5_000]))
    return (lambda x: ica.transform(rows(x)).reshape(*x.shape[:2], -1)), None, None


def supervised(train, seed, steps):
    "The same encoder, told the true latents"
    shape, flat = train.x.shape[2:], train.x.reshape(-1, int(np.prod(train.x.shape[2:])))
    units = [torch.from_numpy(v) for v in channel_units(flat, shape[0])]
    def frames(x): return Frames(x.reshape(-1, flat.shape[1]), torch.arange(x.shape[0] * x.shape[1]), *units)
    x, z = frames(train.x), torch.from_numpy(train.z).flatten(0, 1)
    with seeded(seed): net = frame_encoder(shape, z.shape[1])
    config = TrainConfig(steps=steps, batch_size=512, seed=seed)
    minimise(net.parameters(), lambda i, g: (net(x[i]) - z[i]).square().mean(), len(x), config, torch.device('cpu'))
    @torch.no_grad()
    def transform(x): return torch.cat([net(part) for part in frames(x).split(1_000)]).view(*x.shape[:2], -1).numpy()
    return transform, None, None


METHODS = {'ours': ours, 'components': components, 'fastica': fastica, 'supervised': supervised}
FIXED = {'components': 2_000, 'fastica': 0}  # steps that `--steps` does not change: small networks, or none


def rows(x): return x.reshape(-1, int(np.prod(x.shape[2:]))) / np.float32(255)


def fit(method: str, seed: int, n_balls: int, size: int, steps: int, keep: Path | None) -> dict:
    "A row of the table"
    train = balls(TRAIN, seed=2 * seed, n_balls=n_balls, size=size)
    test = balls(TEST, seed=2 * seed + 1, n_balls=n_balls, size=size)
    start, cpu = time.perf_counter(), time.process_time()
    kept = {'keep': keep / f'balls-{n_balls}-{size}-{seed}'} if keep and method == 'ours' else {}
    transform, Gz, Ga = METHODS[method](train, seed, steps, **kept)
    seconds, cpu, z_hat = time.perf_counter() - start, time.process_time() - cpu, transform(test.x)
    row = {'method': method, 'n_balls': n_balls, 'size': size, 'seed': seed, 'n': TRAIN, 'steps': steps,
           'latents_found': z_hat.shape[-1], 'seconds': round(seconds, 1), 'cpu_seconds': round(cpu, 1),
           **dict.fromkeys(SCORES)}
    if z_hat.shape[-1] != test.z.shape[-1]: return row
    graphs = {} if Gz is None else {'Gz': test.Gz, 'Gz_hat': Gz, 'Ga': test.Ga, 'Ga_hat': Ga}
    found = evaluate(test.z, z_hat, **graphs)
    return row | {k: getattr(found, k) for k in SCORES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs=2, required=True, metavar=('FIRST', 'END'))
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))
    parser.add_argument('--n_balls', type=int, default=2)
    parser.add_argument('--size', type=int, default=32)
    parser.add_argument('--steps', type=int, default=4_000)
    parser.add_argument('--keep', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(['git', 'describe', '--always', '--dirty'], capture_output=True, text=True).stdout.strip()
    args.out.mkdir(parents=True, exist_ok=True)
    table, key = args.out / 'balls.csv', ['method', 'n_balls', 'size', 'seed', 'steps']
    for seed in range(*args.seeds):
        for method in args.methods:
            steps = FIXED.get(method, args.steps)
            this = method, args.n_balls, args.size, seed, steps
            if table.exists() and this in set(pd.read_csv(table)[key].itertuples(index=False, name=None)): continue
            row = fit(method, seed, args.n_balls, args.size, steps, args.keep)
            command = (f'python tests/balls.py --seeds {seed} {seed + 1} --methods {method} --n_balls {args.n_balls} '
                       f'--size {args.size} --steps {steps}')
            made = {'revision': REVISION, 'commit': commit, 'command': command}
            pd.DataFrame([row | made]).to_csv(table, mode='a', header=not table.exists(), index=False,
                                              float_format='%.5g')
            print(row, flush=True)


if __name__ == '__main__': main()
