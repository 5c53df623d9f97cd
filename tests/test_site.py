"""The site that .ci/site builds: what its checker finds, what becomes of Quarto's Markdown, the pages in a browser."""
import json
import re
import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import nbformat
import pytest
import yaml
from browser import visit
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / '.ci/site'
loader = SourceFileLoader('ci_site', str(SCRIPT))
site = module_from_spec(spec_from_loader('ci_site', loader))
loader.exec_module(site)


# ---- the checker

def write(folder, body='', css=''):
    "Two pages that are all right, but for what `body` and `css` add"
    (folder / 'a.html').write_text(f'<main><h1 id="top">A</h1><a href="b.html#end">to b</a>{body}</main>')
    (folder / 'b.html').write_text('<a href="a.html">to a</a><img src="dot.png" alt="a dot"><p id="end"></p>')
    (folder / 'dot.png').touch()
    (folder / 'own.css').write_text('body { background: url(dot.png) }' + css)
    return site.check(folder)


@pytest.mark.parametrize('body', [
    '<a href="#top">up</a> <a href="https://example.org/x#y">out</a> <a href="mailto:a@b.org">mail</a>',
    r'<code>\alpha ::: @eq-elbo {#eq-elbo} $x$</code> <math><mi>α</mi></math>',
    'It costs $5 or $6, see a::b and {1, 2}',
    '<img src="data:image/png;base64,AA==" alt="inline">',
])
def test_checker_accepts(tmp_path, body): assert write(tmp_path, body) == []


@pytest.mark.parametrize('body, problem', [
    ('<a href="c.html">c</a>', 'broken link c.html'),
    ('<a href="05_graphs.ipynb">graphs</a>', 'broken link 05_graphs.ipynb'),
    ('<a href="/b.html">b</a>', 'broken link /b.html'),
    ('<a href="b.html#nowhere">b</a>', 'broken anchor b.html#nowhere'),
    ('<a href="#nowhere">here</a>', 'broken anchor #nowhere'),
    ('<img src="gone.png" alt="gone">', 'missing file gone.png'),
    ('<img src="dot.png">', 'no alt text for dot.png'),
    ('<div id="cell-3"><img src="dot.png" alt=" "></div>', 'no alt text for dot.png in #cell-3'),
    (r'so that \alpha > 0', r"raw TeX '\\alpha'"),
    ('so that $x_1$ is', "raw TeX '$x_1$'"),
    ('::: note', "raw Markdown ':::'"),
    ('x = y {#eq-elbo}', "raw Markdown '{#eq-elbo'"),
    ('by @thm-one', "raw Markdown '@thm-one'"),
    ('<script src="https://cdn.org/x.js"></script>', 'external request https://cdn.org/x.js'),
    ('<link rel="stylesheet" href="//cdn.org/x.css">', 'external request //cdn.org/x.css'),
    ('<img src="https://a.org/b.png" alt="b">', 'external request https://a.org/b.png'),
    ('<style>@import "https://a.org/x.css";</style>', 'external request https://a.org/x.css'),
    ('<p style="background: url(https://a.org/b.png)"></p>', 'external request https://a.org/b.png'),
])
def test_checker_finds(tmp_path, body, problem): assert write(tmp_path, body) == [f'a.html: {problem}']


@pytest.mark.parametrize('css', ['@font-face { src: url("https://a.org/f") }', '@import url(https://a.org/f);',
                                 '@import "https://a.org/f";'])
def test_checker_reads_stylesheets(tmp_path, css):
    assert write(tmp_path, css=css) == ['own.css: external request https://a.org/f']


# ---- Quarto's Markdown

PAGE = r'''
By @thm-main and [-@eq-one], as in @fig-curve, @fig-dot and @tbl-values, but not `@thm-main`; a cost of \$5, and $a|b$.

$$
\log u < \frac{1}{2}
$$ {#eq-one}

| $|x|$ | see |
|---|---|
| $y$ | @eq-two |

: The values of $y$ {#tbl-values}

::: {#thm-main}
## The claim

If $x>0$ then
$$y > 0.$$ {#eq-two}
:::

::: {.proof}
By @eq-one.
:::

![A dot, $\pi$](dot.png){#fig-dot}

```tex
$$ x $$ {#eq-code} @eq-one
```

$$z$$ {#eq-three}
'''
CODE = '#| label: fig-curve\n#| fig-cap: "Curve: $z$"\n#| fig-alt: a curve\nplot()'
DOT = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    "PAGE and CODE, as rendered"
    work, out = tmp_path_factory.mktemp('work'), tmp_path_factory.mktemp('out')
    image = nbformat.v4.new_output('display_data', {'image/png': DOT})
    cells = [nbformat.v4.new_raw_cell('---\ntitle: Test\noutput-file: page.html\n---'),
             nbformat.v4.new_markdown_cell(PAGE), nbformat.v4.new_code_cell(CODE, outputs=[image])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), work / '01_page.ipynb')
    (work / '_quarto.yml').write_text('project: {type: website}\nwebsite: {title: T}')
    (work / 'dot.png').touch()
    assert site.render(work, out) + site.check(out) == []
    return BeautifulSoup((out / 'page.html').read_bytes(), 'html.parser')


