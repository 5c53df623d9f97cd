"""The training step stays on its device and never waits for it. Without an accelerator this is proved on the meta
device, whose tensors have no values to read, and by recording every operation; with one, also by capture."""
import shutil
import sys
import sysconfig
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed.tensor  # or it is imported while a test has replaced torch.Generator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from msr_nb.datasets import generate
from msr_nb.estimator import MechanismSparsityICA
from msr_nb.files import load_tensors, save_tensors
from msr_nb.masks import GumbelMask, binary_concrete, hard_concrete, straight_through
from msr_nb.sparsity import EdgeMultiplier, Sparsity
from msr_nb.straightening import LatentFlow, SmoothMap
from msr_nb.training import ORDINARY, TrainConfig, Trainer, captured
from msr_nb.vae import MechanismVAE, ModelConfig

pytestmark = pytest.mark.filterwarnings('ignore:.*script_method:DeprecationWarning')  # torch compiling itself

HAS_CUDA = torch.cuda.is_available()
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason='needs a CUDA device')
REAL_DEVICES = ['cpu', 'cuda'] if HAS_CUDA else ['cpu']
COMPILER = shutil.which('c++') or shutil.which('g++') or shutil.which('clang++')
HEADERS = (Path(sysconfig.get_path('include')) / 'Python.h').exists()

MASKS = {'soft': {}, 'hard': {'hard': True}, 'hard_concrete': {'hard_concrete': True}}
each_mask = pytest.mark.parametrize('kind', MASKS)
each_n = pytest.mark.parametrize('n', [None, 5])
SHAPE = 8, 5
G = torch.eye(*SHAPE)

DATA = {'action': (0, 2), 'time': (1, 0), 'both': (1, 2)}  # lags, d_a
OPTIONS = {'plain': {}, 'rich': {'variance': 'inputs', 'learn_fill': True, 'noise': 'learned', 'hard': True}}
SPARSITY = {'price': lambda graphs: Sparsity(price=dict.fromkeys(graphs, .1)),
            'edges': lambda graphs: Sparsity(edges=dict.fromkeys(graphs, 2.))}
each_model = pytest.mark.parametrize('data, options, per_example', list(product(DATA, OPTIONS, [False, True])))
some_models = pytest.mark.parametrize('data, options, per_example', [
    (data, *rest) for data, rest in product(DATA, [('plain', False), ('rich', True)])])
each_sparsity = pytest.mark.parametrize('sparsity', SPARSITY)


def make_model(data, options, per_example=False):
    lags, d_a = DATA[data]
    config = ModelConfig(5, 3, d_a, lags, width=8, depth=2, mechanism_width=8, mask_per_example=per_example,
                         **OPTIONS[options])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MechanismVAE(config)


def make_data(data, n=20):
    "Observations and actions, on the CPU"
    (lags, d_a), rng = DATA[data], np.random.default_rng(0)
    x, a = (torch.from_numpy(rng.normal(size=(n, 3 if lags else 1, d))).float() for d in (5, d_a))
    return x, a if d_a else None


def make_trainer(device, data, sparsity, options='plain', per_example=False, flow=False, **config):
    graphs = [g for g, size in zip(('Gz', 'Ga'), DATA[data], strict=True) if size]
    model, (x, a) = make_model(data, options, per_example).to(device), make_data(data)
    if flow: model, x = LatentFlow(model.prior, SmoothMap(3), model.config).to(device), x[..., :3]
    return Trainer(model, x, a, SPARSITY[sparsity](graphs), TrainConfig(batch_size=6, **config))


# ---- what an operation may do

class Recorder(TorchDispatchMode):
    "Note the devices of all tensors that go through operations, and the operations that make the host wait"
    def __init__(self):
        super().__init__()
        self.count, self.devices, self.crossings, self.waits = 0, set(), [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        devices = {t.device.type for t in tensors}
        self.count, self.devices = self.count + 1, self.devices | devices
        if len(devices) > 1: self.crossings.append(str(func))
        if waits(func, args): self.waits.append(str(func))
        return out


def waits(func, args):
    "Must the host know values of the tensors, to return a number or to choose a shape?"
    if func.namespace == 'aten' and func.overloadpacket.__name__.startswith('index'):
        return any(t.dtype in (torch.bool, torch.uint8) for t in tree_leaves(args[1:2]) if isinstance(t, torch.Tensor))
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags))


