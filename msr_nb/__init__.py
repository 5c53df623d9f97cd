"""Disentanglement via mechanism sparsity. `MechanismSparsityICA` is imported on first use, for torch takes seconds."""
__version__ = "0.1.0"
__all__ = ['MechanismSparsityICA']


def __getattr__(name):
    if name == 'MechanismSparsityICA':
        from msr_nb.estimator import MechanismSparsityICA
        return MechanismSparsityICA
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
