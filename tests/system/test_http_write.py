"""Writes over HTTP: curl, InfluxDB's client, collectd, what Telegraf sends, weirctl load; each line that was answered counts once."""
import base64
import contextlib
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

import docs_example
from weirtest import DEADLINE_S, NS, WEIRCTL, Cluster, edge_ledger, free_port, metric_sum, wait_for

COLLECTD = "/usr/sbin/collectd"
STREAMS = [{"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "lateness": "1s",
            "compute": ["count", "sum"], "retain": "forever"},
           {"name": "load", "from": {"measurement": "load", "field": "shortterm"}, "by": ["host"], "window": "1s",
            "compute": ["count"], "retain": "forever"}]
EDGE = {"tick": "1s", "flush": "200ms", "idle_after": "1s"}
T0 = 1_700_000_000


def needs(*programs):
    for p in programs:
        if not shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            raise unittest.SkipTest(f"{p} is not installed here")


class Client:
    """One connection to an edge, opened again where it is gone."""

    def __init__(self, cluster, edge="edge-1", port=None):
        self.where = ("127.0.0.1", port or cluster.http[edge])
        self.context = cluster.context
        self.token = cluster.token
        self.connection = None

    def ask(self, method, path, body=None, headers=None, timeout=30, auth=True):
        """(status, body, headers); OSError where there was no answer."""
        headers = dict(headers or {})
        if self.token and auth:
            headers.setdefault("Authorization", "Token " + self.token)
        try:
            if not self.connection:
                self.connection = http.client.HTTPSConnection(*self.where, timeout=timeout, context=self.context) if self.context \
                    else http.client.HTTPConnection(*self.where, timeout=timeout)
            self.connection.request(method, path, body=body, headers=headers)
            r = self.connection.getresponse()
            return r.status, r.read().decode(), r.headers
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise OSError(repr(e)) from None

    def write(self, lines, path="/write?precision=s", **more):
        return self.ask("POST", path, body=lines.encode() if isinstance(lines, str) else lines, **more)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def rows_sum(cluster, stream="s", fn="count"):
    return sum(r["values"][fn] for r in cluster.query("cloud-1", stream, select=fn)["rows"])


