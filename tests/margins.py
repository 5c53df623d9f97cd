"""How far the assertions of a notebook are from failing: python tests/margins.py nbs/43_soap.ipynb --seeds 5

Every `assert`, `test_close` and `test_eq` outside exported cells is rewritten to note what it compares, and does not
fail. The notebook runs with several seeds, and with its own under several instruction sets, a process for each run:

- seeds: a number is added to every seed that `torch.manual_seed` or a generator of torch is given, and with `--numpy`
  to those of `numpy.random.default_rng` as well (other data, not only other fits);
- instruction sets: environment variables tell PyTorch, oneDNN, MKL, OpenBLAS and NumPy what to leave unused. `native`
  leaves them alone. Sets that the machine lacks are left out. `default` also changes what `torch.randn` draws.

The table has a row for each comparison. `slack` is how far it was from failing: its mean and its worst. For `a > b`
it is a - b, or log(a / b) if both vary and are positive; of an array or a loop the least favourable element counts.
`seeds` and `sets` are the ranges of slack over each. `margin` is the mean slack in standard deviations over all runs,
and should be several. `left` and `right` are means. `fails` counts runs that would fail. What came out the same in
every run has no margin and is only counted, unless it fails. What the machine's clock decides varies too: read those
rows apart.
"""
import argparse
import ast
import json
import operator
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from fastcore.test import equals

STEP = 1_000  # between the seeds of two runs: more than any notebook counts up to
TINY = np.finfo(float).tiny
OPERATORS = {ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Lt: operator.lt, ast.LtE: operator.le,
             ast.Eq: operator.eq, ast.NotEq: operator.ne}
SETS = {'native': {},
        'default': {'ATEN_CPU_CAPABILITY': 'default', 'ONEDNN_MAX_CPU_ISA': 'SSE41', 'MKL_CBWR': 'COMPATIBLE',
                    'OPENBLAS_CORETYPE': 'Nehalem', 'NPY_DISABLE_CPU_FEATURES': 'X86_V3 X86_V4 AVX2 AVX512'},
        'avx2': {'ATEN_CPU_CAPABILITY': 'avx2', 'ONEDNN_MAX_CPU_ISA': 'AVX2', 'MKL_CBWR': 'AVX2',
                 'OPENBLAS_CORETYPE': 'Haswell', 'NPY_DISABLE_CPU_FEATURES': 'X86_V4 AVX512'},
        'avx512': {'ATEN_CPU_CAPABILITY': 'avx512', 'ONEDNN_MAX_CPU_ISA': 'AVX512_CORE', 'MKL_CBWR': 'AVX512'}}


def environment(name):
    "Variables of an instruction set, or None if this machine lacks it"
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    has = {feature for feature, there in __cpu_features__.items() if there}
    if name.startswith('avx') and not any(feature in has for feature in {'avx2': ('X86_V3', 'AVX2'),
                                                                         'avx512': ('X86_V4', 'AVX512F')}[name]):
        return None
    off = SETS[name].get('NPY_DISABLE_CPU_FEATURES', '').split()
    off = [feature for feature in __cpu_dispatch__ if feature in has and feature.startswith(tuple(off or ['none']))]
    return SETS[name] | {'NPY_DISABLE_CPU_FEATURES': ' '.join(off)}


# ---- rewriting

class Rewrite(ast.NodeTransformer):
    "Assertions become calls of `margins`, which notes both sides and goes on"
    def visit_With(self, node):  # what ought to fail may fail
        return node if 'expect_fail' in ast.unparse(node.items[0].context_expr) else self.generic_visit(node)

    def visit_Assert(self, node): return self.statement(node, self.terms(node.test))

    def visit_Expr(self, node):
        match node.value:
            case ast.Call(func=ast.Name(id='test_close' | 'test_eq' as name), args=args, keywords=keywords):
                text = ast.Constant(ast.unparse(node))
                return self.statement(node, [ast.Call(call(f'margins.{name}'), [text, *args], keywords)])
        return self.generic_visit(node)

    def statement(self, node, terms):
        "Each term is tried on its own, so that the second of two claims is noted whatever the first one says"
        text = ast.Constant(ast.unparse(node))
        tries = [ast.Call(call('margins.attempt'), [ast.Lambda(NO_ARGUMENTS, term), text], []) for term in terms]
        return [ast.copy_location(ast.Expr(one), node) for one in tries]

    def terms(self, test):
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return [term for value in test.values for term in self.terms(value)]
        return [Sides(ast.unparse(test)).noting(test)]


