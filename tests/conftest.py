"""Before anything imports NumPy or torch: one thread, here and in the processes that tests start.

Sums depend on the number of threads, and so on the machine; small problems gain nothing from a second thread.
"""
import os
import subprocess
import sys
from pathlib import Path

for library in ('OMP', 'MKL', 'OPENBLAS'): os.environ[f'{library}_NUM_THREADS'] = '1'

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# HYPOTHESIS_PROFILE=full tries many cases of each property; a machine that does much else is slow, not wrong
settings.register_profile('default', deadline=None)
settings.register_profile('full', deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'default'))


@pytest.fixture(scope='session')
def built(tmp_path_factory):
    "The whole site, as .ci/site builds it"
    out = tmp_path_factory.mktemp('site') / 'out'
    script = Path(__file__).resolve().parent.parent / '.ci/site'
    done = subprocess.run([sys.executable, script, out], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    "With pytest -n: tests of a file share what they set up, so one process has them; notebooks go where there is room"
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition('::')[0]
            if file == 'tests/test_playground.py': return 'tests/test_site.py'  # both look at the site
            return nodeid if file == 'tests/test_notebooks.py' else file
    return ByFile(config, log)
