"""Chromium without a window, for tests of the site: it opens a page that looks at others, and returns its report."""
import http.server
import json
import shutil
import subprocess
import threading
from functools import partial

import pytest


class Handler(http.server.SimpleHTTPRequestHandler):
    "Serves the site below /deep/down/ and the page that looks at it; takes that page's report"
    def __init__(self, *args, page, report, **kwargs):
        self.page, self.report = page, report
        super().__init__(*args, **kwargs)

    def translate_path(self, path): return super().translate_path(path.removeprefix('/deep/down'))
    def log_message(self, *args): pass

    def do_GET(self):
        if self.path != '/': return super().do_GET()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.page.encode())

    def do_POST(self):
        self.report.append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
        self.send_response(204)
        self.end_headers()
        self.server.reported.set()


def visit(folder, looker, scratch, **values):
    """What the page `looker` reports of the site in `folder`, and what the browser's console says

    `values` are written into that page, as JSON, in place of __THEIR_NAMES__.
    """
    browser = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not browser: pytest.skip('no Chromium here: apt-get install chromium')
    page, report = looker.read_text(encoding='utf-8'), []
    for name, value in values.items(): page = page.replace(f'__{name}__', json.dumps(value))
    handler = partial(Handler, directory=folder, page=page, report=report)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server, open(scratch / 'log', 'w') as log:
        server.reported = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chromium = subprocess.Popen([
            browser, '--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
            f'--user-data-dir={scratch / "profile"}', '--window-size=1400,1000', '--remote-debugging-port=0',
            '--enable-logging=stderr', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
            f'http://127.0.0.1:{server.server_port}/'], stderr=log)
        finished = server.reported.wait(600)  # seconds, for a machine that does much else
        chromium.terminate()
        chromium.wait()
        server.shutdown()
    said = (scratch / 'log').read_text(errors='replace')
    assert finished, said[-2000:]
    return report[0], [line for line in said.splitlines() if 'CONSOLE' in line]
