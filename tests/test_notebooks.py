"""Every notebook runs from top to bottom, but for cells whose flags settings.ini names in `tst_flags`."""
import contextlib
import io
import os
import re
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from matplotlib import pyplot as plt
from nbdev.config import get_config
from nbdev.test import test_nb as run_notebook
from threadpoolctl import threadpool_limits

NBS = Path(__file__).resolve().parent.parent / 'nbs'
ANSI = re.compile(r'\x1b\[[0-9;]*m')


@pytest.fixture
def undone(monkeypatch):
    "Undo what a notebook changes in the process that all of them share"
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    path, main = sys.path[:], sys.modules['__main__']
    monkeypatch.chdir(NBS)
    torch.set_num_threads(1)  # small problems gain nothing from a second, and lose much where cores are shared
    plt.switch_backend('Agg')
    with (threadpool_limits(1), patch.dict(os.environ), plt.rc_context(), torch.random.fork_rng(devices=[]),
          warnings.catch_warnings()):
        yield
    plt.close('all')
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    sys.path[:], sys.modules['__main__'] = path, main


@pytest.mark.parametrize('notebook', sorted(NBS.glob('[!._]*.ipynb')), ids=lambda path: path.stem)
def test_notebook(notebook, undone):
    with contextlib.redirect_stderr(io.StringIO()) as traceback:
        passed, _ = run_notebook(notebook, skip_flags=get_config().tst_flags.split())
    if not passed: pytest.fail(ANSI.sub('', traceback.getvalue()), pytrace=False)
