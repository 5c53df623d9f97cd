"""Before anything imports NumPy or torch: one thread, here and in the processes that tests start.

Sums depend on the number of threads, and so on the machine; small problems gain nothing from a second thread.
"""
import os

for library in ('OMP', 'MKL', 'OPENBLAS'): os.environ[f'{library}_NUM_THREADS'] = '1'
