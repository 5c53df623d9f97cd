"""The promises of the project's layout: notebooks, package, README, site and wheel agree with each other."""
import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from readme import README, readme

import msr_nb

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB = ROOT / 'nbs', ROOT / 'msr_nb'
SITE = yaml.safe_load((ROOT / '_quarto.yml').read_text(encoding='utf-8'))['website']
ROUTES = yaml.safe_load((NBS / 'routes.yml').read_text(encoding='utf-8'))


def pages(contents):
    "The pages of a sidebar and of the sections in it, in the order of previous and next"
    for entry in contents: yield from pages(entry['contents']) if isinstance(entry, dict) else [entry]


NUMBERED = sorted(NBS.glob('[0-9]*.ipynb'))
NOTEBOOKS = [NBS / name for name in pages(SITE['sidebar']['contents'])]  # in the order of reading
LARGEST_FIGURE = 100_000  # bytes

each_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
each_numbered = pytest.mark.parametrize('path', NUMBERED, ids=lambda path: path.stem)


def run(*args, cwd, **env):
    "Run Python on `args` as a developer's shell would; what it printed is part of the failure"
    env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'PYTHONPATH')} | env
    done = subprocess.run([sys.executable, *map(str, args)], cwd=cwd, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cells(path, kind='code'): return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]
def is_exported(cell): return re.search(r'^#\|\s*export', cell.source, re.MULTILINE) is not None
def is_import(node): return isinstance(node, (ast.Import, ast.ImportFrom))
def exported(path): return [cell.source for cell in cells(path) if is_exported(cell)]
def outputs(path): return [out for cell in cells(path) for out in cell.outputs]
def module_name(path): return path.stem.partition('_')[2]


# ---- notebooks and package

def texts(root):
    "Path below `root` -> text, of every module and notebook"
    return {str(p.relative_to(root)): p.read_text(encoding='utf-8')
            for pattern in ('msr_nb/**/*.py', 'nbs/*.ipynb') for p in root.glob(pattern)}


def test_package_is_what_the_notebooks_export(tmp_path):
    shutil.copy(ROOT / 'settings.ini', tmp_path)
    shutil.copytree(NBS, tmp_path / 'nbs', ignore=lambda _, names: [n for n in names if not n.endswith('.ipynb')])
    (tmp_path / 'msr_nb').mkdir()
    shutil.copy(LIB / '__init__.py', tmp_path / 'msr_nb')
    run('-c', 'from nbdev import clean, doclinks; doclinks.nbdev_export(); clean.nbdev_clean()', cwd=tmp_path)
    made, kept = texts(tmp_path), texts(ROOT)
    assert made.keys() == kept.keys()
    stale = [name for name in made if made[name] != kept[name]]
    assert not stale, 'run nbdev_export and nbdev_clean, and commit what they change'


def modules_imported(source):
    "Names of the msr_nb modules that `source` imports, anywhere in it"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = 'msr_nb.' * (node.level > 0) + (node.module or '')
            names = [base] + [f'{base.rstrip(".")}.{alias.name}' for alias in node.names]
        else: continue
        yield from (name.split('.')[1] for name in names if name.startswith('msr_nb.') and name != 'msr_nb.')


def test_modules_imported_sees_every_form():
    assert set(modules_imported('import msr_nb.a, torch\nfrom msr_nb.b import c')) == {'a', 'b'}
    assert set(modules_imported('from msr_nb import d\ndef f():\n    from .e import g')) == {'d', 'e'}
    assert set(modules_imported('from . import h\nfrom torch import nn')) == {'h'}


@each_numbered
def test_modules_import_from_lower_numbers_only(path):
    number = {module_name(p): int(p.stem[:2]) for p in NUMBERED}
    sources = exported(path) or [cell.source for cell in cells(path)]
    if exported(path): sources.append((LIB / f'{module_name(path)}.py').read_text(encoding='utf-8'))
    used = {name for source in sources for name in modules_imported(source)} & number.keys()
    assert not [name for name in used if number[name] >= number[module_name(path)]]


# ---- form of the notebooks