READS = {'item': lambda x: x[0].item(), 'float': lambda x: float(x[0]), 'bool': lambda x: bool((x > 0).any()),
         'equal': lambda x: torch.equal(x, x + 1), 'nonzero': lambda x: x.nonzero(), 'unique': lambda x: x.unique(),
         'masked_select': lambda x: x.masked_select(x > 0), 'mask as index': lambda x: x[x > 0],
         'assign by mask': lambda x: x.clone().index_put_((x > 0,), x.new_zeros(()))}


@pytest.mark.parametrize('read', READS)
def test_recorder_notices_what_makes_the_host_wait(read):
    with Recorder() as r: READS[read](torch.arange(3.))
    assert r.waits and not r.crossings
    with Recorder() as r: torch.arange(3.)[torch.tensor([2, 1])].sum().exp() + 1
    assert not r.waits and r.count


def test_recorder_notices_other_devices():
    with Recorder() as r: torch.ones(2, device='meta') + torch.ones(())
    assert r.crossings == ['aten.add.Tensor'] and r.devices == {'cpu', 'meta'}
    with Recorder() as r: torch.ones(2).to('meta')
    assert r.crossings == ['aten._to_copy.default']


@pytest.mark.parametrize('read', [lambda x: x[0].item(), lambda x: x.tolist(), lambda x: x.cpu(), lambda x: x.numpy(),
                                  lambda x: bool(x.any())])
def test_meta_tensors_refuse_to_be_read(read):
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)): read(torch.ones(3, device='meta'))


# ---- masks and the step on the meta device, and recorded

@pytest.fixture
def meta_trainers(monkeypatch):
    "Let a `Trainer` be made on the meta device, which has no generators, no fused Adam and no values to check"
    monkeypatch.setattr(torch, 'Generator', lambda device: SimpleNamespace(manual_seed=lambda seed: None))
    monkeypatch.setattr(sys.modules[torch.optim.Adam.__module__], '_device_dtype_check_for_fused', lambda p: None)
    monkeypatch.setattr(EdgeMultiplier, 'sanity_check', lambda self: None)
    with torch.library._scoped_library('aten', 'IMPL') as library:
        library.impl('_fused_adam_.tensor_lr', lambda *args, **kwargs: None, 'Meta')
        yield


@each_mask
@each_n
@pytest.mark.parametrize('frozen', [False, True])
@pytest.mark.parametrize('device', ['meta', *REAL_DEVICES])
def test_masks_are_drawn_on_their_device(kind, n, frozen, device):
    mask = GumbelMask(SHAPE, **MASKS[kind])
    if frozen: mask.freeze(G)
    mask.to(device)
    with Recorder() as r:
        m = mask(n)
        (m.sum() + mask.expected_edges()).backward()
        mask.graph()
        mask.unfreeze()
    assert m.shape == (n or 1, *SHAPE)
    assert r.devices == {device} and not r.waits and r.count > 9


@each_model
def test_elbo_and_its_gradient_stay_on_the_meta_device(data, options, per_example):
    model = make_model(data, options, per_example).to('meta')
    x, a = (v if v is None else v.to('meta') for v in make_data(data))
    with Recorder() as r:
        parts = model.elbo(x, a)
        (-parts.elbo).backward()
    assert {part.device.type for part in parts} == r.devices == {'meta'} and not r.waits
    assert all(p.grad is not None and p.grad.is_meta for p in model.parameters() if p.requires_grad)


def record_steps(trainer):
    "The first step, which makes the optimiser's state, and one further along the schedules"
    with Recorder() as r:
        for progress in (.1, .4):
            trainer.set_progress(progress)
            trainer.step()
    return r


@each_model
@each_sparsity
def test_training_step_stays_on_the_meta_device(meta_trainers, data, sparsity, options, per_example):
    r = record_steps(make_trainer('meta', data, sparsity, options, per_example))
    assert r.devices == {'meta'} and not r.waits and r.count > 200


@pytest.mark.parametrize('data', DATA)
@each_sparsity
def test_step_of_a_flow_stays_on_the_meta_device(meta_trainers, data, sparsity):
    r = record_steps(make_trainer('meta', data, sparsity, flow=True))
    assert r.devices == {'meta'} and not r.waits and r.count > 200


@each_model
@each_sparsity
@pytest.mark.parametrize('device', REAL_DEVICES)
def test_training_step_reads_nothing_back(device, data, sparsity, options, per_example):
    r = record_steps(make_trainer(device, data, sparsity, options, per_example))
    assert r.devices == {device} and not r.waits and r.count > 200