class Exact(unittest.TestCase):
    def test_every_answered_line_counts_once_under_kills(self):
        """Each write carries lines of a group of its own, so that what counts of it can be told."""
        with Cluster(clouds=1, edges={"edge-1": dict(EDGE)}, streams=STREAMS) as c:
            c.start()
            stop = threading.Event()
            answered, unanswered = {}, {}
            lock = threading.Lock()

            def writer(w):
                client, i = Client(c), 0
                while not stop.is_set():
                    i += 1
                    key, n = f"w{w}-{i}", 1 + i % 40
                    lines = "".join(f"m,k={key} v={j} {T0 + j}\n" for j in range(n))
                    packed = i % 3 == 0
                    try:
                        status, text, _ = client.write(gzip.compress(lines.encode()) if packed else lines,
                                                       headers={"Content-Encoding": "gzip"} if packed else {})
                        assert status == 204, (status, text)
                        with lock:
                            answered[key] = n
                    except OSError:
                        with lock:
                            unanswered[key] = n
                        time.sleep(0.02)
                client.close()
            threads = [threading.Thread(target=writer, args=(w,)) for w in range(4)]
            for t in threads:
                t.start()
            for _ in range(3):
                before = len(answered)
                wait_for("writes", lambda b=before: len(answered) > b + 40)
                c.edges["edge-1"].kill()
                c.edges["edge-1"].start()
                c.wait_healthy("edge-1")
            before = len(answered)
            wait_for("writes", lambda: len(answered) > before + 40)
            code = []  # a clean end answers what it has made durable
            code.append(c.edges["edge-1"].stop())
            stop.set()
            for t in threads:
                t.join()
            self.assertEqual(code, [0])
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            wait_for("all acknowledged", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_unacked_batches") == 0 and
                     edge_ledger(c, "edge-1")["aggregated"] == rows_sum(c))
            got = {}
            for r in c.query("cloud-1", "s", select="count")["rows"]:
                got[r["group"]["k"]] = got.get(r["group"]["k"], 0) + r["values"]["count"]
            for key, n in answered.items():
                self.assertEqual(got.pop(key, 0), n, key)
            for key, n in got.items():
                self.assertLessEqual(n, unanswered[key], key)  # a part of it, or all: each line once
            self.assertGreater(len(answered), 160)
            print(f"    {len(answered)} writes answered and {len(unanswered)} not, over 3 kills and a clean end")

    def test_an_address_goes_and_comes_while_it_is_written_to(self):
        """By changes of the topology, in the midst of large writes: what was answered 204 counts once, of a 503 nothing, of the others each line
        once at most."""
        port = free_port()
        source = {"type": "http", "name": "further", "listen": f"127.0.0.1:{port}"}
        with Cluster(clouds=1, edges={"edge-1": dict(EDGE, heartbeat="200ms", sources=[source])}, streams=STREAMS, security=False) as c:
            c.start()
            stop, lock, got, lines = threading.Event(), threading.Lock(), {}, 15000

            def writer(w):
                client, i = Client(c, port=port), 0
                while not stop.is_set():
                    i += 1
                    key = f"w{w}-{i}"
                    try:
                        status = client.write("".join(f"m,k={key} v={j} {T0 + j % 60}\n" for j in range(lines)))[0]
                    except OSError:
                        status = 0
                        stop.wait(0.02)
                    with lock:
                        got[key] = status
                client.close()

            def count(status):
                with lock:
                    return sum(s == status for s in got.values())
            threads = [threading.Thread(target=writer, args=(w,)) for w in range(3)]
            for t in threads:
                t.start()
            for there in (False, True):
                before = count(204 if not there else 0)
                wait_for("writes", lambda: count(204 if not there else 0) > before + 3)
                c.spec["edges"][0]["sources"] = [source] if there else []
                c.write_config()
                version = c.api("cloud-1", "topology")["version"]
                c.ctl("apply", "--yes", c.config)
                wait_for("the edge to go by it", lambda v=version: metric_sum(c.metrics("edge-1"), "weir_edge_map_version") > v)
            before = count(204)
            wait_for("writes", lambda: count(204) > before + 3)
            stop.set()
            for t in threads:
                t.join()
            wait_for("all acknowledged", lambda: edge_ledger(c, "edge-1")["aggregated"] == rows_sum(c))
            counts = {}
            for r in c.query("cloud-1", "s", select="count")["rows"]:
                counts[r["group"]["k"]] = counts.get(r["group"]["k"], 0) + r["values"]["count"]
            for key, status in got.items():
                n = counts.pop(key, 0)
                self.assertIn(status, (0, 204, 500, 503), key)
                self.assertTrue(n == lines if status == 204 else n == 0 if status == 503 else n <= lines, (key, status, n))
            self.assertEqual(counts, {})
            print(f"    {len(got)} writes, {count(204)} of them answered, over 2 changes")

    def test_bad_lines_and_what_agents_ask(self):
        with Cluster(clouds=1, edges={"edge-1": dict(EDGE)}, streams=STREAMS) as c:
            c.start()
            client = Client(c)
            far = int(time.time()) + 86400
            status, text, _ = client.write(f"m,k=a v=1 {T0}\nm,k=a v=\nm,k=a v=2 {far}\nm,k=a v=4 {T0}\n")
            self.assertEqual(status, 400)
            message = json.loads(text)["error"]
            self.assertIn("partial write: line 2: unable to parse 'm,k=a v=': bad_field", message)
            self.assertIn("line 3: unable to parse 'm,k=a': too_far_ahead", message)
            self.assertIn("dropped=2", message)
            # Telegraf's outputs, as their source sends: first the statement as a form, then writes with these arguments and headers.
            status, text, _ = client.ask("POST", "/query", body=b"q=CREATE+DATABASE+%22telegraf%22",
                                         headers={"Content-Type": "application/x-www-form-urlencoded"})
            self.assertEqual((status, json.loads(text)), (200, {"results": [{"statement_id": 0}]}))
            body = gzip.compress(f"m,k=a v=8 {T0}000000000\n".encode())
            headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip", "User-Agent": "Telegraf/1.30"}
            self.assertEqual(client.write(body, "/write?consistency=any&db=telegraf", headers=headers)[0], 204)
            self.assertEqual(client.write(body, "/api/v2/write?bucket=telegraf&org=o", headers=headers)[0], 204)
            wait_for("their sum", lambda: rows_sum(c, fn="sum") == 1 + 4 + 8 + 8)
            self.assertEqual(edge_ledger(c, "edge-1")["refused"], 2)
            client.close()

    def test_influx_client(self):
        needs("influx")
        with Cluster(clouds=1, edges={"edge-1": dict(EDGE)}, streams=STREAMS, security=False) as c:
            c.start()
            path = os.path.join(c.dir, "import.txt")
            with open(path, "w") as f:
                f.write("# DDL\nCREATE DATABASE plant\n# DML\n# CONTEXT-DATABASE: plant\n" +
                        "".join(f"m,k=a v={i} {T0 + i % 60}\n" for i in range(12000)))
            r = subprocess.run(["influx", "-host", "127.0.0.1", "-port", str(c.http["edge-1"]), "-import", "-path", path, "-precision",
                                "s"], capture_output=True, text=True, timeout=DEADLINE_S)
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            self.assertIn("Failed 0 inserts", r.stdout + r.stderr)
            c.wait_count("cloud-1", "s", 12000)

    def test_weirctl_load(self):
        with Cluster(clouds=1, edges={"edge-1": dict(EDGE)}, streams=STREAMS) as c:
            c.start()
            path = os.path.join(c.dir, "readings.lp")
            with open(path, "w") as f:
                f.writelines(f"m,k={i % 7} v={i} {(T0 + i % 600) * NS}\n" for i in range(100000))
            where = ["--ca-file", c.ca_file, "--token-file", c.token_file] if c.is_secure() else []

            def load(*args):
                return subprocess.run([WEIRCTL, *where, "load", "--to", c.url("edge-1"), "-o", "json", *args], capture_output=True,
                                      text=True, timeout=DEADLINE_S, cwd=c.dir)
            r = load(path)
            self.assertEqual(r.returncode, 0, r.stderr)
            answer = json.loads(r.stdout)
            self.assertEqual((answer["lines"], answer["refused"]), (100000, 0))
            print(f"    {answer['lines_per_second']} lines/s over HTTP")
            with open(path, "w") as f:
                f.write(f"m,k=a v=1 {T0 * NS}\nm,k=a v=\nm,k=a v=1 {T0 * NS}\n")
            r = load("--gzip", path)
            self.assertEqual((r.returncode, json.loads(r.stdout)["refused"]), (1, 1), r.stderr)
            self.assertIn("line 2: unable to parse 'm,k=a v='", r.stderr)
            c.wait_count("cloud-1", "s", 100002)


