"""A training step of msr_nb and of a plain version, in turn, beside the machine's rate of matrix products.

    python tests/bench_step.py [--size authors] [--name ActionNonDiag] [--optimizer adam] [--threads 2] [--rounds 3]
    python tests/bench_step.py --device cuda --repeats 100

`--size authors` takes the papers' networks (six layers of 512 units, ten mechanisms of five, batches of 1024),
`--size default` ours. The plain version is a proxy written from a description of how such code usually looks:
einsum over (batch, latent, in), one mask an example, a DataLoader that collates examples one by one, a dozen
`.item()` a step, Adam one tensor at a time. Its networks have the same sizes, its objective the same terms.
A step's GFLOP are those of its matrix products, forward and backward, as torch counts them; the optimiser's
own do not count. On a GPU `msr_nb` replays a recorded step, as a run does, and the same step without that stands
beside it. The rate beside it is that of float32 products of 1024x512 by 512x512, measured in each round:
its mean, and its best. At the authors' size a step frees and asks for half a gigabyte; glibc gives that back to the
system and pays for it in page faults, unless the environment has MALLOC_TRIM_THRESHOLD_=8000000000
MALLOC_MMAP_THRESHOLD_=4000000000 (3 % of a step; nothing at our size).
"""
import argparse
import statistics
import time
from itertools import chain, pairwise, repeat

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from msr_nb.datasets import generate
from msr_nb.sparsity import Sparsity
from msr_nb.training import ORDINARY, TrainConfig, Trainer, captured
from msr_nb.vae import MechanismVAE, ModelConfig

SIZES = {'authors': ({'width': 512, 'depth': 6, 'mechanism_width': 512, 'mechanism_depth': 5,
                      'mechanism_activation': 'leaky_relu'}, 1024),
         'default': ({}, 512)}


class Plain(nn.Module):
    "The same networks, written the usual way"
    def __init__(self, c):
        super().__init__()
        def net(d_in, d_out):
            widths = [d_in] + [c.width] * c.depth
            layers = [m for i, o in pairwise(widths) for m in (nn.Linear(i, o), nn.LeakyReLU(.2))]
            return nn.Sequential(*layers, nn.Linear(c.width, d_out))
        self.c, self.d_in = c, c.lags * c.d_z + c.d_a
        self.encoder, self.decoder = net(c.d_x, 2 * c.d_z), net(c.d_z, c.d_x)
        widths = [self.d_in] + [c.mechanism_width] * c.mechanism_depth + [1]
        self.weights = nn.ParameterList(torch.randn(c.d_z, o, i) / i**.5 for i, o in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(c.d_z, o) for o in widths[1:])
        self.gamma = nn.Parameter(torch.full((c.d_z, self.d_in), 5.))
        self.log_var_x, self.log_var_z = nn.Parameter(torch.zeros(())), nn.Parameter(torch.full((c.d_z,), -4.6))

    def mechanisms(self, u):
        noise = torch.rand(len(u), *self.gamma.shape, device=u.device)
        m = torch.sigmoid(self.gamma + noise.log() - (-noise).log1p())
        h = m * u.unsqueeze(1)
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.einsum('bki,koi->bko', h, w) + b
            if i < len(self.weights) - 1: h = nn.functional.leaky_relu(h, .2)
        return h.squeeze(-1)

    def losses(self, x, a):
        c = self.c
        mean, log_var = self.encoder(x).chunk(2, -1)
        z = mean + torch.exp(.5 * log_var) * torch.randn_like(mean)
        rec = .5 * (self.log_var_x + (x - self.decoder(z)).square() / self.log_var_x.exp()).mean()
        prior = self.mechanisms(z[:, 0] if c.lags else a[:, 0])
        q, var = log_var[:, -1].exp() + (mean[:, -1] - prior).square(), self.log_var_z
        kl = .5 * (var - log_var[:, -1] + q / var.exp() - 1).sum(-1).mean()
        if c.lags: kl = .5 * (kl + .5 * (log_var[:, 0].exp() + mean[:, 0].square() - 1 - log_var[:, 0]).sum(-1).mean())
        return rec, kl / c.d_x, torch.sigmoid(self.gamma).sum()


class PlainLoop:
    "Steps with a DataLoader, per-tensor Adam and numbers read back for the log"
    def __init__(self, c, x, a, batch):
        self.model, self.device = Plain(c).to(x.device), x.device
        self.adam = torch.optim.Adam(self.model.parameters(), lr=5e-4, foreach=False)
        data = TensorDataset(x.cpu(), (x if a is None else a).cpu())
        self.batches = chain.from_iterable(DataLoader(data, batch, shuffle=True) for _ in repeat(None))

    def step(self):
        x, a = (part.to(self.device) for part in next(self.batches))
        rec, kl, edges = self.model.losses(x, a)
        loss = rec + kl + 1e-3 * edges
        self.adam.zero_grad()
        loss.backward()
        norms = [self.model.encoder[0].weight.grad.norm(), self.model.decoder[0].weight.grad.norm()]
        self.adam.step()
        return [v.item() for v in (loss, rec, kl, edges, rec + kl, self.model.log_var_x, self.model.log_var_z.mean(),
                                   self.model.log_var_z.min(), self.model.log_var_z.max(), self.model.gamma.min(),
                                   *norms)]


