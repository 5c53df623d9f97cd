"""The playground: its functions against the package's, in a browser and in Node, and its figures, played with."""
import json
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from browser import visit
from bs4 import BeautifulSoup

from msr_nb.datasets import DATASETS
from msr_nb.graphs import consistency_pattern, satisfies_criterion
from msr_nb.identifiability import isolate, report
from msr_nb.mechanisms import mean_sines
from msr_nb.metrics import compare_graphs, correlations, graph_scores, mcc, r_score

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parent / 'nbs/playground.js'
CLOSE = 1e-9


# ---- what is asked of both

def call(name, *args): return {'call': name, 'args': args}


def draw_graphs(rng):
    "Pairs of graphs of all sizes, sparse and dense; those without actions, or without edges over time, included"
    for d, m, p in product(range(1, 7), range(7), (.15, .3, .5, .75)):
        Gz = rng.binomial(1, p, (d, d)) | rng.binomial(1, .5) * np.eye(d, dtype=int)
        yield Gz * rng.binomial(1, .8), rng.binomial(1, p, (d, m))


def draw_latents(rng):
    "True and learned latents, (n, d) each: mixed, noisy, collinear or constant"
    for d, seed in product(range(1, 7), range(12)):
        z = rng.normal(size=(30, d)) * 10. ** rng.integers(-4, 5, d)
        z_hat = z @ rng.normal(size=(d, d)) * rng.binomial(1, .7, d) + 10. ** (seed % 3 - 2) * rng.normal(size=(30, d))
        if seed % 4 == 1: z_hat[:, -1] = 3 * z_hat[:, 0]
        if seed % 4 == 2: z_hat[:, 0] = 5 + np.spacing(5) * rng.integers(0, 2, 30)  # rounding
        if seed % 4 == 3: z[:, -1] = -.1
        yield z, z_hat


def draw_effects(rng):
    "A graph, effects, and a threshold"
    for d, m, _ in product(range(1, 7), range(1, 7), range(3)):
        yield rng.binomial(1, .4, (d, m)), rng.uniform(0, 1, (d, m)), rng.choice([-.1, .3, .5, 1.1])


RNG = np.random.default_rng(0)
GRAPHS, LATENTS, EFFECTS = list(draw_graphs(RNG)), list(draw_latents(RNG)), list(draw_effects(RNG))
TURNED = [(G, 'sines') for G in RNG.binomial(1, RNG.uniform(.2, .9, (60, 1, 1)), (60, 2, 5))]
TURNED += [(np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]), 'sines'), (np.ones((2, 5), int), 'sines'),
           (np.eye(2, 5, dtype=int), 'lines'), (np.ones((2, 5), int), 'lines')]
PRESETS = {name: d for d, names in {
    4: ('ActionDiag', 'ActionNonDiag', 'ActionNonDiagNoGraphCrit', 'ActionBlockDiag', 'TimeDiag', 'TimeNonDiag',
        'TimeBlockDiag'),
    6: ('ActionBlockNonDiag', 'TimeNonDiagNoGraphCrit', 'TimeBlockNonDiag')}.items() for name in names}


def columns(z): return z.T.tolist()


def questions():
    "All calls, by what they are about"
    systems = [call('simulate', G.tolist(), kind) for G, kind in TURNED]
    graphs = [(Gz.tolist(), Ga.tolist()) for Gz, Ga in GRAPHS]
    return {
        'consistencyPattern': [call('consistencyPattern', *pair) for pair in graphs],
        'satisfiesCriterion': [call('satisfiesCriterion', *pair) for pair in graphs],
        'promise': [call('promise', call('consistencyPattern', *pair)) for pair in graphs],
        'isolate': [call('isolate', i, *pair) for pair in graphs for i in range(len(pair[0]))],
        'presetGraphs': [call('presetGraphs', name) for name in PRESETS],
        'mcc': [call('mcc', columns(z), columns(z_hat)) for z, z_hat in LATENTS],
        'rScore': [call('rScore', columns(z), columns(z_hat)) for z, z_hat in LATENTS],
        'compareGraphs': [call('compareGraphs', G.tolist(), effects.tolist(), t) for G, effects, t in EFFECTS],
        'inputs': [call('inputs')],
        'simulate': systems,
        'sweep': [call('sweep', system) for system in systems],
        'leastWords': [call('leastWords', call('sweep', system)) for system in systems],
    }


