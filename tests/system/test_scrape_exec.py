"""The sources prometheus and exec against what they are for: Debian's node exporter and Prometheus' own metrics, scraped, restarted and
misbehaving; programs that print, crash, hang and leave others behind."""

import base64
import gzip
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import unittest

import docs_example
from weirtest import NS, Cluster, edge_ledger, free_port, http_get, metric_sum, wait_for

NODE_EXPORTER = shutil.which("prometheus-node-exporter")
PROMETHEUS = shutil.which("prometheus")
FAST = {"heartbeat": "300ms", "tick": "100ms", "flush": "300ms", "idle_after": "1s"}


def stream(name, measurement, by, compute, **more):
    return dict({"name": name, "from": {"measurement": measurement, "field": "value"}, "by": by, "window": "1s", "lateness": "1s",
                 "compute": compute}, **more)


def values(c, name, *columns, **params):
    """{group as a tuple: [values of the rows, in their order]}"""
    out = {}
    for row in c.query("cloud-1", name, **params)["rows"]:
        out.setdefault(tuple(row["group"].values()), []).append(tuple(row["values"][k] for k in columns))
    return out


class Process:
    """The other side: started by the test, stopped by process id."""

    def __init__(self, folder, name, *command):
        self.log = os.path.join(folder, name + ".log")
        self.command, self.folder = command, folder
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Exporter(http.server.ThreadingHTTPServer):
    """An exporter of ours, for what a good one does not do: answers[PATH] is a function of the request."""
    daemon_threads = True

    def __init__(self, answers):
        self.answers, self.asked = answers, []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # who goes away in the middle of an answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.answers[self.path](self)

    def answer(self, body, status=200, kind="text/plain; version=0.0.4", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def text(body, **more):
    return lambda h: h.answer(body.encode(), **more)


class Scrape(unittest.TestCase):
    @unittest.skipUnless(NODE_EXPORTER and PROMETHEUS, "prometheus-node-exporter and prometheus are not installed")
    def test_real_exporters_and_a_restart(self):
        ports = [free_port(), free_port()]
        sources = [{"type": "prometheus", "name": "node", "url": f"http://127.0.0.1:{ports[0]}/metrics", "every": "200ms",
                    "include": ["node_load*", "node_cpu_seconds_total"], "exclude": ["node_load5"]},
                   {"type": "prometheus", "name": "prom", "url": f"http://127.0.0.1:{ports[1]}/metrics", "every": "200ms"}]
        streams = [stream("up", "up", ["job"], ["count", "min", "max"]), stream("load", "node_load*", ["instance"], ["count", "last"]),
                   stream("cpu", "node_cpu_seconds_total", ["mode", "cpu"], ["last"]),
                   stream("buckets", "prometheus_http_response_size_bytes_bucket", ["le", "handler"], ["last"]),
                   stream("info", "prometheus_build_info", ["version"], ["last"])]
        with Cluster(clouds=1, edges={"edge-1": dict(FAST, sources=sources)}, streams=streams) as c, \
                Process(c.dir, "exporter", NODE_EXPORTER, f"--web.listen-address=127.0.0.1:{ports[0]}",
                        "--collector.disable-defaults", "--collector.loadavg", "--collector.cpu") as exporter, \
                Process(c.dir, "prometheus", PROMETHEUS, f"--web.listen-address=127.0.0.1:{ports[1]}",
                        "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus") as prometheus:
            with open(os.path.join(c.dir, "prometheus.yml"), "w") as f:
                f.write("scrape_configs: []\n")
            exporter.start()
            prometheus.start()
            for port in ports:  # else a scrape before that fails
                wait_for("who is scraped", lambda p=port: http_get(f"http://127.0.0.1:{p}/metrics"))
            c.start()
            wait_for("both are up", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_scrape_targets_up") == 2)
            said = {}
            for line in http_get(f"http://127.0.0.1:{ports[0]}/metrics").splitlines():
                if line.startswith("node_cpu_seconds_total{"):
                    said[line.split('mode="')[1].split('"')[0], line.split('cpu="')[1].split('"')[0]] = float(line.split()[-1])

            # What Weir has is what the exporter says, for each of its series.
            def same_series():
                got = values(c, "cpu", "last")
                return got.keys() == said.keys() and all(rows[-1][0] >= said[k] for k, rows in got.items())
            wait_for("all series, past what was said then", same_series)
            self.assertEqual(set(values(c, "load", "last")), {(f"127.0.0.1:{ports[0]}",)})
            wait_for("histograms of Prometheus itself", lambda: "+Inf" in {k[0] for k in values(c, "buckets", "last")})
            self.assertEqual([len(k[0]) > 3 for k in values(c, "info", "last")], [True])
            # A filtered one is no reading at all.
            self.assertGreater(metric_sum(c.metrics("edge-1"), "weir_edge_source_samples_filtered_total", source="node"), 0)

            exporter.stop()
            wait_for("it is seen to be down", lambda: ("node",) in values(c, "up", "min") and
                     (0,) in values(c, "up", "min")[("node",)])
            exporter.start()
            wait_for("it is up again", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_scrape_targets_up") == 2)
            # A value of NaN (a summary without observations) is refused by its reason, and the sums hold.
            edge_ledger(c, "edge-1")
            log = c.edges["edge-1"].log()
            said = [re.findall(rf'msg="{what}.*source=node', log) for what in ("cannot scrape", "scraped again")]
            self.assertTrue(len(said[0]) == len(said[1]) >= 1, log)
            if "no whole answer within 200ms" not in log:  # which a machine that stands still makes of any scrape
                self.assertEqual((log.count('msg="cannot scrape'), log.count('msg="scraped again"')), (1, 1), log)
                self.assertEqual(min(values(c, "up", "min")[("prom",)]), (1,))
            self.assertNotIn("line refused", log)

            # kill -9: what was committed is counted once, and it goes on.
            before = values(c, "up", "count")[("prom",)]
            c.edges["edge-1"].kill()
            c.edges["edge-1"].start()
            wait_for("it goes on", lambda: len(values(c, "up", "count")[("prom",)]) > len(before))
            self.assertLessEqual(max(n for n, in values(c, "up", "count")[("prom",)]), 6)

    def test_exporters_that_misbehave(self):
        release = threading.Event()
        body = 'good{a="1"} 1\nnan NaN\nbad{ 1\nlast 2\n'

        def slow(h):
            release.wait(60)
            h.close_connection = True

        def cut(h):
            h.send_response(200)
            h.send_header("Content-Length", "1000")
            h.end_headers()
            h.wfile.write(b"cut 1\n")
            h.close_connection = True

        def packed(h):
            assert "gzip" in h.headers["Accept-Encoding"]
            h.answer(gzip.compress(body.encode()), Content_Encoding="gzip")

        def redirect(h):
            h.answer(b"", status=302, Location="/good")

        def around(h):
            h.answer(b"", status=302, Location="/around")

        def secret(h):
            fine = h.headers["Authorization"] == "Bearer s3cret"
            h.answer(b"secret 1\n" if fine else b"", status=200 if fine else 401)

        told = []  # what a stranger that an exporter sends us to is told

        def stranger(h):
            told.append(h.headers["Authorization"])
            h.answer(b"elsewhere 1\n")

        def elsewhere(h):
            h.answer(b"", status=302, Location=other.url + "/stranger")

        def user(h):
            fine = h.headers["Authorization"] == "Basic " + base64.b64encode(b"me:s3cret").decode()
            h.answer(b"user 1\n" if fine else b"", status=200 if fine else 401)
        answers = {"/good": text(body), "/slow": slow, "/cut": cut, "/gzip": packed, "/redirect": redirect, "/around": around,
                   "/secret": secret, "/elsewhere": elsewhere, "/user": user, "/html": text("html 1\n", kind="text/html"),
                   "/large": text("large 1\n" * 1000), "/bomb": lambda h: h.answer(gzip.compress(b"bomb 1\n" * 100000),
                                                                                   Content_Encoding="gzip"),
                   "/open": text("open 1 1700000000.5\n# EOF\n", kind="application/openmetrics-text; version=1.0.0"),
                   "/half": text("half 1\n", kind="application/openmetrics-text; version=1.0.0"), "/500": text("", status=500)}
        good = ["/good", "/gzip", "/redirect", "/secret", "/elsewhere", "/user", "/open"]
        with Exporter(answers) as x, Exporter({"/stranger": stranger}) as other:
            sources = []
            for path in answers:
                s = {"type": "prometheus", "name": path[1:], "url": x.url + path, "every": "500ms", "timeout": "400ms",
                     "body_limit": "4KiB", "honor_timestamps": False}
                if path in ("/secret", "/elsewhere"):
                    s["token_file"] = "secret"
                if path == "/user":
                    s.update(user="me", password_file="secret")
                sources.append(s)
            with Cluster(clouds=1, edges={"edge-1": dict(FAST, sources=sources)},
                         streams=[stream("up", "up", ["job"], ["count", "max"]), stream("all", "*", ["job"], ["count"])]) as c:
                with open(os.open(os.path.join(c.dir, "secret"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                    f.write("s3cret\n")
                c.start()

                def of(m, what, path):
                    return metric_sum(m, "weir_edge_source_" + what, source=path[1:])

                def asked_often():
                    m = c.metrics("edge-1")
                    return all(of(m, "scrapes_total", path) >= 2 and of(m, "scrape_targets_up", path) == (path in good) for path in answers) and m
                m = wait_for("each was scraped twice, and the good ones answer", asked_often)
                for path in answers:
                    scrapes, failed = of(m, "scrapes_total", path), of(m, "scrapes_failed_total", path)
                    if path not in good:
                        self.assertEqual(failed, scrapes, path)
                    extra = {"/good": 2, "/gzip": 2, "/redirect": 2}.get(path, 1)
                    # Up and its like, and what it gave, where a busy machine let it.
                    self.assertEqual(of(m, "lines_total", path), 3 * scrapes + extra * (scrapes - failed), path)
                refused = {dict(ls)["reason"]: v for (n, ls), v in m.items() if n == "weir_edge_readings_refused_total"}
                self.assertEqual(refused["not_finite"], refused["bad_tag"])
                edge_ledger(c, "edge-1")
                log = c.edges["edge-1"].log()
                self.assertNotIn("s3cret", log)
                self.assertEqual(set(told), {None})
                self.assertNotIn("not_finite", log)
                self.assertIn("no whole answer within 400ms", log)
                wait_for("what failed is told of", lambda: set(values(c, "up", "max")) == {(p[1:],) for p in answers})
                release.set()


class Doctor(unittest.TestCase):
    def test_sources_that_cannot_read_are_named(self):
        """An exporter's key that is not there (the edge starts all the same), a broker that is away, a program that fails; and no more
        once it is over: the key that comes later is taken."""
        def secret(h):
            fine = h.headers["Authorization"] == "Bearer s3cret"
            h.answer(b"m 1\n" if fine else b"", status=200 if fine else 401)
        with Exporter({"/metrics": secret}) as x:
            sources = [{"type": "prometheus", "name": "keyed", "url": x.url + "/metrics", "every": "200ms", "token_file": "token"},
                       {"type": "mqtt", "name": "away", "broker": f"mqtt://127.0.0.1:{free_port()}", "topics": [{"filter": "a/#", "format": "line"}]},
                       {"type": "exec", "name": "fails", "command": ["/bin/false"], "restart": {"min": "20s", "max": "20s"}},
                       {"type": "exec", "name": "fine", "command": ["/bin/echo", "m value=1"], "every": "200ms"}]
            with Cluster(clouds=1, edges={"edge-1": dict(FAST, sources=sources)}, streams=[stream("s", "m", ["job"], ["count"])]) as c:
                c.start()

                edge_token = []
                if c.is_secure():  # the cloud's token is not for edges
                    def refused():
                        found = json.loads(c.ctl("-o", "json", "doctor", check=False).stdout)["findings"]
                        return [f["text"] for f in found if f["check"] == "edge_http"]
                    self.assertIn("unauthorized", wait_for("the edge is heard", refused)[0])
                    edge_token = ["--edge-token-file", c.token_file]

                def named():
                    found = json.loads(c.ctl("-o", "json", "doctor", *edge_token, check=False).stdout)["findings"]
                    self.assertEqual([f for f in found if f["check"] == "edge_http"], [])
                    return {f["about"]: f for f in found if f["check"] == "source_failing"}
                all_three = {"edge-1, source keyed (prometheus)", "edge-1, source away (mqtt)", "edge-1, source fails (exec)"}
                found = wait_for("they are named", lambda: (lambda f: f if set(f) == all_three else None)(named()))
                self.assertEqual({f["severity"] for f in found.values()}, {"warning"})
                self.assertIn("1 of its 1 URLs", found["edge-1, source keyed (prometheus)"]["text"])
                self.assertIn("cannot scrape", c.edges["edge-1"].log())
                self.assertEqual(x.asked, [])  # nothing is asked without the key
                with open(os.open(os.path.join(c.dir, "token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                    f.write("s3cret\n")
                wait_for("the key is taken", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_source_scrape_targets_up") == 1)
                wait_for("the others alone are named", lambda: set(named()) == all_three - {"edge-1, source keyed (prometheus)"})
                self.assertNotIn("s3cret", c.edges["edge-1"].log())
                c.edges["edge-1"].kill()  # not heard for less than a minute: not known to be away, and it does not answer

                def silent():
                    found = json.loads(c.ctl("-o", "json", "doctor", check=False).stdout)["findings"]
                    return [(f["check"], f["about"], f["severity"]) for f in found if f["check"] in ("edge_http", "source_failing")]
                wait_for("its silence to be told", lambda: silent() == [("edge_http", "edge-1", "note")])


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [int(x) for x in f.read().split()]


class Exec(unittest.TestCase):
    def test_a_program_that_crashes_and_comes_back(self):
        # Each run goes on after what the last one said; it dies by another means each time, the last one within a line.
        script = r'''
import os, signal, sys
t0 = %d
n = int(open("n").read()) if os.path.exists("n") else 0
print("run", n, "; level=error", file=sys.stderr)
for i in range(100):
    print("m,run=%%d value=%%d %%d" %% (n, i, t0 + n * %d + i))
sys.stdout.flush()
open("n", "w").write(str(n + 1))
if n == 0:
    sys.exit(3)
if n == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if n == 2:
    sys.stdout.write("m,run=2 value=1"); sys.stdout.flush(); os.abort()
if n == 3:
    sys.stdout.write("m,run=3 value=100 %%d" %% (t0 + 3 * %d + 100)); sys.exit(0)
while True:
    signal.pause()
''' % (1_700_000_000 * NS, NS, NS)
        sources = [{"type": "exec", "name": "p", "command": ["/usr/bin/python3", "./p.py"], "restart": {"min": "20ms", "max": "200ms"}}]
        with Cluster(clouds=1, edges={"edge-1": dict(FAST, sources=sources)}, streams=[stream("s", "m", ["run"], ["count"])]) as c:
            os.makedirs(os.path.join(c.dir, "run", "edge-1"))
            with open(os.path.join(c.dir, "run", "edge-1", "p.py"), "w") as f:
                f.write(script)
            c.start()
            c.wait_count("cloud-1", "s", 501)
            self.assertEqual({k[0]: sum(n for n, in v) for k, v in values(c, "s", "count").items()},
                             {"0": 100, "1": 100, "2": 100, "3": 101, "4": 100})
            m = c.metrics("edge-1")
            self.assertEqual(metric_sum(m, "weir_edge_source_failures_total"), 3)
            self.assertEqual(metric_sum(m, "weir_edge_source_starts_total"), 5)
            self.assertEqual(metric_sum(m, "weir_edge_readings_refused_total", reason="truncated"), 1)
            self.assertEqual(edge_ledger(c, "edge-1")["refused"], 1)
            log = c.edges["edge-1"].log()
            for text in ("exit code 3", "signal 9", "signal 6", "the program says: run 0 , level=error"):
                self.assertIn(text, log)
            c.stop()

    def test_nothing_stays_behind(self):
        script = 'sleep 1000 & echo $$ $! >> pids; echo "m value=1 1700000000000000000"; wait'
        stubborn = "trap '' TERM; echo $$ >> stubborn; while :; do sleep 1000; done"
        sources = [{"type": "exec", "name": "a", "command": ["sh", "-c", script]},
                   {"type": "exec", "name": "b", "command": ["sh", "-c", stubborn], "grace": "300ms"}]
        with Cluster(clouds=1, edges={"edge-1": dict(FAST, sources=sources)}, streams=[stream("s", "m", [], ["count"])]) as c:
            edge, folder = c.edges["edge-1"], os.path.join(c.dir, "run", "edge-1")

            def started(times):
                wait_for("both run", lambda: len(pids(os.path.join(folder, "pids"))) == 2 * times and
                         len(pids(os.path.join(folder, "stubborn"))) == times)

            def gone():
                all_of_them = pids(os.path.join(folder, "pids")) + pids(os.path.join(folder, "stubborn"))
                wait_for("nothing of it is there", lambda: not any(alive(p) for p in all_of_them))
            c.start()
            started(1)
            edge.kill()
            gone()
            edge.start()
            started(2)
            self.assertEqual(edge.stop(), 0)
            gone()
            edge.start()
            started(3)
            # Taken out of the topology while running.
            c.spec["edges"][0]["sources"] = []
            c.write_config()
            edge.signal(signal.SIGHUP)
            c.ctl("apply", c.config, "--yes")
            gone()
            # Back by the cluster's topology alone: this machine's own file does not name it.
            c.spec["edges"][0]["sources"] = sources
            other = os.path.join(c.dir, "other.yaml")
            with open(other, "w") as f:
                json.dump(c.spec, f)
            c.ctl("apply", other, "--yes")
            wait_for("it refuses to run that", lambda: "--allow-exec" in edge.log())
            self.assertEqual(len(pids(os.path.join(folder, "pids"))), 6)


class Pages(unittest.TestCase):
    @unittest.skipUnless(NODE_EXPORTER, "prometheus-node-exporter is not installed")
    def test_prometheus(self):
        with docs_example.Example("docs/sources/prometheus.md") as e:
            try:
                e.run()
            finally:
                e.command("kill $(cat exporter.pid)")

    def test_exec(self):
        with docs_example.Example("docs/sources/exec.md") as e:
            e.run()