def test_references_lead_to_numbered_things(page):
    found = [(a.text, a['href']) for a in page.main.find_all('a', href=re.compile('^#(?:eq|fig|tbl|thm)-'))]
    assert found == [('Theorem 1', '#thm-main'), ('1', '#eq-one'), ('Figure 2', '#fig-curve'), ('Figure 1', '#fig-dot'),
                     ('Table 1', '#tbl-values'), ('Equation 2', '#eq-two'), ('Equation 1', '#eq-one')]
    assert all(page.find(id=href[1:]) for _, href in found)


def test_numbers_stand_beside_what_they_number(page):
    numbers = [page.find(id=f'eq-{name}').find('span').text for name in ('one', 'two', 'three')]
    assert numbers == ['(1)', '(2)', '(3)']
    captions = [caption.text.strip() for caption in page.find_all('figcaption')]
    assert captions == ['Table 1: The values of y', 'Figure 1: A dot, π', 'Figure 2: Curve: z']
    assert page.find('img')['alt'] == 'Figure 1: A dot, π'
    theorem = page.find(id='thm-main')
    assert theorem.text.strip().startswith('Theorem 1 (The claim). If') and not theorem.find('h2')
    assert page.find(class_='proof').text.split() == ['Proof.', 'By', 'Equation', '1.']


def test_formulas_are_mathml_and_code_is_left_alone(page):
    assert len(page.find_all('math')) == 10
    assert page.find(id='eq-one').find('mfrac') and page.find('table').find('math')
    assert '$$ x $$ {#eq-code} @eq-one' in page.find('pre').text
    assert '@thm-main' in [code.text for code in page.find_all('code')]


def test_unreadable_formula_is_named():
    formula = r'\frac{', '<span class="math inline">', '</span>'
    with pytest.raises(SystemExit, match=r'\\frac\{'): site.mathml([formula])


# ---- how long a page takes, and code that only draws

def test_minutes_are_those_of_the_rule(tmp_path):
    "200 words and two figures are a minute and a half, and thirty lines of code as much again"
    image = nbformat.v4.new_output('display_data', {'image/png': DOT})
    made = [nbformat.v4.new_markdown_cell('word ' * 200 + '\n\n```sh\nnot read as words\n```'),
            *(nbformat.v4.new_code_cell('#| fig-alt: a dot\nplot()', outputs=[image]) for _ in range(2)),
            nbformat.v4.new_code_cell('x = 1\n\n' * 28), nbformat.v4.new_code_cell('#| hide\n' + 'x = 1\n' * 100)]
    nbformat.write(nbformat.v4.new_notebook(cells=made), tmp_path / 'a.ipynb')
    assert site.minutes(tmp_path / 'a.ipynb') == (1.5, 1.5)


@pytest.mark.parametrize('head, lines, folded', [
    ('#| fig-alt: a dot', 20, True), ('#| fig-alt: a dot', 3, False), ('', 20, False),
    ('#| fig-alt: a dot\n#| code-fold: false', 20, False), ('#| code-fold: true', 3, True),
])
def test_code_that_only_draws_is_folded(head, lines, folded):
    cell = nbformat.v4.new_code_cell(f'{head}\n' * bool(head) + '\n'.join(['plot()'] * lines))
    site.fold(cell)
    assert ('#| code-fold: true' in cell.source) == folded == ('#| code-summary:' in cell.source)


# ---- signatures

@pytest.mark.parametrize('printed, shown', [
    ('recipe:Recipe=Recipe(past=(Stage(lr=.1), Stage()), window=8), # numbers (all)',
     'recipe:Recipe=Recipe(...), # numbers (all)'),
    ('a:A=A(b=B(c=(1, 2))), b:B=B(), c:float=1.0', 'a:A=A(...), b:B=B(), c:float=1.0'),
    ('f:collections.abc.Callable[[torch.Tensor], dict] | None=None, a:NoneType=None',
     'f:Callable[[Tensor], dict] | None=None, a=None'),
    ("at:str='a.B', k:tuple=(1.0, 6.0)", "at:str='a.B', k:tuple=(1.0, 6.0)"),
])
def test_signatures_are_short(printed, shown):
    def markdown(line): return f'---\n\n### f\n\n```python\ndef f(\n    {line}\n):\n```\n\n*g=G(1), torch.Tensor*'
    cell = nbformat.v4.new_code_cell('show_doc(f)', outputs=[nbformat.v4.new_output('display_data', {
        'text/markdown': markdown(printed)})])
    site.shorten(cell)
    assert cell.outputs[0].data['text/markdown'] == markdown(shown)


# ---- the whole site

def test_what_is_checked_is_what_is_deployed():
    workflow = yaml.safe_load((ROOT / '.github/workflows/site.yml').read_text(encoding='utf-8'))
    steps = workflow['jobs']['build']['steps']
    assert '.ci/site _docs' in [step.get('run') for step in steps]
    assert [step['with']['path'] for step in steps if 'upload-pages' in step.get('uses', '')] == ['_docs']