def in_node(calls):
    node = shutil.which('node')
    if not node: pytest.skip('no Node here')
    program = f'''require({json.dumps(str(SCRIPT))})
        const value = call => call?.call ? playground[call.call](...call.args.map(value)) : call
        const calls = JSON.parse(require('fs').readFileSync(0))
        process.stdout.write(JSON.stringify(calls.map(value)))'''
    done = subprocess.run([node, '-e', program], input=json.dumps(calls), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope='module')
def seen(built, tmp_path_factory):
    "What the browser reports"
    calls = [call for calls in questions().values() for call in calls]
    found, console = visit(built, HERE / 'playground.html', tmp_path_factory.mktemp('browser'), CALLS=calls,
                           STEPS=[step for step, _ in STEPS])
    assert 'error' not in found and not console, (found.get('error'), console)
    return found


@pytest.fixture(scope='module', params=['browser', 'node'])
def answers(request):
    "What the functions return, by what they are about"
    asked = questions()
    calls = [call for calls in asked.values() for call in calls]
    values = iter(in_node(calls) if request.param == 'node' else request.getfixturevalue('seen')['values'])
    return {name: [next(values) for _ in calls] for name, calls in asked.items()}


# ---- against the package

def given(Gz, Ga): return {'Gz': Gz, 'Ga': Ga if Ga.size else None}


def test_patterns_and_criterion(answers):
    assert answers['consistencyPattern'] == [consistency_pattern(**given(*pair)).tolist() for pair in GRAPHS]
    assert answers['satisfiesCriterion'] == [satisfies_criterion(**given(*pair)) for pair in GRAPHS]
    assert .1 < np.mean(answers['satisfiesCriterion']) < .9


def test_a_graph_without_edges_is_like_none(answers):
    empty = [(pattern, Ga) for pattern, (Gz, Ga) in zip(answers['consistencyPattern'], GRAPHS, strict=True)
             if Ga.size and not Gz.any()]
    assert len(empty) > 10
    for pattern, Ga in empty: assert pattern == consistency_pattern(Ga=Ga).tolist()


def test_promises(answers):
    assert answers['promise'] == [report(given(*pair)).expectation for pair in GRAPHS]


def test_sets_that_isolate(answers):
    expected = [isolate(i, **given(*pair)) for pair in GRAPHS for i in range(len(pair[0]))]
    found = [([f'{s["what"]} of {"".join(map(str, s["of"]))}' for s in answer['chosen']], set(answer['left']))
             for answer in answers['isolate']]
    assert found == expected


def test_presets_are_the_papers_graphs(answers):
    for (name, d), graphs in zip(PRESETS.items(), answers['presetGraphs'], strict=True):
        G = graphs['Gz' if name.startswith('Time') else 'Ga']
        assert G == DATASETS[name].graph(d, 0).tolist(), name
        assert sum(map(sum, graphs['Gz'])) + sum(map(sum, graphs['Ga'])) == np.sum(G)


def test_mcc(answers):
    for (z, z_hat), found in zip(LATENTS, answers['mcc'], strict=True):
        expected = mcc(z, z_hat)
        assert abs(found['score'] - expected.score) < CLOSE
        assert np.abs(np.array(found['correlation']) - expected.correlation).max() < CLOSE
        sizes = np.abs(correlations(z, z_hat))  # with constant or collinear latents several assignments are best
        assert sorted(found['assignment']) == list(range(z.shape[1]))
        assert abs(sizes[np.arange(len(sizes)), found['assignment']].mean() - expected.score) < CLOSE


def test_r(answers):
    expected = [r_score(z, z_hat) for z, z_hat in LATENTS]
    assert np.abs(np.subtract(answers['rScore'], expected)).max() < 1e-7
    assert np.ptp(expected) > .3


def test_wrong_edges(answers):
    names = {'shd': 'shd', 'missed': 'false_negatives', 'spurious': 'false_positives', 'precision': 'precision',
             'recall': 'recall'}
    for (G, effects, threshold), found in zip(EFFECTS, answers['compareGraphs'], strict=True):
        expected = graph_scores(compare_graphs(G, effects > threshold))
        assert {name: found[name] for name in names} == {name: expected[key] for name, key in names.items()}


# ---- two latents, turned

def mean(u, G, kind):
    "(n, 5) inputs -> (n, 2)"
    return mean_sines(u, G) if kind == 'sines' else u @ (G * [[1, 1, 1, 1, 1], [1, -1, 1, -1, 1]]).T


def rotation(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[c, s], [-s, c]])


