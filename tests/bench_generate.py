"""Seconds and peak memory of a million TimeNonDiag sequences: a plain one-shot NumPy version, then msr_nb.

    python tests/bench_generate.py [--n 1000000] [--name TimeNonDiag] [--rounds 3]

Each runs in a process of its own, in turn. Time is that of generating, for msr_nb with its import; memory
is that of the whole process.
On a busy machine compare CPU seconds.
"""
import argparse
import resource
import subprocess
import sys
import time

import numpy as np


def one_shot_split(n, seed, d_z=10, d_x=20):
    "One split of TimeNonDiag in the authors' stream, every step on all rows at once"
    instance, sample = np.random.default_rng(265542), np.random.default_rng(seed)
    weights = [np.linalg.qr(instance.normal(size=(i, d_x)).T)[0].T * np.sqrt(2 / 1.04 * 2 / (i + d_x))
               for i in (d_z, d_x, d_x, d_x)]
    G, first = np.tril(np.ones((d_z, d_z))), sample.normal(0, 1, (n, d_z))
    pushes = [(G[i] * np.sin((i + 3) / np.pi * first + i)).sum(1) for i in range(d_z)]
    second = sample.normal(first + .5 * np.stack(pushes, 1), 1e-2)
    z = np.stack([first, second], 1).astype(np.float32)
    h = z.reshape(-1, d_z) @ weights[0].astype(np.float32)
    for w in weights[1:]:
        h = np.where(h > 0, h, np.float32(.2) * h) @ w.astype(np.float32)
    x = (h - h.mean(0, dtype=np.float64)) / h.std(0, dtype=np.float64)
    x = (x + 1e-2 * sample.normal(0, 1, x.shape)).astype(np.float32)
    return x.reshape(n, 2, d_x), z


def one_shot(n, name):
    "The three splits; knows TimeNonDiag only"
    return [one_shot_split(round(n * share), seed) for seed, share in enumerate((.8, .1, .1), 1)]


def ours(n, name, protocol):
    "msr_nb's version; imported here so that its import counts as its own"
    from msr_nb.datasets import generate
    return [(part.x, part.z) for part in generate(name, n, protocol=protocol)]


RUNS = {'one-shot NumPy': one_shot,
        'msr_nb, authors': lambda n, name: ours(n, name, 'authors'),
        'msr_nb, independent': lambda n, name: ours(n, name, 'independent')}


def child(run, n, name):
    "Generate once; print wall and CPU seconds, peak MB and a number that identifies the data"
    start, cpu = time.perf_counter(), time.process_time()
    data = RUNS[run](n, name)
    seconds = f'{time.perf_counter() - start} {time.process_time() - cpu}'
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mark = float(np.mean([x[-1].mean() for x, z in data]))
    print(seconds, megabytes, mark)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=1_000_000, help='sequences in all three splits')
    parser.add_argument('--name', default='TimeNonDiag', help="data set; the one-shot version knows TimeNonDiag only")
    parser.add_argument('--rounds', type=int, default=3, help='times each version runs')
    parser.add_argument('--child', choices=RUNS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child, args.n, args.name)
    print(f'{args.name}, n={args.n:,}')
    print(f"{'version':20s} {'seconds':>8s} {'CPU s':>8s} {'peak MB':>8s}  mean of the last rows")
    for _ in range(args.rounds):
        for run in RUNS if args.name == 'TimeNonDiag' else list(RUNS)[1:]:
            command = [sys.executable, __file__, '--child', run, '--n', str(args.n), '--name', args.name]
            seconds, cpu, megabytes, mark = map(float, subprocess.check_output(command, text=True).split())
            print(f'{run:20s} {seconds:8.2f} {cpu:8.2f} {megabytes:8.0f}  {mark:.6f}')


if __name__ == '__main__':
    main()