class Limits(unittest.TestCase):
    def test_a_full_edge_says_so_and_takes_again(self):
        edge = dict(EDGE, limits={"disk": "1MiB"})
        with Cluster(clouds=1, edges={"edge-1": edge}, streams=STREAMS, security=False) as c:
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            client, sent, status, i = Client(c), 0, 204, 0
            end = time.monotonic() + DEADLINE_S
            while status == 204 and time.monotonic() < end:
                lines = "".join(f"m,k={'x' * 100}{i}-{j} v=1 {T0 + i}\n" for j in range(1000))
                i += 1
                status, text, headers = client.write(lines)
                sent += 1000 if status == 204 else 0
            self.assertEqual(status, 503, text)
            self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            self.assertEqual(client.ask("GET", "/health")[0], 503)
            self.assertEqual(json.loads(client.ask("GET", "/health")[1])["status"], "fail")
            path = os.path.join(c.dir, "one.lp")
            with open(path, "w") as f:
                f.write(f"m,k=one v=1 {T0 * NS}\n")
            with subprocess.Popen([WEIRCTL, "load", path, "-q", "--to", c.url("edge-1")]) as load:  # waits for room
                c.clouds["cloud-1"].start()
                self.assertEqual(load.wait(DEADLINE_S), 0)
            wait_for("room", lambda: client.write(f"m,k=one v=1 {T0}\n")[0] == 204)
            c.wait_count("cloud-1", "s", sent + 2)
            client.close()

    def test_bodies_that_are_too_large(self):
        with Cluster(clouds=1, edges={"edge-1": dict(EDGE)}, streams=STREAMS, security=False) as c:
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            client = Client(c)
            with contextlib.suppress(OSError):  # cut, or answered
                self.assertEqual(client.write(b"\n" * (9 << 20))[0], 413)
            client.close()
            self.assertEqual(client.write(gzip.compress(b"\n" * (40 << 20)), headers={"Content-Encoding": "gzip"})[0], 413)
            before = c.edges["edge-1"].rss_bytes()
            self.assertLess(before, 400 << 20)
            held = []

            def hold():  # half a body: 7 MiB of 16 fit twice
                s = socket.create_connection(("127.0.0.1", c.http["edge-1"]))
                held.append(s)
                with contextlib.suppress(OSError):
                    s.sendall(b"POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
                    s.settimeout(5)
                    s.sendall(b"\n" * 7_000_000)

            def refused():  # who holds one for long is cut off, and leaves room for another one
                if metric_sum(c.metrics("edge-1"), "weir_edge_http_busy_total") < 5:
                    hold()
                return metric_sum(c.metrics("edge-1"), "weir_edge_http_busy_total") >= 5
            for _ in range(7):
                hold()
            wait_for("refusals", refused)
            for s in held:
                s.close()
            wait_for("room for bodies", lambda: client.write(f"m,k=a v=1 {T0}\n")[0] == 204)
            self.assertEqual(edge_ledger(c, "edge-1")["accepted"], 1)
            client.close()


class Keys(unittest.TestCase):
    def test_tls_and_tokens(self):
        port = free_port()
        edge = dict(EDGE, sources=[{"type": "http", "listen": f"127.0.0.1:{port}"}])
        with Cluster(clouds=1, edges={"edge-1": edge}, streams=STREAMS, security=True) as c:
            c.start()
            reader = os.path.join(c.dir, "reader.token")
            subprocess.run([WEIRCTL, "token", "add", "reader", "--role", "read", "--out", reader, "--config", c.config], check=True,
                           capture_output=True, cwd=c.dir)
            with open(reader) as f:
                weak = f.read().strip()
            basic = base64.b64encode(b"anyone:" + c.token.encode()).decode()
            line = f"m,k=a v=1 {T0}\n"
            count = 0
            for client in (Client(c), Client(c, port=port)):  # the edge's address, and one for writes alone
                wait_for("the token to be known", lambda k=client: k.write(line, headers={"Authorization": "Bearer " + weak})[0] == 403)
                self.assertEqual(client.write(line, auth=False)[0], 401)
                for headers, args in (({"Authorization": "Token " + c.token}, ""), ({"Authorization": "Bearer " + c.token}, ""),
                                      ({"Authorization": "Basic " + basic}, ""), ({}, f"&u=x&p={c.token}")):
                    self.assertEqual(client.write(line, "/write?precision=s" + args, headers=headers, auth=False)[0], 204, headers)
                    count += 1
                self.assertEqual(client.write(line, f"/api/v2/write?precision=s&p={c.token}", auth=False)[0], 401)
                self.assertEqual(client.ask("GET", "/ping", auth=False)[0], 204)
                client.close()
            c.wait_count("cloud-1", "s", count)
            m = c.metrics("edge-1")  # of the further address alone
            self.assertGreaterEqual(metric_sum(m, "weir_edge_source_http_denied_total"), 3)
            self.assertGreaterEqual(metric_sum(m, "weir_edge_source_http_requests_total"), 8)
            self.assertEqual(metric_sum(m, "weir_edge_source_http_stored_total"), count)


class Collectd(unittest.TestCase):
    def start(self, c):
        config = os.path.join(c.dir, "collectd.conf")
        with open(config, "w") as f:
            f.write(f'Hostname "here"\nBaseDir "{c.dir}"\nPIDFile "{c.dir}/collectd.pid"\nInterval 0.1\nLoadPlugin load\nLoadPlugin write_http\n'
                    '<Plugin write_http>\n <Node "weir">\n'
                    f'  URL "http://127.0.0.1:{c.http["edge-1"]}/collectd"\n  Format "JSON"\n  BufferSize 1024\n'
                    ' </Node>\n</Plugin>\n')
        return subprocess.Popen([COLLECTD, "-f", "-C", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)

    def test_it_feeds_an_edge_through_restarts_of_both(self):
        needs("collectd")
        with Cluster(clouds=1, edges={"edge-1": dict(EDGE)}, streams=STREAMS, security=False) as c:
            c.start()

            def more(n=3):
                before = rows_sum(c, "load")
                wait_for("what collectd measures", lambda: rows_sum(c, "load") >= before + n)
            process = self.start(c)
            try:
                more()
                c.edges["edge-1"].kill()
                c.edges["edge-1"].start()
                c.wait_healthy("edge-1")
                more()
                self.stop(process)
                process = self.start(c)
                more()
            finally:
                self.stop(process)
            rows = c.query("cloud-1", "load", select="count")["rows"]
            self.assertEqual({r["group"]["host"] for r in rows}, {"here"})
            self.assertEqual(edge_ledger(c, "edge-1")["refused"], 0)


class Page(unittest.TestCase):
    def test_page(self):
        needs("influx", "collectd", "curl")
        with docs_example.Example("docs/sources/http.md", environment={"PATH": os.environ.get("PATH", "") + ":/usr/sbin"}) as e:
            e.run()
