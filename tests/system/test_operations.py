"""The operations guide: its recipes are run as they stand, and what it says of log lines, metrics and alerts is held against the code."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import sys
import unittest

import docs_example
import log_lines
import weirtest

# What doctor looks at to find its way, or tells of as a gauge that belongs to another one.
NOT_FOR_ACTION = {"weir_cloud_http_connections", "weir_cloud_http_connections_max", "weir_cloud_zmq_connections", "weir_cloud_zmq_connections_max",
                  "weir_edge_source_mqtt_failures_total", "weir_edge_source_scrapes_failed_total", "weir_edge_source_starts_total",
                  "weir_edge_source_failures_total", "weir_cloud_sink_backlog_rows", "weir_cloud_sink_backlog_alerts"}

# What the pages call, where there is no systemd and nobody is root: the daemons of this build, their process ids in files.
SYSTEMCTL = r"""#!{python}
import os, signal, socket, subprocess, sys, time
PROGRAMS = {{"weir-cloudd": {cloudd!r}, "weir-edged": {edged!r}}}

def pid_of(name):
    try:
        with open(name + ".pid") as f:
            pid = int(f.read())
        with open("/proc/%d/stat" % pid) as f:
            return None if f.read().rsplit(")", 1)[1].split()[0] == "Z" else pid
    except (OSError, ValueError):
        return None

def end(name, number):
    pid, until = pid_of(name), time.monotonic() + 60
    if pid:
        os.kill(pid, number)
    while pid_of(name):
        if time.monotonic() > until:
            sys.exit(name + " does not end")
        time.sleep(0.01)

# Until it says that it is ready, as units of Type=notify do.
def start(program, name):
    path, until = os.path.abspath(name + ".notify"), time.monotonic() + 60
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
        said.bind(path)
        said.settimeout(0.1)
        with open(name + ".log", "ab") as log:
            p = subprocess.Popen([program, "--config", "topology.yaml", "--node", name], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True, env=dict(os.environ, NOTIFY_SOCKET=path))
        with open(name + ".pid", "w") as f:
            f.write(str(p.pid))
        ready = False
        while not ready:
            try:
                ready = b"READY=1" in said.recv(4096).splitlines()
            except socket.timeout:
                if p.poll() is not None or time.monotonic() > until:
                    sys.exit(name + " does not get ready")
        os.unlink(path)

action, number = sys.argv[1], signal.SIGTERM
for unit in sys.argv[2:]:
    if unit.startswith("--signal="):
        number = signal.Signals["SIG" + unit.split("=")[1]]
        continue
    kind, _, name = unit.partition("@")
    if action in ("stop", "restart", "kill"):
        end(name, number)
    if action in ("start", "restart"):
        start(PROGRAMS[kind], name)
