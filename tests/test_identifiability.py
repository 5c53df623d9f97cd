"""Properties of the graphical criterion and of the consistency pattern, on random graphs."""
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msr_nb.graphs import consistency_pattern, pairs, satisfies_criterion
from msr_nb.identifiability import isolate, report

bits = st.integers(0, 1)
matrices = st.integers(1, 5).flatmap(lambda d: arrays(int, (d, d), elements=bits))


@st.composite
def graphs(draw):
    "Gz, Ga or both, of up to five latents and four actions"
    d, which = draw(st.integers(1, 5)), draw(st.sampled_from([('Gz',), ('Ga',), ('Gz', 'Ga')]))
    widths = {'Gz': st.just(d), 'Ga': st.integers(1, 4)}
    return {name: draw(arrays(int, (d, draw(widths[name])), elements=bits)) for name in which}


def subsets(items): return chain.from_iterable(combinations(items, n) for n in range(len(items) + 1))


def intersections(d, families):
    "All intersections of any members of one family of sets"
    return {frozenset(range(d)).intersection(*chosen) for chosen in subsets(families)}


def brute_force(Gz=None, Ga=None):
    "For every latent, are there sets I of children, J of parents and L of actions that single it out?"
    d = len(Ga if Gz is None else Gz)
    families = [] if Ga is None else [[frozenset(np.flatnonzero(column)) for column in Ga.T]]
    if Gz is not None: families += [[frozenset(np.flatnonzero(row)) for row in G] for G in (Gz, Gz.T)]
    found = {frozenset(range(d))}
    for family in families: found = {one & other for one in found for other in intersections(d, family)}
    return all({i} in found for i in range(d))


@given(graphs())
def test_criterion_is_what_the_definition_says(G):
    assert satisfies_criterion(**G) == brute_force(**G)


@given(graphs())
def test_pattern_is_the_identity_exactly_under_the_criterion(G):
    pattern = consistency_pattern(**G)
    assert np.array_equal(pattern, np.eye(len(pattern))) == satisfies_criterion(**G)


@given(graphs())
def test_pattern_is_reflexive_and_transitive(G):
    "So that what it allows is closed under composition: mixing twice is no more than mixing once"
    pattern = consistency_pattern(**G)
    assert pattern.diagonal().all()
    assert np.array_equal((pattern @ pattern > 0), pattern > 0)


@given(graphs())
def test_what_isolation_leaves_is_the_pattern(G):
    pattern = consistency_pattern(**G)
    assert all(isolate(i, **G)[1] == set(np.flatnonzero(pattern[i])) for i in range(len(pattern)))


@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_latents_does_not_matter(G, random):
    order = random.sample(range(len(next(iter(G.values())))), len(next(iter(G.values()))))
    moved = {name: M[order][:, order] if name == 'Gz' else M[order] for name, M in G.items()}
    assert np.array_equal(consistency_pattern(**moved), consistency_pattern(**G)[order][:, order])


@given(matrices)
def test_self_loops_without_two_cycles_suffice(G):
    "CLeaR: a sufficient condition that needs no search"
    G = np.triu(G) + np.tril(G * (1 - G.T), -1) | np.eye(len(G), dtype=int)
    assert not (G * G.T - np.eye(len(G))).any()
    assert satisfies_criterion(Gz=G)


@pytest.mark.parametrize('d', [2, 4])
def test_two_cycles_may_break_the_criterion(d):
    assert not satisfies_criterion(Gz=pairs(d))


@given(graphs())
def test_report_agrees_with_the_criterion(G):
    assert report(G).expectation.startswith('disentangled') == satisfies_criterion(**G)