def derivatives(u, G, kind): return np.stack(
    [mean(u + e, G, kind) - mean(u - e, G, kind) for e in 1e-5 * np.eye(5)], -1) / 2e-5


def test_latents_follow_their_mechanisms(answers):
    [inputs] = answers['inputs']
    u, noise = np.transpose(inputs['u']), np.transpose(inputs['noise'])
    assert abs(u[:, :2].std() - 1) < .15 and np.abs(u[:, 2:]).max() < 2 and abs(noise.std() - .3) < .05
    for (G, kind), found in zip(TURNED, answers['simulate'], strict=True):
        assert np.abs(np.transpose(found['z']) - mean(u, G, kind) - noise).max() < CLOSE
        assert np.abs(np.transpose(found['slopes'], (2, 0, 1)) - derivatives(u, G, kind)).max() < 1e-8


def count_edges(J, angle):
    R = rotation(angle)
    turned = np.concatenate([R @ J[..., :2] @ R.T, R @ J[..., 2:]], -1)
    return (np.abs(turned).max(0) > 1e-6).sum()


def test_curves(answers):
    u = np.transpose(answers['inputs'][0]['u'])
    for (G, kind), system, curve in zip(TURNED, answers['simulate'], answers['sweep'], strict=True):
        z, J = np.transpose(system['z']), derivatives(u, G, kind)
        assert [point['angle'] for point in curve] == list(range(-45, 136))
        for point in curve[::15]:
            z_hat = z @ rotation(point['angle']).T
            assert abs(point['mcc'] - mcc(z, z_hat).score) < CLOSE
            assert abs(point['r'] - r_score(z, z_hat)) < CLOSE
            assert point['edges'] == count_edges(J, point['angle'])
        assert np.ptp([point['r'] for point in curve]) < CLOSE


def test_fewest_edges_are_at_the_truth_unless_both_latents_are_alike(answers):
    "What the page says of sines, and in which cases of lines it is otherwise"
    flat = 0
    for (G, kind), curve, words in zip(TURNED, answers['sweep'], answers['leastWords'], strict=True):
        edges = np.array([point['edges'] for point in curve])
        least = [point['angle'] for point in curve if point['edges'] == edges.min()]
        alike = consistency_pattern(G[:, :2], G[:, 2:]).all()
        flat += alike
        if kind == 'sines' and alike: assert len(least) == len(curve) and 'settles nothing' in words
        if kind == 'sines' and not alike:
            assert least == [0, 90] and edges.min() == G.sum()
            assert words == f'Fewest edges: {G.sum()}, at 0° and 90°, where the MCC is 1.00.'
        if kind == 'lines': assert 45 in least and curve[90]['mcc'] < .8
    assert 2 < flat < len(TURNED) / 2


# ---- the figures

GRAPH, TURN, LINE = '#fig-play-graphs', '#fig-play-rotation', '#fig-play-threshold'


def cell(figure, edge): return f'{figure} [aria-label="{edge}"]'