# ---- compile and export

@pytest.fixture
def dynamo():
    "A compiler without memory, which refuses to compile anything twice"
    torch._dynamo.reset()
    with torch.random.fork_rng(devices=[]), torch._dynamo.config.patch(error_on_recompile=True): yield
    torch._dynamo.reset()


def check_compiled(mask, n, compiled):
    "The compiled mask is the mask: it draws anew, learns, freezes and thaws"
    first, second = compiled(n), compiled(n)
    assert first.shape == (n or 1, *SHAPE) and ((first >= 0) & (first <= 1)).all()
    if mask.hard: assert ((first == 0) | (first == 1)).all()
    assert not torch.equal(first, second)
    mask.freeze(G)
    assert torch.equal(compiled(n), G.expand(n or 1, *SHAPE))
    mask.unfreeze()
    assert not torch.equal(compiled(n), compiled(n))


@each_mask
@each_n
def test_masks_compile_into_one_graph(dynamo, kind, n):
    mask = GumbelMask(SHAPE, init=0., **MASKS[kind])
    compiled = torch.compile(mask, fullgraph=True, backend='aot_eager')
    draws, gradients = [], []
    for draw in (mask, compiled):
        torch.manual_seed(0)
        draws.append(draw(n))
        gradients += torch.autograd.grad(draws[-1].square().sum(), mask.gamma)
    assert torch.equal(*draws)
    torch.testing.assert_close(*gradients)
    check_compiled(mask, n, compiled)


def test_compiled_masks_take_a_generator(dynamo):
    "Dynamo (torch 2.13) cannot put a generator into a graph: it breaks the graph there, and the draw is the same"
    mask = GumbelMask(SHAPE)
    compiled = torch.compile(mask, backend='eager')
    assert torch.equal(*(draw(5, torch.Generator().manual_seed(1)) for draw in (mask, compiled)))


@pytest.mark.skipif(not (COMPILER and HEADERS), reason="needs a C++ compiler and Python's headers")
def test_inductor_compiles_masks(dynamo, tmp_path, monkeypatch):
    "By code of its own: what another process left in the cache may be for a CPU with wider vectors"
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    mask = GumbelMask(SHAPE, init=0.)
    with torch.no_grad(): check_compiled(mask, 5, torch.compile(mask, fullgraph=True))


@pytest.mark.parametrize('data', DATA)
def test_elbo_compiles_into_one_graph(dynamo, data):
    model = make_model(data, 'plain')
    elbos = []
    for elbo in (model.elbo, torch.compile(model.elbo, fullgraph=True, backend='eager')):
        torch.manual_seed(0)
        elbos.append(elbo(*make_data(data)).elbo)
    torch.testing.assert_close(*elbos)


@each_mask
@each_n
@pytest.mark.parametrize('frozen', [False, True])
def test_masks_export(kind, n, frozen):
    mask = GumbelMask(SHAPE, init=0., **MASKS[kind])
    if frozen: mask.freeze(G)
    program = torch.export.export(mask, (n,))
    assert set(program.state_dict) == set(mask.state_dict())
    run = program.module()
    m = run(n)
    assert m.shape == (n or 1, *SHAPE) and torch.equal(m, run(n)) == frozen
    if frozen: assert (m == G).all()


# ---- precision

DTYPES = [torch.float32, torch.bfloat16]
each_dtype = pytest.mark.parametrize('dtype', DTYPES, ids=str)


def check_finite_gradients(module, loss):
    loss.backward()
    for name, p in module.named_parameters():
        if p.grad is not None: assert p.grad.isfinite().all() and p.grad.dtype == p.dtype, name


@each_dtype
@pytest.mark.parametrize('temperature', [.1, 1.])
@pytest.mark.parametrize('after', [lambda m: m, straight_through, hard_concrete])
def test_extreme_noise_gives_finite_samples_and_gradients(dtype, temperature, after):
    gamma = torch.tensor([-1e4, -20., -5, 0, 5, 20, 1e4], dtype=dtype).requires_grad_()
    u = torch.tensor([0., 1e-30, .5, 1 - 2**-24, 1.]).unsqueeze(1)
    m = after(binary_concrete(gamma, u, torch.tensor(temperature, dtype=dtype)))
    m.sum().backward()
    assert m.dtype == torch.float32 and ((m >= 0) & (m <= 1)).all()
    assert gamma.grad.dtype == dtype and gamma.grad.isfinite().all()


