"""Before anything imports NumPy or torch: one thread, here and in the processes that tests start.

Sums depend on the number of threads, and so on the machine; small problems gain nothing from a second thread.
"""
import os

for library in ('OMP', 'MKL', 'OPENBLAS'): os.environ[f'{library}_NUM_THREADS'] = '1'

from hypothesis import settings  # noqa: E402

# HYPOTHESIS_PROFILE=full tries many cases of each property; a machine that does much else is slow, not wrong
settings.register_profile('default', deadline=None)
settings.register_profile('full', deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'default'))
