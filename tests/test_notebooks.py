"""Every notebook runs from top to bottom, but for cells whose flags settings.ini names in `tst_flags`.

Those that train are marked, `pytest -m trains`: .ci/run has them run with a second instruction set.
"""
import contextlib
import io
import os
import re
import shutil
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest
import torch
from matplotlib import pyplot as plt
from nbdev.config import get_config
from nbdev.test import test_nb as run_notebook
from threadpoolctl import threadpool_limits

NBS = Path(__file__).resolve().parent.parent / 'nbs'
TRAINS = re.compile(r'\.fit\(|\bFit\(|Trainer\(|minimise\(|\.backward\(')
ANSI = re.compile(r'\x1b\[[0-9;]*m')
LONGEST = '26_search 46_training 58_recipe 60_estimator 67_stability 79_cli 87_pixels 88_your_data'.split()
NOTEBOOKS = sorted(NBS.glob('[!._]*.ipynb'), key=lambda path: (path.stem not in LONGEST, path))  # begin with these


@pytest.fixture
def undone(monkeypatch):
    "Undo what a notebook changes in the process that all of them share"
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    path, main = sys.path[:], sys.modules['__main__']
    monkeypatch.chdir(NBS)
    torch.set_num_threads(1)
    plt.switch_backend('Agg')
    with (threadpool_limits(1), patch.dict(os.environ), plt.rc_context(), torch.random.fork_rng(devices=[]),
          warnings.catch_warnings()):
        torch.manual_seed(torch.Generator().initial_seed())  # as in a new process, whichever notebooks came before
        yield
    plt.close('all')
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    sys.path[:], sys.modules['__main__'] = path, main


def trains(notebook):
    "Does it call what trains? An optimiser's results depend on rounding, and so on the CPU"
    return any(cell.cell_type == 'code' and TRAINS.search(cell.source) for cell in nbformat.read(notebook, 4).cells)


def marked(notebook):
    return pytest.param(notebook, id=notebook.stem, marks=[pytest.mark.trains] if trains(notebook) else [])


@pytest.mark.parametrize('notebook', [marked(path) for path in NOTEBOOKS])
def test_notebook(notebook, undone):
    with contextlib.redirect_stderr(io.StringIO()) as traceback:
        passed, _ = run_notebook(notebook, skip_flags=get_config().tst_flags.split())
    if not passed: pytest.fail(ANSI.sub('', traceback.getvalue()), pytrace=False)


def test_a_page_runs_without_the_files_beside_it(undone, tmp_path):
    "As where somebody opens it alone; of the route of ideas, which is read most, this one is the quickest"
    test_notebook(Path(shutil.copy(NBS / '24_permutation.ipynb', tmp_path)), None)