def test_noise_alone_never_decides_an_edge():
    m = binary_concrete(torch.zeros(2), torch.tensor([0., 1.]))
    assert 0 < m[0] < 1e-6 and 1 - 1e-6 < m[1] < 1


@each_dtype
@each_mask
@each_n
def test_masks_in_either_precision(dtype, kind, n):
    mask = GumbelMask(SHAPE, **MASKS[kind]).to(dtype)
    m = mask(n)
    assert m.dtype == dtype and ((m >= 0) & (m <= 1)).all() and mask.frozen.dtype == torch.bool
    check_finite_gradients(mask, m.sum() + mask.expected_edges())


@each_dtype
@each_model
@pytest.mark.parametrize('u', [None, 0., 1.])
def test_model_in_either_precision_under_any_noise(monkeypatch, dtype, data, options, per_example, u):
    model = make_model(data, options, per_example).to(dtype)
    x, a = (v if v is None else v.to(dtype) for v in make_data(data))
    drawn = []
    def extreme(size, device, generator=None): return drawn.append(size) or torch.full(size, u, device=device)
    if u is not None: monkeypatch.setattr(torch, 'rand', extreme)
    past = x[:, 0, :3].repeat(1, DATA[data][0]) if DATA[data][0] else None
    p = model.prior.transition(past, None if a is None else a[:, 0])
    assert p.mean.dtype == dtype and all(part.isfinite().all() for part in p)
    assert u is None or drawn
    check_finite_gradients(model.prior.transition, p.mean.sum() + p.log_var.sum())
    check_finite_gradients(model, -model.elbo(x, a).elbo)


# ---- what a reload must keep

def test_one_compiled_mask_draws_any_number():
    mask = GumbelMask(SHAPE)
    compiled = torch.compile(mask, backend='eager', fullgraph=True)
    assert [tuple(compiled(n).shape) for n in (4, 5, 9)] == [(n, *SHAPE) for n in (4, 5, 9)]


def test_frozen_masks_survive_a_reload(tmp_path):
    mask = GumbelMask(SHAPE, temperature=.3).freeze(G)
    save_tensors(tmp_path / 'mask', mask.state_dict(), {})
    new = GumbelMask(SHAPE)
    new.load_state_dict(load_tensors(tmp_path / 'mask')[0])
    assert new.frozen and new.temperature == torch.tensor(.3)
    assert torch.equal(new(4), G.expand(4, *SHAPE)) and torch.equal(new.graph(), G.long())
    new.load_state_dict(GumbelMask(SHAPE).state_dict())
    assert not new.frozen and not torch.equal(new(4), new(4))


@pytest.mark.parametrize('options', OPTIONS)
def test_models_survive_a_reload_with_a_frozen_graph_and_another_temperature(tmp_path, options):
    old, new = make_model('both', options), make_model('both', options)
    with torch.no_grad():
        for p in old.parameters(): p.add_(.1)
        for mask in old.prior.transition.graphs().values(): mask.temperature.fill_(.4)
    old.prior.transition.mask_a.freeze(torch.eye(3, 2))
    old.elbo(*make_data('both'))  # sets the noise's variance
    save_tensors(tmp_path / 'model', old.state_dict(), {})
    new.load_state_dict(load_tensors(tmp_path / 'model')[0])
    for k, v in old.state_dict().items(): assert torch.equal(v, new.state_dict()[k]), k
    for model in (old, new): model.eval()
    elbos = [model.elbo(*make_data('both'), torch.Generator().manual_seed(2)) for model in (old, new)]
    assert elbos[0] == elbos[1]
    assert torch.equal(new.prior.transition.sample_graph(4)[..., 3:], torch.eye(3, 2).expand(4, 3, 2))
    (-elbos[1].elbo).backward()
    assert not new.prior.transition.mask_a.gamma.grad.any() and new.prior.transition.mask_z.gamma.grad.any()


# ---- CUDA

def check_replays(trainer, replay):
    "Each replay draws new noise, follows the schedules, and learns; `replay` returns the ELBO"
    def parameters(): return [p.detach().clone() for p in trainer.model.parameters() if p.requires_grad]
    def same(before): return all(map(torch.equal, before, parameters()))
    before = parameters()
    trainer.set_progress(1.)  # a step size of 0, and `one_batch` was called: only noise makes a difference
    assert len({replay() for _ in range(3)}) == 3 and same(before)
    trainer.set_progress(.1)
    replay()
    assert not same(before)
    before = parameters()
    replay()
    assert not same(before) and all(p.isfinite().all() for p in parameters())


