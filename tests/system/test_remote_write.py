"""Results to a stock Prometheus by remote write: every final window once and with the numbers of weirctl query, native histograms, and
what it refuses."""

import base64
import contextlib
import http.client
import http.server
import json
import os
import random
import re
import shutil
import ssl
import subprocess
import threading
import unittest
import urllib.request

import docs_example
from prometheus import Prometheus, needed, wanted
from test_failover import wait_led
from test_sinks import T0, cluster, secret_file, sink_sum
from weirtest import NS, free_port, parse_time, wait_for

FLAGS = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"]
FUNCTIONS = ["count", "sum", "mean", "max", "p50", "p99"]
START_S = T0 // NS


def sink(port, **more):
    return dict({"name": "prom", "type": "remote_write", "url": f"http://127.0.0.1:{port}/api/v1/write"}, **more)


def remote(sinks, **more):
    c = cluster(sinks, **more)
    c.spec["streams"][0]["compute"] = FUNCTIONS
    c.write_config()
    return c


def one(sinks):
    return remote(sinks, clouds=1, cluster={"replicas": 1})


def feed(c, first_s, end_s, extra=""):
    """30 readings a second for each of five groups, over some magnitudes: whole windows, and nothing of another."""
    rng = random.Random(first_s)
    lines = [f"m,k=g{k} v={rng.lognormvariate(k, 1.5)!r} {T0 + s * NS + i * (NS // 30)}\n" for s in range(first_s, end_s) for i in range(30)
             for k in range(5)]
    with open(os.path.join(c.dir, "in.lp"), "a") as f:
        f.write("".join(lines) + extra)


def rows_of(c, node):
    return json.loads(c.ctl("query", "s", "--state", "final", "--select", ",".join(FUNCTIONS), "-o", "json", node=node).stdout)["rows"]


def differ(p, rows, labels=()):
    """{(group, end)} of which Prometheus has other numbers, or none; and nothing that is not in the rows."""
    out = set()
    for fn in FUNCTIONS:
        want, have = wanted(rows, fn, labels), p.range(f"weir:s:{fn}", START_S, START_S + 300, 10)
        for of in set(want) | set(have):
            for t in set(want.get(of, {})) | set(have.get(of, {})):
                if want.get(of, {}).get(t) != have.get(of, {}).get(t):
                    out.add((dict(of)["k"], t))
    return out


def revised(rows):
    return {(r["group"]["k"], parse_time(r["end"]) / NS) for r in rows if r["revision"] > 1}


def delivered(c, p, node, windows, labels=()):
    """Waits until all these windows of five groups are there; a machine that stood still may have had readings late, which is
    told by the revision, and a sample that Prometheus has stays as it is."""
    last = []

    def equal():
        rows = rows_of(c, node)
        last[:] = [len(rows), sorted(differ(p, rows, labels) - revised(rows))[:5]]
        return len(rows) == 5 * windows and not last[1] and rows
    try:
        return wait_for(f"{windows} windows in Prometheus", equal)
    except AssertionError as e:
        raise AssertionError(f"{e}; rows, differ: {last}") from None