@each_notebook
def test_first_cell_is_title_and_summary(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == 'markdown'
    assert re.fullmatch(r'# \S.*\n\n> \S.*', first.source), 'nbdev drops all else in this cell from the site'


@each_numbered
def test_module_is_named_after_the_notebook(path):
    "A walkthrough exports nothing and has none"
    found = [cell.source.strip() for cell in cells(path) if cell.source.startswith('#| default_exp')]
    assert found == ([f'#| default_exp {module_name(path)}'] if exported(path) else [])


@each_numbered
def test_last_paragraph_links_to_the_next_notebook(path):
    following = NOTEBOOKS[NOTEBOOKS.index(path) + 1]
    last = nbformat.read(path, as_version=4).cells[-1]
    assert last.cell_type == 'markdown'
    assert last.source.rpartition('\n\n')[2].startswith('**Next:** [')
    assert re.findall(r'\*\*Next:\*\* \[[^]]+\]\(([^)]+)\)', last.source) == [following.name]


@each_notebook
def test_links_lead_somewhere(path):
    text = '\n'.join(cell.source for cell in cells(path, 'markdown'))
    links = re.findall(r'\]\(([^)\s#]+)', text) + re.findall(r'src="([^"]+)"', text)
    assert not [link for link in links if '://' not in link and not (NBS / link).exists()]


@each_notebook
def test_no_error_or_warning_is_stored(path):
    assert not [out for out in outputs(path) if out.output_type == 'error' or out.get('name') == 'stderr']


@each_notebook
def test_figures_are_small(path):
    images = [body for out in outputs(path) for kind, body in out.get('data', {}).items() if kind.startswith('image/')]
    sizes = [len(body) * 3 // 4 for body in images]  # base64
    assert max(sizes, default=0) <= LARGEST_FIGURE


@each_notebook
def test_figures_are_stored(path):
    "A notebook saved without having been run would have none"
    described = [cell for cell in cells(path) if '#| fig-alt' in cell.source]
    assert all(any('image/png' in out.get('data', {}) for out in cell.outputs) for cell in described)


@each_notebook
def test_labelled_figures_have_captions(path):
    ".ci/site numbers only those that have both"
    assert all(('#| label: fig-' in cell.source) == ('#| fig-cap:' in cell.source) for cell in cells(path))


def test_labels_are_unique():
    "On the whole site, so that equations and figures can move from page to page"
    sources = [cell.source for path in NUMBERED for cell in nbformat.read(path, as_version=4).cells]
    labels = re.findall(r'(?:^#\| label: |\{#)([\w-]+)', '\n'.join(sources), re.MULTILINE)
    assert not {label for label in labels if labels.count(label) > 1}


@each_notebook
def test_exported_cells_name_what_they_import(path):
    names = [alias.name for source in exported(path) for node in ast.walk(ast.parse(source))
             if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert '*' not in names


@each_notebook
def test_imports_have_cells_of_their_own(path):
    "nbdev runs cells that import, and few others, when it makes the site: code beside an import would miss its names"
    run_by_hand = re.compile(r'^#\|\s*eval: false', re.MULTILINE)
    lessons = [cell.source for cell in cells(path) if not is_exported(cell) and not run_by_hand.search(cell.source)]
    importing = [source for source in lessons if any(is_import(node) for node in ast.walk(ast.parse(source)))]
    assert not [source for source in importing if not all(is_import(node) for node in ast.parse(source).body)]


# ---- README and site

def test_readme_is_the_index_notebook():
    assert README.read_text(encoding='utf-8') == readme(), 'run python tests/readme.py'


def test_readme_links_work_on_a_code_host():
    links = re.findall(r'(?:\]\(|src=")([^)"\s#]+)', readme())
    assert 'nbs/05_graphs.ipynb' in links
    assert not [link for link in links if '://' not in link and not (ROOT / link).exists()]


def test_site_lists_every_notebook_once():
    assert sorted(NOTEBOOKS) == sorted(NBS.glob('*.ipynb'))
    assert (NBS / '_quarto.yml').is_symlink() and (NBS / '_quarto.yml').resolve() == ROOT / '_quarto.yml'


def test_what_a_page_leans_on_comes_before_it():
    place = {path.stem: i for i, path in enumerate(NOTEBOOKS)}
    assert ROUTES['know'].keys() == {path.stem for path in NUMBERED}
    assert not [(stem, before) for stem, known in ROUTES['know'].items() for before in known
                if place[before] >= place[stem]]


def test_the_route_of_ideas_leans_on_no_other_page():
    ideas = ROUTES['ideas']
    assert sorted(ideas, key=lambda stem: NOTEBOOKS.index(NBS / f'{stem}.ipynb')) == ideas
    assert not {known for stem in ideas for known in ROUTES['know'][stem]} - set(ideas)


def test_learn_has_every_page():
    text = '\n'.join(cell.source for cell in cells(NBS / 'learn.ipynb', 'markdown')).partition('## Everything')[2]
    listed = re.findall(r'^\| \[[^]]+\]\((\w+)\.ipynb\)', text, re.MULTILINE)
    assert listed == [path.stem for path in NOTEBOOKS if path in NUMBERED]


def test_reference_shows_what_the_package_promises():
    shown = {name for cell in cells(NBS / 'reference.ipynb') for name in re.findall(r'show_doc\((\w+)\)', cell.source)}
    assert set(msr_nb.__all__) <= shown


def test_reference_lists_every_module():
    listed = str([out for out in outputs(NBS / 'reference.ipynb') if 'text/markdown' in out.get('data', {})])
    modules = [module_name(path) for path in NUMBERED if exported(path)]
    missing = [name for name in modules if f'`msr_nb.{name}`' not in listed]
    assert not missing, 'run reference.ipynb, and store what its last cell prints'


# ---- the installed package

def test_version_change_log_and_citation_agree():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    version = config['DEFAULT']['version']
    cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    newest = re.search(r'^## (\S+)', (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8'), re.MULTILINE)[1]
    assert str(cited['version']) == newest == version == msr_nb.__version__
    assert f'version = {{{version}}}' in (ROOT / 'README.md').read_text(encoding='utf-8')  # the entry to cite
    links = re.findall(r'\((https[^)]+)\)', README.read_text(encoding='utf-8'))
    assert {row['url'] for row in cited['references']} <= set(links)


@pytest.fixture(scope='module')
def requirements():
    "What settings.ini says the package needs"
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    return config['DEFAULT']['requirements'].split()


def lesson_imports(path):
    "Names of what a notebook imports, but for cells that are only to be read"
    sources = [cell.source for cell in cells(path) if not re.search(r'^#\|\s*eval: false', cell.source, re.MULTILINE)]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source)) if is_import(node)]
    names = [[alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module] for node in nodes]
    return {name.partition('.')[0] for some in names for name in some}


@each_numbered
def test_lessons_run_with_what_the_cell_in_learn_installs(path, requirements):
    "The package, the extra `lessons`, and IPython, which is where notebooks are"
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    extra = config['DEFAULT']['lessons_requirements'].split()
    assert set(extra) <= set(config['DEFAULT']['dev_requirements'].split())
    assert any("%pip install -q './msr_nb[lessons]'" in cell.source for cell in cells(NBS / 'learn.ipynb', 'markdown'))
    installed = needed(requirements + extra) | {'ipython'}
    modules = {module for module, names in packages_distributions().items()
               if {canonicalize_name(name) for name in names} & installed}
    assert not lesson_imports(path) - modules - set(sys.stdlib_module_names) - {'msr_nb'}


@pytest.mark.parametrize('stem', ROUTES['ideas'])
def test_the_route_of_ideas_reads_no_file_beside_it(stem):
    "So that each of its pages can be opened by itself"
    strings = [node.value for cell in cells(NBS / f'{stem}.ipynb') for node in ast.walk(ast.parse(cell.source))
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    beside = {path.name for path in (*NBS.iterdir(), *ROOT.iterdir())} | {'..'}
    assert not [text for text in strings if Path(text).parts[:1] and Path(text).parts[0] in beside]


def needed(requirements):
    "Names of the distributions that `requirements` bring along, themselves included"
    found, todo = set(), [Requirement(r) for r in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        wanted = any(requirement.marker is None or requirement.marker.evaluate({'extra': extra})
                     for extra in requirement.extras | {''})
        if name in found or not wanted: continue
        try: todo += [Requirement(r) for r in distribution(name).requires or []]
        except PackageNotFoundError: continue
        found.add(name)
    return found


ALONE = '''
import importlib, importlib.abc, importlib.metadata, json, pkgutil, sys

home, blocked = sys.argv[1], set(json.loads(sys.argv[2]))

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked: raise ModuleNotFoundError(f'not a requirement: {name}', name=name)

sys.path.insert(0, home)
sys.meta_path.insert(0, Blocker())
import msr_nb
assert msr_nb.__file__.startswith(home), msr_nb.__file__
for module in pkgutil.iter_modules(msr_nb.__path__): importlib.import_module(f'msr_nb.{module.name}')
[package] = importlib.metadata.distributions(name='msr_nb', path=[home])
for script in package.entry_points: assert callable(script.load())
'''


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel made from the source distribution, as a user of either would get it"
    src, out = tmp_path_factory.mktemp('src'), tmp_path_factory.mktemp('out')
    for name in ('settings.ini', 'setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, src)
    shutil.copytree(LIB, src / 'msr_nb', ignore=shutil.ignore_patterns('__pycache__'))
    run('-c', f'from setuptools import build_meta; build_meta.build_sdist({str(out)!r})', cwd=src)
    [sdist] = out.glob('*.tar.gz')
    run('-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', out, sdist, cwd=out)
    [made] = out.glob('*.whl')
    return made


def test_wheel_holds_the_package_and_says_what_it_needs(wheel, requirements):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(name).decode() for name in names if name.endswith('.dist-info/METADATA')]
    assert {f'msr_nb/{path.name}' for path in LIB.glob('*.py')} <= names
    assert 'msr_nb/data/published_results.csv' in names
    assert any(name.endswith('/LICENSE') for name in names)
    assert not [name for name in names if name.startswith(('nbs/', 'tests/'))]
    always = [line for line in re.findall(r'^Requires-Dist: (.*)$', metadata, re.MULTILINE) if 'extra ==' not in line]
    assert {str(Requirement(line)) for line in always} == {str(Requirement(r)) for r in requirements}


def test_wheel_works_with_its_requirements_alone(wheel, requirements, tmp_path):
    "Every module imports, and every command is there, with all distributions hidden that msr_nb does not require"
    run('-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--target', tmp_path, wheel, cwd=tmp_path)
    allowed = needed(requirements) | {'msr-nb'}
    blocked = sorted(module for module, names in packages_distributions().items()
                     if not {canonicalize_name(name) for name in names} & allowed)
    assert {'nbdev', 'fastcore', 'execnb', 'ghapi'} <= set(blocked)
    run('-c', ALONE, tmp_path, json.dumps(blocked), cwd=tmp_path)
