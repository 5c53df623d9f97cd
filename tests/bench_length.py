"""Seconds a frame and memory of a fit, for recordings of different lengths side by side

    python tests/bench_length.py --frames 200000 --lengths 2 20 200 2000 200000 --steps 150

Each length is fitted in a process of its own, several times in turn; every frame of a batch counts.
"""
import argparse
import multiprocessing
import time

import numpy as np
import pandas as pd
import torch

from msr_nb import MechanismSparsityICA
from msr_nb.recipe import Recipe
from msr_nb.runs import peak_megabytes


def measure(T: int, frames: int, steps: int, pipe):
    "Fit sequences of T frames"
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(frames // T, T, 12)), rng.normal(size=(frames // T, T, 3))
    before, ica = peak_megabytes(), MechanismSparsityICA(6, price=0., steps=steps, progress=False)
    start = time.perf_counter()
    ica.fit(x, a)
    whole, row = time.perf_counter() - start, ica.history_[ica.history_.stage == 'open'].iloc[-1]
    width = min(T, Recipe().window)
    pipe.send({'T': T, 'seconds': whole, 'ms a step': 1e3 * row.seconds / row.step,
               'µs a frame': 1e6 * row.seconds / row.step / 512 / width, 'MB more': peak_megabytes() - before})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--frames', type=int, default=200_000)
    parser.add_argument('--lengths', type=int, nargs='+', default=[2, 20, 200, 2_000, 200_000])
    parser.add_argument('--steps', type=int, default=150)
    parser.add_argument('--repeats', type=int, default=3)
    args, rows, context = parser.parse_args(), [], multiprocessing.get_context('spawn')
    for _ in range(args.repeats):
        for T in args.lengths:
            ours, theirs = context.Pipe()
            process = context.Process(target=measure, args=(T, args.frames, args.steps, theirs))
            process.start()
            rows.append(ours.recv())
            process.join()
    print(pd.DataFrame(rows).groupby('T').median().round(2).to_string())


if __name__ == '__main__': main()