def one_batch(trainer):
    "Make all sequences equal, so that it does not matter which are drawn"
    for v in (trainer.x, trainer.a):
        if v is not None: v.copy_(v[:1].clone().expand_as(v))
    return trainer


def recorded(trainer):
    "The training step as a CUDA graph that is already recorded; a function that replays it and returns the ELBO"
    trainer.set_progress(.1)
    step = captured(trainer.step, trainer.generator)
    for _ in range(ORDINARY + 1): step()
    return elbo_of(trainer, step)


def elbo_of(trainer, step):
    "`step`, as a function that returns the ELBO of that step alone"
    def measured():
        trainer.sums['elbo'].zero_()
        step()
        return trainer.sums['elbo'].item()
    return measured


@some_models
@each_sparsity
def test_repeated_steps_learn_and_draw_anew(data, sparsity, options, per_example):
    "What the next test demands of a captured step holds of an ordinary one"
    trainer = one_batch(make_trainer('cpu', data, sparsity, options, per_example))
    check_replays(trainer, elbo_of(trainer, trainer.step))


@needs_cuda
@some_models
@each_sparsity
def test_captured_steps_learn_and_draw_anew(data, sparsity, options, per_example):
    trainer = one_batch(make_trainer('cuda', data, sparsity, options, per_example))
    check_replays(trainer, recorded(trainer))


@needs_cuda
@each_sparsity
def test_captured_steps_of_a_flow_learn_and_draw_anew(sparsity):
    trainer = one_batch(make_trainer('cuda', 'both', sparsity, flow=True))
    check_replays(trainer, recorded(trainer))


@needs_cuda
def test_replayed_steps_are_the_ordinary_ones():
    "The same noise, the same batches, and numbers that differ by rounding only"
    trainers = [make_trainer('cuda', 'both', 'edges') for _ in range(2)]
    for trainer, step in zip(trainers, (lambda t: t.step, lambda t: captured(t.step, t.generator)), strict=True):
        step = step(trainer)
        for i in range(10):
            trainer.set_progress(i / 10)
            step()
    for one, other in zip(*(t.model.parameters() for t in trainers), strict=True):
        torch.testing.assert_close(one, other)


@needs_cuda
def test_a_run_on_cuda_that_is_killed_goes_on_as_if_nothing_had_happened(tmp_path):
    class Killed(Exception): pass
    def kill(trainer, row):
        if trainer.steps_done == 30: raise Killed
    def small(): return make_trainer('cuda', 'both', 'edges', steps=40, log_every=10, checkpoint_every=15)
    whole, resumed = small(), small()
    whole.run(show=False)
    with pytest.raises(Killed): small().run(tmp_path, [kill], show=False)
    resumed.run(tmp_path, show=False)
    assert resumed.steps_done == whole.steps_done == 40
    for one, other in zip(*(t.model.parameters() for t in (whole, resumed)), strict=True):
        torch.testing.assert_close(one, other)


@needs_cuda
@pytest.mark.parametrize('name', ['ActionNonDiag', 'TimeNonDiag'])
def test_a_model_that_was_fitted_on_cuda_is_the_same_on_the_cpu(tmp_path, name):
    data = generate(name, n=4_000, d_z=4, d_x=8)
    options = {'model_options': {'width': 32, 'depth': 2, 'mechanism_width': 16}, 'train_options': {'batch_size': 64}}
    ica = MechanismSparsityICA(4, steps=400, device='cuda', progress=False, **options)
    z = ica.fit(data.train.x, data.train.a).transform(data.valid.x)
    ica.save(tmp_path / 'model')
    again = MechanismSparsityICA.load(tmp_path / 'model', device='cpu')
    assert next(again.model_.parameters()).device.type == 'cpu'
    np.testing.assert_allclose(again.transform(data.valid.x), z, atol=1e-3)


@needs_cuda
@each_sparsity
def test_cuda_itself_sees_no_synchronisation(sparsity):
    trainer = make_trainer('cuda', 'both', sparsity)
    trainer.set_progress(0.)
    trainer.step()
    torch.cuda.set_sync_debug_mode('error')
    try:
        for progress in (.1, .9):
            trainer.set_progress(progress)
            trainer.step()
    finally: torch.cuda.set_sync_debug_mode('default')
