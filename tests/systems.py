"""Fit random systems with nothing known, and write what came out: one row a system, and one a cell

    python tests/systems.py --seeds 0 12 --out nbs/results

appends to systems.csv and cells.csv there; seeds that the table has already are not fitted again. Processes that run
at once need folders of their own.
"""
import argparse
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from msr_nb import MechanismSparsityICA
from msr_nb.metrics import align_graph, evaluate, mcc
from msr_nb.recipe import REVISION
from msr_nb.systems import KINDS, draw_system

FRAMES = 50_000
SCORES = ('mcc', 'r', 'shd', 'false_negatives', 'false_positives')


def fit(seed: int, steps: int) -> tuple[dict, list[dict]]:
    "A row for the system, and rows for its cells"
    system = draw_system(seed)
    train, test = system.sample(FRAMES // system.frames, seed=1), system.sample(4_000, seed=2)
    start = time.perf_counter()
    ica = MechanismSparsityICA(steps=steps, progress=False).fit(train.x, train.a)
    seconds, z_hat = time.perf_counter() - start, ica.transform(test.x)
    row = {'seed': seed, 'kind': KINDS[seed % len(KINDS)], 'latents': system.d_z,
           'actions': 0 if train.a is None else train.a.shape[-1], 'frames': system.frames, 'noise': system.noise,
           'edges': len(system.edges), 'steps': steps, 'latents_found': ica.n_latents_, 'seconds': round(seconds, 1),
           **dict.fromkeys(SCORES)}
    if ica.n_latents_ != system.d_z: return row, []
    found = evaluate(test.z, z_hat, Gz=test.Gz, Gz_hat=ica.Gz_, Ga=test.Ga, Ga_hat=ica.Ga_)
    row |= {k: getattr(found, k) for k in SCORES}
    order, cells = mcc(test.z, z_hat).assignment, []
    for name, G in system.graphs.items():
        share, sure = (align_graph(part[name], order, name) for part in (ica.edge_shares_, ica.edge_confidences_))
        cells += [{'seed': seed, 'graph': name, 'child': i, 'parent': j, 'edge': G[i, j],
                   'share': share[i, j].round(5), 'confidence': sure[i, j].round(4)} for i, j in np.ndindex(G.shape)]
    return row, cells


def commit_now() -> str:
    "Which code this is"
    return subprocess.run(['git', 'describe', '--always', '--dirty'], capture_output=True, text=True).stdout.strip()


def append(path: Path, rows: list[dict]):
    "To a table that may not exist yet"
    if not rows: return  # no header without a name in it
    pd.DataFrame(rows).to_csv(path, mode='a', header=not path.exists(), index=False, float_format='%.5g')


def parser_of(description: str) -> argparse.ArgumentParser:
    "Which systems, and where to"
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs=2, required=True, metavar=('FIRST', 'END'))
    parser.add_argument('--every', type=int, default=1, help='only each so many-th of them, for several at once')
    parser.add_argument('--out', type=Path, required=True)
    return parser


def main():
    parser = parser_of(__doc__)
    parser.add_argument('--steps', type=int, default=10_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    commit = commit_now()
    args.out.mkdir(parents=True, exist_ok=True)
    table, cells_table = args.out / 'systems.csv', args.out / 'cells.csv'
    done = set(pd.read_csv(table).seed) if table.exists() else set()
    if cells_table.exists():  # a kill between the two tables left cells of a system that will be fitted again
        pd.read_csv(cells_table).query('seed in @done').to_csv(cells_table, index=False)
    for seed in range(*args.seeds, args.every):
        if seed in done: continue
        row, cells = fit(seed, args.steps)
        append(cells_table, cells)
        made = {'revision': REVISION, 'commit': commit, 'command': f'python tests/systems.py --seeds {seed} {seed + 1}'}
        append(table, [row | made])
        print(row, flush=True)


if __name__ == '__main__': main()
