"""Runs what a page of docs/ shows, so that it cannot go stale.

A page holds fenced blocks; those with an info string count, the others are only text:

    yaml        the topology (the first one, which begins with `version:`), written as topology.yaml; each further one is a file
                whose name its first line has as a comment: `# prometheus.yml`
    file NAME   a file of that name in the folder
    sh          run with bash -e in that folder, in the page's order, once the daemons are up; weirctl, edged and cloudd are on the PATH
    sh before   the same, run before the daemons are started: keys, for example
    text        behind a sh block: what that prints in the end. It is run again until it does, so it must only ask

Addresses of this machine (127.0.0.1:PORT) become free ones, the same one everywhere on the page, also where a block or its output
only has the PORT of one of them as a word. A page that lies beside its files (those of deploy/examples) has them copied into the folder first."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile

import weirtest
from weirtest import wait_for

FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.M | re.S)
ADDRESS = re.compile(r"127\.0\.0\.1:(\d{2,5})\b")


def blocks(page):
    """(info string, text) of each fenced block of a page, a path from the root of the repository."""
    with open(os.path.join(weirtest.ROOT, page), encoding="utf-8") as f:
        return [(m.group(1).strip(), m.group(2)) for m in FENCE.finditer(f.read())]


class Example:
    """with Example("docs/sources/tcp.md") as e: e.run(). Between start() and run_blocks() a test may start the other side; self.dir is
    the folder, self.port[NUMBER OF THE PAGE] the port that stands for it. ports: of what listens already. beside: the page's folder comes
    with it."""

    def __init__(self, page, environment=None, ports=None, beside=False):
        self.page, self.blocks = page, blocks(page)
        self.dir = tempfile.mkdtemp(prefix="weir-test-")
        self.port = dict(ports or {})
        self.daemons = []
        files = self._copy_beside() if beside else {}
        texts = "".join([*files.values(), *(text for _, text in self.blocks)])
        for number in ADDRESS.findall(texts):
            self.port.setdefault(number, str(weirtest.free_port()))
        # python3 of a page is the one that runs the tests, which has the packages; another one may come first on the PATH.
        folders = [os.path.dirname(p) for p in (weirtest.WEIRCTL, weirtest.EDGED, weirtest.CLOUDD, sys.executable)]
        self.env = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {}),
                    "PATH": ":".join(folders) + ":" + os.environ.get("PATH", "/usr/bin:/bin")}
        self.topology = os.path.join(self.dir, "topology.yaml")
        self.nodes = {}  # name -> program
        for path, text in files.items():
            with open(path, "w") as f:
                f.write(self.here(text))
        for info, text in self.blocks:
            self._keep(info, self.here(text))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for name, process in self.daemons:
            if process.poll() is None:
                process.kill()
            process.wait()
        if kind is not None:
            self._tell_logs()
        if not os.environ.get("WEIR_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def _tell_logs(self):
        """Of the daemons, and of what the page itself started."""
        codes = {name + ".log": f" (exit {process.returncode})" for name, process in self.daemons}
        for name in sorted(n for n in os.listdir(self.dir) if n.endswith(".log")):
            with open(os.path.join(self.dir, name), errors="replace") as f:
                print(f"--- {name}{codes.get(name, '')}\n" + "".join(f.readlines()[-15:]))

    def here(self, text):
        """The text of a page with this run's ports."""
        text = ADDRESS.sub(lambda m: "127.0.0.1:" + self.port[m.group(1)], text)
        for number, port in self.port.items():
            text = re.sub(rf"(?<![\d.:]){number}(?!\d)", port, text)
        return text

    def _copy_beside(self):
        """{path of a copy: its text}"""
        shutil.copytree(os.path.dirname(os.path.join(weirtest.ROOT, self.page)), self.dir, dirs_exist_ok=True)
        texts = {}
        for at, _, names in os.walk(self.dir):
            for path in (os.path.join(at, name) for name in names):
                with open(path) as f:
                    texts[path] = f.read()
        return texts

    def _keep(self, info, text):
        name = None
        if info == "yaml" and text.startswith("version:"):
            name = "topology.yaml"
        elif info == "yaml" and text.startswith("# "):
            name = text.split("\n", 1)[0][2:].strip()
        elif info.startswith("file "):
            name = info[5:].strip()
        if name:
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)

    def start(self, edges=True):
        """All daemons of the topology; returns when they answer. With keys, the page makes them, and the environment says which token is
        shown (WEIR_TOKEN_FILE)."""
        self.must("weirctl check topology.yaml")
        for info, text in self.blocks:
            if info == "sh before":
                self.must(self.here(text))
        with open(self.topology) as f:
            text = f.read()
        keys = re.search(r"\bsecurity: *\{keys: *([^ }]+)\}", text)
        if keys:
            self.env["WEIR_CA_FILE"] = os.path.join(self.dir, keys.group(1), "ca.crt")
        clouds, edge_part = text.split("\nedges:")[0], text.split("\nedges:")[1].split("\nstreams:")[0]
        http = re.search(r"http: \"?(127\.0\.0\.1:\d+)", clouds).group(1)
        self.env["WEIR_URL"] = ("https://" if keys else "") + http
        for name in re.findall(r"^ +- +\{?name: ([\w.-]+)", clouds, re.M):
            self.start_daemon(weirtest.CLOUDD, name)
        for name in re.findall(r"^ {2}- +\{?name: ([\w.-]+)", edge_part, re.M) if edges else []:
            self.start_daemon(weirtest.EDGED, name)
        wait_for(f"{self.page}: the cluster", lambda: self.answers(http, "/readyz"))
        for address in re.findall(r"^ {4}http: \"?(127\.0\.0\.1:\d+)", edge_part, re.M) if edges else []:
            wait_for(f"{self.page}: the edge", lambda a=address: self.answers(a, "/healthz"))

    def answers(self, address, path):
        if "WEIR_CA_FILE" not in self.env:
            return weirtest.http_get(f"http://{address}{path}")
        with open(os.path.join(self.dir, self.env["WEIR_TOKEN_FILE"])) as f:
            token = f.read().strip()
        return weirtest.http_get(f"https://{address}{path}", token=token, context=ssl.create_default_context(cafile=self.env["WEIR_CA_FILE"]))

    def start_daemon(self, program, name, stdin=subprocess.DEVNULL):
        with open(os.path.join(self.dir, name + ".log"), "ab") as log:
            self.daemons.append((name, subprocess.Popen([program, "--config", self.topology, "--node", name], stdin=stdin,
                                                        stdout=log, stderr=log, cwd=self.dir, env=self.env)))
        return self.daemons[-1][1]

    def command(self, text):
        return subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text], cwd=self.dir, env=self.env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)

    def must(self, text):
        r = self.command(text)
        assert r.returncode == 0, f"{self.page}: `{text.strip()}` ended with {r.returncode}: {r.stdout}"

    def run_blocks(self):
        shown = [(info, self.here(text)) for info, text in self.blocks]
        ran = 0
        for i, (info, text) in enumerate(shown):
            if info != "sh":
                continue
            ran += 1
            if i + 1 < len(shown) and shown[i + 1][0] == "text":
                self._expect(text, shown[i + 1][1])
                continue
            self.must(text)
        assert ran, f"{self.page} shows nothing to run"

    def _expect(self, text, output):
        def lines(s):
            return [line.rstrip() for line in s.strip().splitlines()]

        last = []

        def same():
            last[:] = lines(self.command(text).stdout)
            return last == lines(output)
        try:
            wait_for("its output", same)
        except AssertionError:
            raise AssertionError(f"{self.page}: `{text.strip()}` prints\n" + "\n".join(last) + "\nand not\n" + output) from None

    def run(self):
        self.start()
        self.run_blocks()