def seconds(work, repeats, device):
    "Seconds of one call, by the mean of several"
    finish = torch.cuda.synchronize if device == 'cuda' else lambda: None
    finish()
    start = time.perf_counter()
    for _ in range(repeats): work()
    finish()
    return (time.perf_counter() - start) / repeats


def product_rates(device):
    "GFLOP/s of a float32 product of (1024, 512) by (512, 512): the mean of 200, and the best 20 in a row of them"
    left, right, out = (torch.randn(*shape, device=device) for shape in ((1024, 512), (512, 512), (1024, 512)))
    times = [seconds(lambda: torch.mm(left, right, out=out), 20, device) for _ in range(10)]
    return [2 * 1024 * 512**2 / 1e9 / s for s in (sum(times) / len(times), min(times))]


def gflop(trainer, batch):
    "Of the matrix products of one step of the model, forward and backward"
    x, a = trainer.x[:batch], None if trainer.a is None else trainer.a[:batch]
    with FlopCounterMode(display=False) as counter: trainer.model.elbo(x, a).elbo.backward()
    trainer.model.zero_grad()
    return counter.get_total_flops() / 1e9


def shares(step, repeats):
    "Print where the time of a step goes"
    with profile(activities=[ProfilerActivity.CPU]) as p:
        for _ in range(repeats): step()
    events = p.key_averages()
    total = sum(e.self_cpu_time_total for e in events)
    optimizer = sum(e.cpu_time_total for e in events if e.key.startswith('Optimizer.step'))
    inside = ('aten::mm', 'aten::addmm', 'aten::bmm', 'aten::baddbmm')
    products = sum(e.self_cpu_time_total for e in events if e.key in inside)
    print(f'of the profiled time: matrix products {products / total:.0%} (the optimiser\'s own among them), '
          f'the optimiser as a whole {optimizer / total:.0%}')
    for e in sorted(events, key=lambda e: -e.self_cpu_time_total)[:12]:
        print(f'  {e.key:40s} {e.self_cpu_time_total / total:6.1%} {e.count / repeats:6.1f} calls a step')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', choices=SIZES, default='authors')
    parser.add_argument('--name', default='ActionNonDiag', help='data set')
    parser.add_argument('--optimizer', default='adam', help="of msr_nb's step: adam or soap")
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--repeats', type=int, default=5, help='steps a round')
    parser.add_argument('--shares', action='store_true', help='also say where the time goes')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    options, batch = SIZES[args.size]
    data = generate(args.name, n=50_000, protocol='authors').train
    x, a = (None if part is None else torch.from_numpy(part).to(args.device) for part in (data.x, data.a))
    config = ModelConfig(20, 10, 0 if a is None else a.shape[-1], x.shape[1] - 1, **options)
    training = TrainConfig(steps=10**6, batch_size=batch, optimizer=args.optimizer)
    def make_trainer():
        model = MechanismVAE(config).to(args.device)
        return Trainer(model, x, a, Sparsity(price=dict.fromkeys(model.prior.graphs(), 1e-3)), training)
    def ours(trainer, step):
        def one():
            trainer.set_progress(.5)
            step()
            trainer.steps_done += 1
        return one
    trainer, ordinary = make_trainer(), make_trainer()
    plain, work = PlainLoop(config, x, a, batch), gflop(trainer, batch)
    versions = {'msr_nb': ours(trainer, captured(trainer.step, trainer.generator))}
    if args.device == 'cuda': versions['not recorded'] = ours(ordinary, ordinary.step)
    versions['plain (proxy)'] = plain.step
    where = torch.cuda.get_device_name() if args.device == 'cuda' else f'{args.threads} threads'
    print(f'{args.name}, {args.size} size, {work:.1f} GFLOP a step, {args.optimizer}, {where}')
    print(f"{'version':14s} {'ms a step':>10s} {'GFLOP/s':>8s} {'of the product':>15s} {'of its best':>12s}")
    for step in versions.values():
        for _ in range(ORDINARY + 1): step()
    fractions = {name: [] for name in versions}
    for _ in range(args.rounds):
        mean, best = product_rates(args.device)
        print(f"{'product':14s} {'':10s} {mean:8.0f} {'':15s} {mean / best:12.0%}")
        for name, step in versions.items():
            s = seconds(step, args.repeats, args.device)
            print(f'{name:14s} {1e3 * s:10.1f} {work / s:8.0f}'
                  f'{work / s / mean:15.0%} {work / s / best:12.0%}', flush=True)
            fractions[name].append((work / s / mean, work / s / best))
    for name, values in fractions.items():
        mean, best = map(statistics.median, zip(*values, strict=True))
        print(f'{name:14s} {"median":>10s} {"":8s} {mean:15.0%} {best:12.0%}')
    if args.shares: shares(versions['msr_nb'], args.repeats)


if __name__ == '__main__':
    main()