class Sides(ast.NodeTransformer):
    "Comparisons in one term, with the truth of the term if it compares nothing"
    def __init__(self, text): self.text, self.worst, self.sign, self.found = text, True, 1, 0

    def noting(self, test):
        made = self.visit(test)
        return made if self.found else ast.Call(call('margins.truth'), [ast.Constant(self.text), made], [])

    def visit_Compare(self, node):
        if not all(type(op) in OPERATORS for op in node.ops): return node
        self.found += 1
        ops = ast.List([ast.Constant(type(op).__name__) for op in node.ops], ast.Load())
        how = [ast.Constant(self.text), ops, ast.Constant(self.worst), ast.Constant(self.sign)]
        return ast.Call(call('margins.compare'), [*how, node.left, *node.comparators], [])

    def visit_UnaryOp(self, node):
        if not isinstance(node.op, ast.Not): return self.generic_visit(node)
        self.sign, self.worst = -self.sign, not self.worst
        node = self.generic_visit(node)
        self.sign, self.worst = -self.sign, not self.worst
        return node

    def visit_Call(self, node):  # of `any`, the most favourable element counts
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
        before = self.worst
        if name == 'any': self.worst = self.sign < 0
        if name in ('any', 'all'): node = self.generic_visit(node)
        self.worst = before
        return node  # what is compared within another call is not what is claimed


NO_ARGUMENTS = ast.arguments([], [], None, [], [], None, [])


def call(name): return ast.parse(name, mode='eval').body


def rewritten(source):
    "A cell's code, with its assertions rewritten; magics are left as they are"
    try: tree = ast.parse(source)
    except SyntaxError: return source
    return ast.unparse(ast.fix_missing_locations(Rewrite().visit(tree)))


# ---- noting

def numbers(value):
    "As an array of floats"
    if hasattr(value, 'detach'): value = value.detach().cpu()
    return np.asarray(value, float)


class Margins:
    "What the assertions of one run compared"
    def __init__(self): self.cell, self.rows = 0, {}

    def note(self, text, slack, left, right, worst=True):
        "Keep the least favourable element of all times that this comparison is made, or the most favourable"
        try: slack, left, right = np.broadcast_arrays(slack, left, right)
        except ValueError: slack, left, right = map(np.atleast_1d, (-np.inf, np.nan, np.nan))
        if not slack.size: return
        slack, left, right = slack.ravel(), left.ravel(), right.ravel()
        slack = np.where(np.isnan(slack), -np.inf, slack)
        i = int(slack.argmin() if worst else slack.argmax())
        kept, key = self.rows.get((self.cell, text)), (self.cell, text)
        if kept is None or (slack[i] < kept[0]) == worst: self.rows[key] = [float(v[i]) for v in (slack, left, right)]

    def compare(self, text, ops, worst, sign, *sides):
        result = True
        for i, (op, left, right) in enumerate(zip(ops, sides[:-1], sides[1:], strict=True)):
            held = getattr(operator, {'GtE': 'ge', 'LtE': 'le', 'NotEq': 'ne'}.get(op, op.lower()))(left, right)
            result = held if result is True else result and held
            part = f'{text} [{i + 1}]' if len(ops) > 1 else text
            try: left, right = numbers(left), numbers(right)
            except (TypeError, ValueError): op, left, right = 'Eq', numbers(held), 1.  # words
            with np.errstate(invalid='ignore'): distance = left - right
            if op in ('Lt', 'LtE'): distance = -distance
            if op == 'Eq': distance = -abs(distance)
            if op == 'NotEq': distance = abs(distance)
            right_way = (numbers(held) == 1) == (sign > 0)  # of a > a the distance does not tell
            slack = np.where(right_way, sign * distance, np.minimum(sign * distance, -TINY))
            self.note(part, slack, left, right, worst)
        return result

    def truth(self, text, held):
        held = bool(held)
        self.note(text, held - 1., held, 1.)
        return held

    def test_close(self, text, a, b, eps=1e-5):
        a, b = numbers(a), numbers(b)
        self.note(text, eps - abs(a - b), a, b)

    def test_eq(self, text, a, b):
        if equals(a, b): return self.note(text, 0., 0., 0.)
        try: a, b = numbers(a), numbers(b)
        except (TypeError, ValueError): a = b = np.array(np.nan)
        self.note(text, -abs(a - b) if a.shape == b.shape else -np.inf, a, b)

    def attempt(self, term, text):
        try: term()
        except Exception as error: self.note(f'{text}: {type(error).__name__}: {error}', -np.inf, np.nan, np.nan)


# ---- one run

def shift(offset, numpy_too):
    "Add a number to all seeds from here on"
    import torch

    class Generator(torch.Generator):
        def manual_seed(self, seed): return super().manual_seed(seed + offset)

    start, default_rng = torch.manual_seed, np.random.default_rng
    torch.Generator, torch.manual_seed = Generator, lambda seed: start(seed + offset)
    torch.random.manual_seed = torch.manual_seed
    start(offset)
    if numpy_too: np.random.default_rng = lambda seed=None: default_rng(
        seed + offset if isinstance(seed, (int, np.integer)) else seed)