STEPS = [  # what is done where, and what is then returned; None: nothing to check
    (('read', f'{GRAPH} [role=status]'),
     'The criterion fails: 1 of 3 latents may stay mixed.ball may stay mixed with robot, but not the other way round: '
     'every cause and every effect of ball is one of robot, too.'),
    (('choose', f'{GRAPH} label:nth-child(3) select', 1), None),
    (('pressed', cell(GRAPH, 'shove drives ball')), 'false'),
    (('click', cell(GRAPH, 'shove drives ball')), None),
    (('pressed', cell(GRAPH, 'shove drives ball')), 'true'),
    (('read', f'{GRAPH} [role=status]'), 'The criterion holds: disentangled, up to order and scale.'),
    (('read', f'{GRAPH} li:nth-child(3)'), 'ball: children of shove {ball}'),
    (('key', cell(GRAPH, 'shove drives ball'), 'ArrowUp'), 'shove drives robot'),
    (('key', cell(GRAPH, 'shove drives robot'), 'ArrowLeft'), 'shove drives robot'),  # the end of this graph
    (('key', cell(GRAPH, 'tree drives tree'), 'ArrowRight'), 'robot drives tree'),
    (('click', cell(GRAPH, 'shove drives robot')), None),
    (('read', f'{GRAPH} [role=status] p'), 'The criterion fails: 1 of 3 latents may stay mixed.'),
    (('choose', f'{GRAPH} label:nth-child(1) select', 'shove'), None),
    (('read', f'{GRAPH} [role=status]'), 'The criterion holds: disentangled, up to order and scale.'),
    (('choose', f'{GRAPH} label:nth-child(1) select', 'ActionNonDiag'), None),
    (('read', f'{GRAPH} li:nth-child(2)'), 'z1: children of a0 {z0, z1} ∩ children of a1 {z1, z2} = {z1}'),
    (('click', cell(GRAPH, 'a1 drives z1')), None),
    (('read', f'{GRAPH} [role=status] p:nth-child(2)'),
     'z1 may stay mixed with z0, but not the other way round: every cause and every effect of z1 is one of z0, too.'),
    (('choose', f'{GRAPH} label:nth-child(1) select', 'ActionNonDiag'), None),  # as it was
    (('read', f'{GRAPH} [role=status]'), 'The criterion holds: disentangled, up to order and scale.'),
    (('choose', f'{GRAPH} label:nth-child(2) select', 2), None),
    (('choose', f'{GRAPH} label:nth-child(3) select', 0), None),
    (('read', f'{GRAPH} [role=status]'),
     'The criterion fails: 2 of 2 latents may stay mixed.z0 and z1 may stay mixed with each other: '
     'they have the same causes and the same effects.'),
    (('read', f'{GRAPH} li'), 'z0: no set leaves any latent out'),

    (('slide', f'{TURN} input', 45), None),
    (('read', f'{TURN} output'), '45°'),
    (('slide', f'{TURN} input', -45), None),
    (('read', f'{TURN} output'), '−45°'),
    (('slide', f'{TURN} input', 90), None),
    (('read', f'{TURN} [role=status]'),
     'At 90° the MCC is 1.00, R is 1.00, and the learned graph has 4 edges. The true one has 4.'),
    (('read', f'{TURN} p:last-child'), 'The criterion holds. Fewest edges: 4, at 0° and 90°, where the MCC is 1.00.'),
    (('choose', f'{TURN} label:nth-child(1) select', 'same'), None),
    (('read', f'{TURN} p:last-child'),
     'The criterion fails. The number of edges is 4 at every angle: it settles nothing.'),
    (('choose', f'{TURN} label:nth-child(2) select', 'lines'), None),
    (('read', f'{TURN} p:last-child'),
     'The criterion fails. Fewest edges: 2, at −45°, 45° and 135°, where the MCC is 0.71.'),
    (('choose', f'{TURN} label:nth-child(2) select', 'sines'), None),
    (('click', cell(TURN, 'a2 drives z0')), None),
    (('read', f'{TURN} p:last-child'), 'The criterion fails. Fewest edges: 5, at 0° and 90°, where the MCC is 1.00.'),
    (('click', cell(TURN, 'a0 drives z0')), None),
    (('read', f'{TURN} p:last-child'), 'The criterion holds. Fewest edges: 4, at 0° and 90°, where the MCC is 1.00.'),

    (('slide', f'{LINE} input', 0), None),
    (('read', f'{LINE} [role=status]'),
     '10 of 10 edges found, 0 missed, 15 false: SHD 15, precision 0.40, recall 1.00.'),
    (('slide', f'{LINE} label:nth-child(2) input', 0), None),  # no error
    (('slide', f'{LINE} input', .2), None),
    (('read', f'{LINE} [role=status]'), '10 of 10 edges found, 0 missed, 0 false: SHD 0, precision 1.00, recall 1.00.'),
    (('slide', f'{LINE} input', 1.2), None),
    (('read', f'{LINE} [role=status]'),
     '0 of 10 edges found, 10 missed, 0 false: SHD 10, precision 1.00, recall 0.00.'),
    (('slide', f'{LINE} label:nth-child(2) input', .06), None),  # answer 8
    *[step for t in (.15, .3) for step in [
        (('slide', f'{LINE} input', t), None),
        (('read', f'{LINE} [role=status]'),
         '10 of 10 edges found, 0 missed, 0 false: SHD 0, precision 1.00, recall 1.00.')]],
]


def test_figures_answer(seen):
    for (step, expected), said in zip(STEPS, seen['said'], strict=True):
        if expected is not None: assert said == expected, step
    assert seen['abroad'] == []


def test_the_largest_graphs_fit_on_a_phone(seen): assert seen['out'] == []


def test_without_scripts_there_are_pictures(built):
    page = BeautifulSoup((built / 'playground.html').read_bytes(), 'html.parser')
    for figure in (GRAPH, TURN, LINE): assert page.select_one(f'{figure} img')['alt']
    assert page.select_one('script[src="playground.js"]')
    assert (built / 'playground.js').read_bytes() == SCRIPT.read_bytes()