"""
RUNUSER = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
PATHS = [("/var/lib/", "lib/"), ("/var/backups/", "backups/"), ("/etc/weir/", "")]


class Operated(docs_example.Example):
    """An example whose daemons are services, which the page itself starts and stops."""

    def __init__(self, page):
        super().__init__(page)
        shims = os.path.join(self.dir, "shims")
        for folder in ("lib/weir-cloudd", "lib/weir-edged", "backups", "shims"):
            os.makedirs(os.path.join(self.dir, folder))
        for name, text in (("systemctl", SYSTEMCTL.format(python=sys.executable, cloudd=weirtest.CLOUDD, edged=weirtest.EDGED)),
                           ("runuser", RUNUSER), ("chown", "#!/bin/sh\n")):
            path = os.path.join(shims, name)
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, stat.S_IRWXU)
        self.env["PATH"] = shims + ":" + self.env["PATH"]

    def here(self, text):
        text = super().here(text)
        for path, folder in PATHS:
            text = text.replace(path, folder)
        return text

    def start_daemon(self, program, name, stdin=None):
        kind = "weir-cloudd" if program == weirtest.CLOUDD else "weir-edged"
        r = self.command(f"systemctl start {kind}@{name}")
        assert r.returncode == 0, r.stdout

    def __exit__(self, kind, value, trace):
        for name in os.listdir(self.dir):
            if name.endswith(".pid"):
                with open(os.path.join(self.dir, name)) as f:
                    try:
                        os.kill(int(f.read()), signal.SIGKILL)
                    except (OSError, ValueError):
                        pass
        super().__exit__(kind, value, trace)


@weirtest.slow
class Recipes(unittest.TestCase):
    def test_recovery(self):
        with Operated("docs/operations/recovery.md") as e:
            e.run()

    def test_keys(self):
        with Operated("docs/operations/keys.md") as e:
            e.env.update(WEIR_URL=e.here("https://127.0.0.1:8101"), WEIR_CA_FILE="keys/ca.crt", WEIR_TOKEN_FILE="operator.token")
            e.run_blocks()


class OldCopy(unittest.TestCase):
    def test_doctor_tells_of_one_among_others(self):
        """What recovery.md warns of, and its way out: the others have everything."""
        edge = {"sources": [{"type": "tcp"}], "flush": "200ms", "idle_after": "1s", "tick": "100ms", "heartbeat": "200ms"}
        stream = {"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "compute": ["count"]}
        with weirtest.Cluster(edges={"edge-1": edge}, streams=[stream], cluster={"shards": 4}) as c:
            def send(first):
                with socket.create_connection(("127.0.0.1", c.tcp["edge-1"])) as s:
                    s.sendall("".join(f"m,k=g{i % 20} v=1 {(1700000000 + i) * weirtest.NS}\n" for i in range(first, first + 100)).encode())
                c.wait_count("cloud-1", "s", first + 100)

            def doctor():
                r = c.ctl("doctor", "-o", "json", check=False)
                return r.returncode, {f["check"]: f for f in json.loads(r.stdout)["findings"]}
            c.start()
            send(0)
            node, folder = c.clouds["cloud-3"], os.path.join(c.dir, "run", "cloud-3")
            self.assertEqual(node.stop(), 0)
            shutil.copytree(folder, folder + ".copy")
            node.start()
            send(100)
            c.wait_ready()
            weirtest.wait_for("nothing wrong", lambda: doctor()[0] == 0)
            self.assertEqual(node.stop(), 0)
            shutil.rmtree(folder)
            os.rename(folder + ".copy", folder)
            node.start()
            found = weirtest.wait_for("it is told of", lambda: doctor()[1].get("replica_forgot"))
            self.assertEqual((found["about"], found["severity"]), ("cloud-3", "critical"))
            self.assertEqual(node.stop(), 0)
            shutil.rmtree(folder)
            node.start()
            weirtest.wait_for("nothing wrong again", lambda: doctor()[0] == 0)
            send(200)


def read(path):
    with open(os.path.join(weirtest.ROOT, path), encoding="utf-8") as f:
        return f.read()


def daemons():
    """All of their source."""
    return "".join(read(f"{folder}/{name}") for folder in log_lines.FOLDERS
                   for name in sorted(os.listdir(os.path.join(weirtest.ROOT, folder))) if name.endswith((".c", ".h")))


class Guide(unittest.TestCase):
    """Nothing is missing from the guide, and nothing in it is of the past."""

    def test_log_lines(self):
        page = " ".join(read("docs/operations/log.md").split())
        messages = log_lines.all_messages()
        self.assertGreater(len(messages), 70)
        self.maxDiff = None
        missing = [f"{path}:{line}: {fmt}" for path, line, fmt in messages if log_lines.essence(fmt).replace("`", "") not in page.replace("`", "")]
        self.assertEqual(missing, [], "docs/operations/log.md does not have these")
        said = re.sub(r'"\s+"', "", daemons()).replace("`", "")
        for shown in re.findall(r"^\| (`.*?`(?:, `.*?`)*)(?: of module .*?|, or .*?)? \|", read("docs/operations/log.md"), re.M):
            for text in re.findall(r"`([^`]*)`", shown):
                parts = [p.strip(" :,.;()") for p in text.split("...")]
                best = max(parts, key=len).split(": what was in the spool")[0]
                self.assertTrue(text.startswith("FILE:LINE") or best in said, f"no daemon says: {text}")

    def test_alerts(self):
        rules = re.findall(r"^ +- alert: (\w+)$", read("deploy/observe/rules.yaml"), re.M)
        self.assertGreater(len(rules), 20)
        page = read("docs/operations.md")
        self.assertEqual(sorted(re.findall(r"^### Alert (\w+)$", page, re.M)), sorted(rules))
        for name in rules:
            self.assertIn(f"docs/operations.md#alert-{name.lower()}\n", read("deploy/observe/rules.yaml"))

    def test_metrics(self):
        """Those that an alert or weirctl doctor looks at are all there; each that is there exists."""
        page = read("docs/operations.md")
        watched = set(re.findall(r"\bweir_[a-z_]+\b", "\n".join(re.findall(r"expr:.*?(?=\n +(?:for|labels):)", read("deploy/observe/rules.yaml"), re.S))))
        watched |= set(re.findall(r'"(weir_[a-z_]+)"', read("ctl/doctor_metrics.c") + read("ctl/doctor_sources.c")))
        watched = {re.sub(r"_bucket$", "", m) for m in watched} - NOT_FOR_ACTION
        self.assertEqual(sorted(m for m in watched if m not in page), [])
        code = daemons()
        for metric in set(re.findall(r"`(weir_[a-z_]+)", page)):
            tail = re.sub(r"^weir_(?:edge|cloud)_(?:http|source)_", "", metric)
            self.assertTrue(any(f'"{name}' in code for name in (metric, tail, tail.replace("_total", ""))), f"no daemon has {metric}")

    def test_links(self):
        """Of the guide's pages: files that are there, headings that are there."""
        for path in ["docs/operations.md"] + ["docs/operations/" + n for n in sorted(os.listdir(os.path.join(weirtest.ROOT, "docs/operations")))]:
            for target in re.findall(r"\]\(([^)]+)\)", read(path)):
                file, _, anchor = target.partition("#")
                file = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
                self.assertTrue(os.path.exists(os.path.join(weirtest.ROOT, file)), f"{path}: {target}")
                if anchor:
                    heads = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", read(file), re.M)]
                    self.assertIn(anchor, heads, f"{path}: {target}")


if __name__ == "__main__":
    unittest.main()