def test_every_notebook_has_a_page(built):
    stems = [path.stem for path in (ROOT / 'nbs').glob('*.ipynb')]
    assert {path.stem for path in built.glob('*.html')} == {re.sub(r'^\d+_', '', stem) for stem in stems}


def test_links_to_the_repository_lead_to_files(built):
    pattern = re.compile(r'href="https://github\.com/msr-nb/msr_nb/(?:blob|tree|edit)/main/([^"#]*)')
    paths = {path for page in built.glob('*.html') for path in pattern.findall(page.read_text(encoding='utf-8'))}
    assert {f'nbs/{path.name}' for path in (ROOT / 'nbs').glob('*.ipynb')} <= paths
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_pages_say_how_long_they_take_and_what_to_know(built):
    routes = site.Routes(ROOT / 'nbs')
    for stem, known in routes.know.items():
        page = BeautifulSoup((built / f'{re.sub(r"^[0-9]+_", "", stem)}.html').read_bytes(), 'html.parser')
        line = page.main.find(class_='reading')
        assert [int(n) for n in re.findall(r'\d+(?= minute| with)', line.text)] == list(routes.minutes(stem))
        before = [f'{re.sub(r"^[0-9]+_", "", k)}.html' for k in known]
        assert [a['href'] for a in line.find_all('a')] == [*before, 'learn.html#run-a-page']
    assert 45 < routes.minutes('ideas')[0] < 75, 'the route of ideas takes about an hour'
    learn = BeautifulSoup((built / 'learn.html').read_bytes(), 'html.parser').main.text
    assert 'minutes 0' not in learn and f"{routes.minutes('ideas')[0]} minutes without the code" in learn


def test_drawing_is_folded_on_the_pages(built):
    graphs = BeautifulSoup((built / 'graphs.html').read_bytes(), 'html.parser')
    folded = graphs.find(id='fig-robot').find('details', class_='code-fold')
    assert folded.summary.text == 'How it is drawn' and not folded.has_attr('open')
    assert not graphs.find(id='fig-simple').find('details')  # two lines, which ask for the figure


def test_no_page_prints_a_whole_recipe(built):
    estimator = BeautifulSoup((built / 'estimator.html').read_bytes(), 'html.parser')
    assert 'recipe:Recipe=Recipe(...)' in estimator.text and 'Stage(name=' not in estimator.text


def test_search_knows_every_page_and_shows_formulas(built):
    entries = json.loads((built / 'search.json').read_text(encoding='utf-8'))
    assert {entry['href'].partition('#')[0] for entry in entries} == {path.name for path in built.glob('*.html')}
    assert not [entry for entry in entries if re.search("[\ue000\ue001]", entry["text"])]


def browse(folder, scratch, patience=10_000):
    """What is wrong with the pages in `folder`, seen by Chromium at two widths and in both colour schemes

    `patience`: milliseconds that the search has to find something
    """
    pages = sorted(path.name for path in folder.glob('*.html'))
    report, console = visit(folder, Path(__file__).with_name('site.html'), scratch, PAGES=pages, PATIENCE=patience)
    return report + console


def test_browser_sees_what_is_wrong(built, tmp_path):
    "Two pages, one of them spoilt in every way, and an empty search index"
    folder = tmp_path / 'folder'
    shutil.copytree(built, folder, ignore=lambda _, names: {n for n in names if n.endswith('.html')} - {'masks.html'})
    page = (folder / 'masks.html').read_text(encoding='utf-8')
    spoilt = """<p style="width: 2000px">wide</p><p style="color: #888; background: #999">faint</p>
        <div style="overflow-x: auto"><table style="width: 2000px"><tr><td>cut</td></tr></table></div>
        <img src="data:image/png;base64,AA=="><script>undefined_name()</script>
        <script src="gone.js"></script><script src="https://example.org/x.js"></script></main>"""
    (folder / 'index.html').write_text(page.replace('</main>', spoilt), encoding='utf-8')
    (folder / 'search.json').write_text('[]')
    found = browse(folder, tmp_path, patience=300)  # there is nothing to find
    assert not [line for line in found if line.startswith('masks.html')]
    for view in ('desktop', 'phone'):
        for scheme in ('default', 'alternate'):
            first = (view == 'desktop') == (scheme == 'default')  # where it was loaded, colours were looked at
            where = f'index.html, {view}, {scheme}: '
            mine = [re.sub(r'\d\.\d+', 'N', line.removeprefix(where)) for line in found if line.startswith(where)]
            assert sorted(line for line in mine if 'table' not in line) == [
                'asks for https://example.org/x.js', *['contrast N of "faint"'] * first, 'misses /deep/down/gone.js',
                'no picture in <img src="data:image/png;base64,AA==">', 'sticks out: <p style="width: 2000px">wide</p>']
            assert any(line.startswith('a table hides') for line in mine) == (view == 'desktop')  # a phone scrolls
            assert f'search, {view}, {scheme}: search does not find the mask' in found
    assert any('undefined_name is not defined' in line for line in found)


def test_pages_in_a_browser(built, tmp_path):
    "Nothing is logged, nothing too wide, all is readable, and the search finds"
    assert browse(built, tmp_path) == []
