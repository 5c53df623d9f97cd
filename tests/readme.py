"""README.md from nbs/index.ipynb (nbdev_readme needs a program that pip cannot install): python tests/readme.py"""
import posixpath
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
INDEX, README = ROOT / 'nbs/index.ipynb', ROOT / 'README.md'
NOTE = '<!-- Made from nbs/index.ipynb by `python tests/readme.py`: edit the notebook. -->\n\n'
DIRECTIVE = re.compile(r'^#\|.*\n?', re.MULTILINE)
RELATIVE_LINK = re.compile(r'(\]\(|(?:src|href)=")(?![a-z]+:|[/#])([^)"\s]+)')


def from_root(link: re.Match) -> str:
    "A link that works from nbs/, as one that works from the root, where a code host shows the README"
    return link[1] + posixpath.normpath(posixpath.join(INDEX.parent.name, link[2]))


def shown_alone(cell):
    "The Markdown that a cell printed, without the cell"
    return nbformat.v4.new_markdown_cell('\n\n'.join(out.data['text/markdown'] for out in cell.outputs))


def readme(
    index: Path = INDEX,  # notebook to convert
) -> str:  # Markdown
    "The text of README.md: hidden cells and directives are dropped, links are made to start at the root"
    nb = nbformat.read(index, as_version=4)
    nb.cells = [cell for cell in nb.cells if not re.match(r'#\|\s*hide\b', cell.source)]
    nb.cells = [shown_alone(cell) if re.match(r'#\|\s*echo: false', cell.source) else cell for cell in nb.cells]
    for cell in nb.cells:
        if cell.cell_type == 'code': cell.source = DIRECTIVE.sub('', cell.source)
    nb.metadata['language_info'] = {'name': 'python'}  # nbdev_clean removes it; the exporter colours code by it
    text, resources = MarkdownExporter().from_notebook_node(nb)
    if figures := sorted(resources['outputs']):
        raise ValueError(f'{index.name} stores figures {figures}; link files in nbs/images instead')
    text = re.sub(r'\n{3,}```', '\n\n```', text.strip())
    return NOTE + RELATIVE_LINK.sub(from_root, text) + '\n'


if __name__ == '__main__':
    README.write_text(readme(), encoding='utf-8')
    print(f'wrote {README}')
