"""Ask whether confidences can be believed where examples are few: on random systems whose latents are known but for a
rotation and some noise, so that a system takes seconds and hundreds can be asked

    python tests/calibrate.py --seeds 100 316 --out nbs/results

appends to measured.csv there, a row a system and bin of confidence; seeds that the table has already are left out.
Processes that run at once need folders of their own.
"""
import numpy as np
import pandas as pd
import torch
from scipy.stats import special_ortho_group
from systems import append, commit_now, parser_of

from msr_nb.alignment import find_map
from msr_nb.edges import confidences
from msr_nb.metrics import align_graph, mcc
from msr_nb.recipe import REVISION, Recipe
from msr_nb.search import covariance, whitening
from msr_nb.systems import KINDS, draw_system
from msr_nb.training import TrainConfig

EXAMPLES = (1_000, 3_000, 10_000, 30_000)  # by turns
BLUR = .1  # standard deviation of what is added to latents of unit variance: R is .995 then
BINS = (0, .02, .1, .3, .5, .7, .9, .98, 1)


def measure(seed: int) -> list[dict]:
    "Rows for a system: how many cells got which confidence, and how many of these are edges"
    system, rng = draw_system(seed), np.random.default_rng([2, seed])
    frames = EXAMPLES[seed // len(KINDS) % len(EXAMPLES)]  # each kind with each
    data = system.sample(frames // system.frames, seed=1)
    z = data.z.reshape(-1, system.d_z)
    known = (z - z.mean(0)) / z.std(0) + BLUR * rng.standard_normal(z.shape)
    mixed = torch.from_numpy(known @ special_ortho_group.rvs(system.d_z, random_state=rng)).float()
    white = (mixed @ whitening(covariance(mixed)).T.float()).view(data.z.shape)
    recipe, lags = Recipe(), int('Gz' in system.graphs)
    stages = recipe.past if lags else recipe.actions
    config = [stage for stage in stages if stage.name == 'align'][-1].config(TrainConfig(steps=10_000))
    a = None if data.a is None else torch.from_numpy(data.a)
    with torch.no_grad(): found = find_map(white, a, lags, config, recipe.alignment, show=False)
    score = mcc(data.z, (white @ found.W.T.float()).numpy())
    sure, edge = [], []
    for name, G in system.graphs.items():
        confidence = confidences(found.cells[name].share, name == 'Gz').numpy()
        sure.append(align_graph(confidence, score.assignment, name).ravel())
        edge.append(G.ravel())
    cells = pd.DataFrame({'sure': np.concatenate(sure), 'edge': np.concatenate(edge)})
    groups = cells.groupby(pd.cut(cells.sure, BINS, include_lowest=True, labels=False), observed=True)
    return [{'seed': seed, 'kind': KINDS[seed % len(KINDS)], 'examples': frames, 'mcc': score.score,
             'low': BINS[k], 'high': BINS[k + 1], 'cells': len(part), 'confidence': part.sure.mean(),
             'edges': part.edge.sum()} for k, part in groups]


def main():
    args = parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    path = args.out / 'measured.csv'
    done = set(pd.read_csv(path).seed) if path.exists() else set()
    commit = commit_now()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(*args.seeds, args.every):
        if seed in done: continue
        command = f'python tests/calibrate.py --seeds {seed} {seed + 1}'
        rows = [row | {'revision': REVISION, 'commit': commit, 'command': command} for row in measure(seed)]
        append(path, rows)
        print(f"{seed} {rows[0]['kind']} {rows[0]['examples']:,}: MCC {rows[0]['mcc']:.4f}", flush=True)


if __name__ == '__main__': main()