def run(notebook, offset, numpy_too):
    "Run a notebook's cells in this process as tests do; its rows"
    import matplotlib
    import torch
    from execnb.shell import CaptureShell
    from nbdev.config import get_config
    from nbdev.frontmatter import FrontmatterProc
    from nbdev.process import NBProcessor

    os.chdir(notebook.parent)
    os.environ['IN_TEST'] = '1'
    matplotlib.use('Agg')
    torch.set_num_threads(1)
    shift(offset, numpy_too)
    flags, margins, shell = set(get_config().tst_flags.split()), Margins(), CaptureShell(notebook)
    shell.user_ns['margins'] = margins
    for margins.cell, cell in enumerate(NBProcessor(notebook, procs=FrontmatterProc, process=True).nb.cells):
        says = getattr(cell, 'directives_', None) or {}
        skipped = says.get('eval:', [''])[0] == 'false' or flags & says.keys()
        if cell.cell_type != 'code' or skipped: continue
        source = cell.source if any(name.startswith('export') for name in says) else rewritten(cell.source)
        shell.run(source)
        if shell.exc: margins.note(f'cell raised {shell.exc!r:.200}', -np.inf, np.nan, np.nan)
    return [[cell, text, *sides] for (cell, text), sides in margins.rows.items()]


def child(notebook, offset, numpy_too, variables):
    "The same in a process of its own"
    threads = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'), '1')
    home = os.pathsep.join(filter(None, [str(notebook.parent.parent), os.environ.get('PYTHONPATH')]))
    with tempfile.NamedTemporaryFile('r', suffix='.json') as file:
        args = ['--rows', file.name, '--offset', str(offset), *(['--numpy'] if numpy_too else [])]
        done = subprocess.run([sys.executable, __file__, str(notebook), *args], text=True, capture_output=True,
                              env=os.environ | threads | {'PYTHONPATH': home} | variables)
        if done.returncode: sys.exit(f'{notebook.name}, seeds + {offset}, {variables}:\n{done.stdout}{done.stderr}')
        return json.loads(Path(file.name).read_text())


# ---- the table

def relative(part):
    "Slack of an inequality between positive sides that both vary, as the logarithm of their ratio; else as it is"
    slack, distance = part.slack, part.left - part.right
    inequality = np.allclose(abs(slack), abs(distance)) and np.ptp(np.sign(slack * distance)) == 0
    sides = part[['left', 'right']]
    if sides.nunique().min() == 1 or sides.min(axis=None) <= 0: return slack
    return np.sign(slack * distance) * np.log(part.left / part.right) if inequality else slack


def table(notebook, runs):
    "A row for each comparison: `runs` maps (instruction set, offset) to the rows of a run"
    import pandas as pd
    rows = [(*key, *row) for key, found in runs.items() for row in found]
    long = pd.DataFrame(rows, columns=['set', 'seed', 'cell', 'text', 'slack', 'left', 'right'])
    made = []
    for (cell, text), part in long.groupby(['cell', 'text'], sort=False):
        slack = relative(part) if np.isfinite(part.slack).all() else part.slack
        made.append({
            'notebook': notebook.stem, 'cell': cell, 'assertion': re.sub(r'\s+', ' ', text)[:160],
            'left': part.left.mean(), 'right': part.right.mean(), 'slack': slack.mean(), 'worst': slack.min(),
            'seeds': extent(slack[part.set == long.set[0]]), 'sets': extent(slack[part.seed == 0]),
            'margin': slack.mean() / slack.std() if extent(slack) else np.nan,
            'fails': int((slack < 0).sum()), 'runs': len(part)})
    made = pd.DataFrame(made)
    same = (made.runs == len(runs)) & (made.fails == 0) & made.margin.isna()
    return made[~same], int(same.sum())


def extent(slack): return slack.max() - slack.min() if np.isfinite(slack).all() else np.nan


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebooks', nargs='+', type=lambda name: Path(name).resolve())
    parser.add_argument('--seeds', type=int, default=3, help='how many, under the first instruction set')
    parser.add_argument('--isa', nargs='+', choices=SETS, default=['native', 'default', 'avx2'])
    parser.add_argument('--numpy', action='store_true', help="shift NumPy's seeds as well")
    parser.add_argument('--out', type=Path, help='CSV file, instead of standard output')
    parser.add_argument('--rows', type=Path, help=argparse.SUPPRESS)  # of one run, written here
    parser.add_argument('--offset', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rows:
        args.rows.write_text(json.dumps(run(args.notebooks[0], args.offset, args.numpy)))
        return
    import pandas as pd
    sets = {name: environment(name) for name in args.isa}
    if lacking := [name for name, variables in sets.items() if variables is None]:
        print(f'this machine lacks {", ".join(lacking)}', file=sys.stderr)
    sets = {name: variables for name, variables in sets.items() if variables is not None}
    first, found = next(iter(sets)), []
    todo = [(first, STEP * i) for i in range(args.seeds)] + [(name, 0) for name in sets if name != first]
    for notebook in args.notebooks:
        vary, same = table(notebook, {(name, offset): child(notebook, offset, args.numpy, sets[name])
                                      for name, offset in todo})
        print(f'{notebook.stem}, {len(todo)} runs: {len(vary)} comparisons vary, {same} do not, '
              f'{(vary.fails > 0).sum()} fail somewhere', file=sys.stderr, flush=True)
        found.append(vary)
        made = pd.concat(found).sort_values('margin', na_position='first')
        if args.out: made.to_csv(args.out, index=False, float_format='%.4g')  # as far as it has come
    if not args.out: made.to_csv(sys.stdout, index=False, float_format='%.4g')


if __name__ == '__main__': main()