class Gate:
    """What stands before a Prometheus: takes a token, answers as it is told, else passes on. answers: of the next requests, each a
    (status, headers), or "lost": passed on, and then the connection breaks."""

    def __init__(self, to, token):
        self.to, self.token, self.answers, self.seen, self.problems = to, token, [], [], []
        self.lock = threading.Lock()
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536  # an answer is one packet

            def do_POST(self):
                gate.take(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def restart(self, answers):
        with self.lock:
            self.answers[:], self.seen[:] = answers, []

    def next_answer(self, given):
        with self.lock:
            answer = self.answers.pop(0) if self.answers else None
            if given.get("Authorization") != "Bearer " + self.token:
                answer = (401, {})
            self.seen.append(answer)
        return answer

    def take(self, request):
        body, given = request.rfile.read(int(request.headers["Content-Length"])), request.headers
        for name, value in (("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy"), ("X-Scope-OrgID", "plant"),
                            ("X-Prometheus-Remote-Write-Version", "0.1.0")):
            if given.get(name) != value:
                self.problems.append(f"no {name}: {given}")
        answer = self.next_answer(given)
        if answer and answer != "lost":
            self.answer(request, answer[0], answer[1], b"no\n")
            return
        c = http.client.HTTPConnection("127.0.0.1", self.to, timeout=30)
        c.request("POST", request.path, body, {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
        r = c.getresponse()
        text = r.read()
        c.close()
        if answer == "lost":
            request.close_connection = True
            request.connection.close()
        else:
            self.answer(request, r.status, {}, text)

    @staticmethod
    def answer(request, status, headers, text):
        with contextlib.suppress(OSError):
            request.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(text)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Guarded(Prometheus):
    """With TLS and a password, by --web.config.file."""
    USER, PASSWORD = "weir", "open sesame"
    HASH = "$2b$05$1viVqZRYzDHue4xwHoMzf.STw13RexpYQFhANTbzIsNCv7wMoB4LS"  # bcrypt of that

    def __init__(self, folder, port):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "prom.key",
                        "-out", "prom.crt", "-days", "2", "-subj", "/CN=prometheus", "-addext", "subjectAltName=IP:127.0.0.1"],
                       cwd=folder, check=True, capture_output=True)
        self.context = ssl.create_default_context(cafile=os.path.join(folder, "prom.crt"))
        web = os.path.join(folder, "web.yml")
        with open(web, "w") as f:
            f.write(f"tls_server_config: {{cert_file: {folder}/prom.crt, key_file: {folder}/prom.key}}\n"
                    f"basic_auth_users: {{{self.USER}: '{self.HASH}'}}\n")
        super().__init__(folder, "", flags=[*FLAGS, f"--web.config.file={web}"], port=port)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def get(self, path):
        password = base64.b64encode(f"{self.USER}:{self.PASSWORD}".encode()).decode()
        request = urllib.request.Request(self.url + path, headers={"Authorization": "Basic " + password})
        with urllib.request.urlopen(request, timeout=30, context=self.context) as r:
            return r.read().decode()


@needed
class RemoteWrite(unittest.TestCase):
    def check_histograms(self, p, rows):
        """The p99 that Prometheus makes of the native histogram, and Weir's own: both are of the same bucket."""
        count, total = (p.range(f"histogram_{what}(weir:s)", START_S, START_S + 300, 10) for what in ("count", "sum"))
        quantile = {q: p.range(f"histogram_quantile({q}, weir:s)", START_S, START_S + 300, 10) for q in (0.5, 0.99)}
        worst = 0
        for r in rows:
            of, t = (("k", r["group"]["k"]),), parse_time(r["end"]) / NS
            self.assertEqual((count[of][t], total[of][t]), (r["values"]["count"], r["values"]["sum"]))
            for q, name in ((0.5, "p50"), (0.99, "p99")):
                apart = abs(quantile[q][of][t] - r["values"][name]) / quantile[q][of][t]
                self.assertLessEqual(apart, r["error"][name] * 1.0001, (r, quantile[q][of][t]))
                worst = max(worst, apart)
        self.assertGreater(worst, 0.001)  # they are not the same thing asked twice

    def test_every_window_once_through_restarts_and_a_killed_leader(self):
        port = free_port()
        with remote([sink(port)]) as c, Prometheus(c.dir, "", flags=FLAGS, port=port) as p:
            feed(c, 0, 60)
            c.start()
            delivered(c, p, "cloud-1", 6)
            self.assertEqual(sink_sum(c, "rejected_rows_total", "prom"), 0)
            p.kill()
            feed(c, 60, 120)
            wait_for("it fails", lambda: sink_sum(c, "failures_total", "prom") > 0)
            p.start()
            victim = wait_led(c)[0]
            c.clouds[victim].kill()
            feed(c, 120, 150)
            others = [n for n in c.cloud_names if n != victim]
            delivered(c, p, others[0], 15)
            c.clouds[victim].start()
            p.restart()
            rows = delivered(c, p, others[1], 15)
            unlike = differ(p, rows)
            self.check_histograms(p, [r for r in rows if (r["group"]["k"], parse_time(r["end"]) / NS) not in unlike])
            for fn in FUNCTIONS:
                times = p.instant(f"count_over_time(weir:s:{fn}[1h])", START_S + 200)
                self.assertEqual(set(times.values()), {15.0}, fn)
            self.assertEqual(unlike - revised(rows), set())

    def test_what_is_refused_takes_nothing_with_it(self):
        port = free_port()
        with one([sink(port)]) as c, Prometheus(c.dir, "", flags=FLAGS, port=port) as p:
            feed(c, 0, 60)
            c.start()
            delivered(c, p, "cloud-1", 6)
            p.kill()
            feed(c, 60, 90, f"m,k=g3 v=1000 {T0 + 25 * NS}\nm,k=g4 v=1000 {T0 + 45 * NS}\nm,k=new v=5 {T0 + 5 * NS}\n")
            wait_for("all of it waits", lambda: sink_sum(c, "backlog_rows", "prom") >= 18)
            p.start()
            wait_for("nothing waits", lambda: sink_sum(c, "backlog_rows", "prom") == 0 and sink_sum(c, "up", "prom") == 1)
            rows = rows_of(c, "cloud-1")
            self.assertEqual(len(rows), 5 * 9 + 1)
            apart = differ(p, rows)
            self.assertTrue({("g3", START_S + 30.0), ("g4", START_S + 50.0)} <= apart <= revised(rows), apart)
            self.assertEqual(sink_sum(c, "rejected_rows_total", "prom"), len(apart))
            refused = sink_sum(c, "remote_write_refused_samples_total", "prom")
            self.assertTrue(0 < refused <= 7 * len(apart), refused)
            said = [line for line in c.clouds["cloud-1"].log().splitlines() if "refused by the receiver" in line]
            self.assertEqual(len(said), 1)
            self.assertRegex(said[0], r"it answers 400: out of order sample \(weir:s:count\{k=.*g[0-4].*\} at 2023-11-14T22:1")

    def test_tokens_headers_labels_and_answers_that_ask_for_patience(self):
        port = free_port()
        with contextlib.ExitStack() as stack:
            gate = Gate(port, "abc123")
            stack.callback(gate.close)
            c = stack.enter_context(one([sink(gate.port, token_file="prom.token", headers_file="prom.headers", labels={"cluster": "plant"},
                                              batch_samples=50)]))
            p = stack.enter_context(Prometheus(c.dir, "", flags=FLAGS, port=port))
            secret_file(c, "prom.token", "abc123\n")
            secret_file(c, "prom.headers", "X-Scope-OrgID: plant\n")
            gate.restart([(400, {})] * 5000)  # of anything: it may be anybody
            feed(c, 0, 60)
            c.start()
            wait_for("a failure", lambda: sink_sum(c, "failures_total", "prom") > 0)
            self.assertEqual(sink_sum(c, "rejected_rows_total", "prom"), 0)
            wait_for("it is told of", lambda: "may not be what it should be" in c.clouds["cloud-1"].log())
            patience = [(429, {"Retry-After": "1"}), None, (503, {})]
            gate.restart(patience)
            delivered(c, p, "cloud-1", 6, labels=[("cluster", "plant")])
            self.assertEqual(gate.seen[:3], patience)
            self.assertEqual(gate.problems, [])
            self.assertEqual(sink_sum(c, "remote_write_refused_samples_total", "prom"), 0)  # what had arrived did not come again
            gate.restart(["lost"])
            feed(c, 60, 90)
            delivered(c, p, "cloud-1", 9, labels=[("cluster", "plant")])
            self.assertEqual(gate.seen[0], "lost")
            self.assertLessEqual(sink_sum(c, "remote_write_refused_samples_total", "prom"), 50)
            self.assertNotIn("abc123", c.clouds["cloud-1"].log())

    @unittest.skipIf(not shutil.which("openssl"), "not installed: openssl")
    def test_prometheus_with_tls_and_a_password(self):
        port = free_port()
        known = {"user": "weir", "password_file": "prom.password", "ca_file": "prom.crt"}
        with one([sink(port, url=f"https://127.0.0.1:{port}/api/v1/write", **known),
                  sink(port, name="elsewhere", url=f"https://localhost:{port}/api/v1/write", **known)]) as c:
            with Guarded(c.dir, port) as p:
                secret_file(c, "prom.password", "open sesam\n")
                feed(c, 0, 20)
                c.start()
                wait_for("which is told of", lambda: "it answers 401" in c.clouds["cloud-1"].log())
                secret_file(c, "prom.password", "open sesame\n")
                wait_for("final rows", lambda: len(rows_of(c, "cloud-1")) == 10)
                want = {r["group"]["k"]: r["values"]["p99"] for r in rows_of(c, "cloud-1") if parse_time(r["end"]) == T0 + 20 * NS}

                def same():
                    return {dict(of)["k"]: v for of, v in p.instant("weir:s:p99", START_S + 20).items()} == want
                wait_for("the numbers", same)
                self.assertEqual(len(want), 5)
                self.assertEqual(sink_sum(c, "rejected_rows_total", "prom"), 0)
                self.assertEqual(sink_sum(c, "remote_write_requests_total", "elsewhere"), 0)  # its name is not the certificate's
                wait_for("which is told of, too", lambda: re.search("sink elsewhere: cannot deliver, .*certificate", c.clouds["cloud-1"].log()))
                self.assertNotIn("open sesam", c.clouds["cloud-1"].log())


@needed
class Page(unittest.TestCase):
    def test_the_page_of_remote_write(self):
        with docs_example.Example("docs/sinks/remote_write.md") as e:
            port = int(e.port["9090"])
            with Prometheus(e.dir, "", lookback="5m", flags=FLAGS, port=port):
                e.run()


if __name__ == "__main__":
    unittest.main()
