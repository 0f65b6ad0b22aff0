"""HTTP against strangers: TLS, tokens and roles, slow clients, garbage."""

import concurrent.futures
import errno
import http.client
import json
import os
import random
import socket
import ssl
import subprocess
import time
import unittest

from weirtest import CLOUDD, EDGED, WEIRCTL, Awake, Cluster, alone, metric_sum, parse_metrics, slow, wait_for

STREAMS = [{"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "1s", "lateness": "1s",
            "compute": ["count"], "retain": "forever"}]
MIB = 1024 * 1024


def is_sanitized():
    with open(CLOUDD, "rb") as f:
        return b"__asan_init" in f.read()


MEMORY_FACTOR = 100 if is_sanitized() else 1  # sanitizers keep what was freed


def ask(port, path, address="127.0.0.1", timeout=60, method="GET", token=None, context=None, headers=()):
    """(status, body) of one request over a connection of its own, from a given address."""
    headers = dict(headers)
    if token:
        headers["Authorization"] = "Bearer " + token
    kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
    more = {"context": context} if context else {}
    c = kind("127.0.0.1", port, timeout=timeout, source_address=(address, 0), **more)
    try:
        c.request(method, path, headers=headers)
        r = c.getresponse()
        return r.status, r.read().decode()
    finally:
        c.close()


class Holder:
    """One connection that is held: by a head, a body or a reader that hardly moves. Opens anew when it is cut."""

    def __init__(self, port, address, kind):
        self.port, self.address, self.kind = port, address, kind
        self.socket, self.opened, self.born = None, 0, 0
        self.open()

    def open(self):
        self.close()
        self.opened += 1
        s = socket.socket()
        s.settimeout(2)
        try:
            if self.kind == "reader":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.bind((self.address, 0))
            s.connect(("127.0.0.1", self.port))
            if self.kind == "head":
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
            elif self.kind == "body":
                s.sendall(b"POST /api/v1/edges/x/readmit HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            else:
                s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1500)
            s.setblocking(False)
            self.socket, self.born = s, time.monotonic()
        except OSError:
            s.close()

    def move(self):
        """A byte to or fro; a new connection where this one was cut."""
        if not self.socket:
            self.open()
            return
        try:
            if self.kind == "reader":
                if self.socket.recv(1) == b"":
                    self.open()
            else:
                self.socket.send(b"x")
        except BlockingIOError:
            pass
        except OSError:
            self.open()

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None


class SlowClients(unittest.TestCase):
    @alone
    def test_256_held_connections_keep_nobody_out(self):
        with Cluster(clouds=1, streams=STREAMS) as c, Awake() as clock:
            c.start()
            daemon, port = c.clouds["cloud-1"], c.http["cloud-1"]
            before = daemon.rss_bytes()
            kinds = ["head", "body", "reader"]
            holders = [Holder(port, "127.0.0.1" if i % 2 else "127.0.0.3", kinds[i % 3]) for i in range(256)]
            time.sleep(0.5)  # so long the youngest are not put out
            slowest, peak, asked, end = 0, 0, 0, clock.now() + 16
            try:
                while clock.now() < end:
                    for i, h in enumerate(holders):
                        h.move()
                        if i % 32:
                            continue
                        address = "127.0.0.1" if i % 64 else "127.0.0.2"  # one that strangers hold, and one of its own
                        path = ["/healthz", "/readyz", "/api/v1/streams", "/api/v1/cluster"][asked % 4]
                        start = clock.now()
                        status, body = ask(port, path, address)
                        slowest = max(slowest, clock.now() - start)
                        self.assertEqual(status, 200, (path, address, body))
                        asked += 1
                    peak = max(peak, daemon.rss_bytes())
                    time.sleep(0.25)
                m = c.metrics("cloud-1")
                # Each kind is put out by its own rule where it is not replaced before.
                ended = {r: metric_sum(m, "weir_cloud_http_connections_ended_total", reason=r)
                         for r in ("replaced", "slow_head", "slow_body", "slow_reader")}
                self.assertGreater(sum(ended.values()), 256 * 0.9, ended)
                print(f"\n    asked {asked}, slowest {slowest:.3f} s, memory {before / MIB:.1f} -> {peak / MIB:.1f} MiB, {ended}")
                self.assertLess(slowest, 2)
                self.assertLess(peak - before, 64 * MIB * MEMORY_FACTOR)
            finally:
                for h in holders:
                    h.close()
            wait_for("the connections to be gone",
                     lambda: metric_sum(c.metrics("cloud-1"), "weir_cloud_http_connections") <= 2)
            c.stop()

    def test_each_kind_is_cut_in_time_without_any_pressure(self):
        with Cluster(clouds=1, edges={"edge-1": {}}, streams=STREAMS) as c, Awake() as clock:
            c.start()
            for node, prefix in (("cloud-1", "weir_cloud"), ("edge-1", "weir_edge")):
                holders = [Holder(c.http[node], "127.0.0.1", k) for k in ("head", "body", "reader")]
                begin, awake, took, latest = time.monotonic(), clock.now(), {}, 0
                while len(took) < 3 and clock.now() < awake + 30:
                    for h in holders:
                        if h.opened == 1:
                            h.move()
                    m = c.metrics(node)
                    for reason in ("slow_head", "slow_body", "slow_reader"):
                        if metric_sum(m, f"{prefix}_http_connections_ended_total", reason=reason):
                            if reason not in took:
                                took[reason], latest = time.monotonic() - begin, clock.now() - awake
                    time.sleep(0.2)
                for h in holders:
                    h.close()
                self.assertEqual(len(took), 3, (node, took))
                self.assertGreater(min(took.values()), 9, (node, took))
                self.assertLess(latest, 14, (node, took))


def make_garbage(rng):
    """Bytes that are no proper request, each kind its own way."""
    line = rng.choice([b"GET", b"POST", b"get", b"", b"G\0T", b"\xff", b"A" * 5000, b"PRI", b"CONNECT", b"OPTIONS"])
    path = rng.choice([b"/", b"/healthz", b"/%", b"/%zz%00", b"/../../etc/passwd", b"//", b"*", b"", b"http://x/",
                       b"/api/v1/query?" + b"a=1&" * rng.randrange(400), b"/" + b"x" * rng.randrange(40000),
                       b"/api/v1/edges/" + bytes(rng.randrange(1, 256) for _ in range(40)) + b"/readmit"])
    version = rng.choice([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"HTTP/2.0", b"", b"HTP", b"HTTP/1.1 x"])
    head = rng.choice([b"Host: x\r\n", b"", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
                       b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                       b"Transfer-Encoding: chunked\r\n", b": x\r\n", b"Host\r\n", b" folded\r\n", b"\0\0\0\r\n",
                       b"".join(b"H%d: x\r\n" % i for i in range(rng.randrange(1500))), b"X: " + b"y" * rng.randrange(40000)
                       + b"\r\n", b"Authorization: Basic !!!!\r\n", b"Authorization: Bearer " + b"z" * 3000 + b"\r\n",
                       b"Expect: 100-continue\r\nContent-Length: 10\r\n", b"Origin: http://evil.example\r\n"])
    body = rng.choice([b"", b"0\r\n\r\n", b"ffffffffffffffff\r\nx", b"zz\r\n", bytes(rng.randrange(256) for _ in range(200))])
    kind = rng.randrange(10)
    if kind == 0:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 600)))
    if kind == 1:  # the hello of TLS, cut somewhere
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(rng.randrange(256) for _ in range(500))
        return hello[:rng.randrange(1, len(hello))]
    request = line + b" " + path + b" " + version + b"\r\n" + head + b"\r\n" + body
    return request[:rng.randrange(1, len(request))] if kind == 2 else request


def throw(port, data):
    with socket.socket() as s:
        s.settimeout(60)
        s.connect(("127.0.0.1", port))
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError as e:
            if isinstance(e, TimeoutError):
                raise


def throw_many(port, count, seed):
    def work(k):
        rng = random.Random(seed * 100 + k)
        for _ in range(count // 16):
            throw(port, make_garbage(rng))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for f in [pool.submit(work, k) for k in range(16)]:
            f.result()


def count_garbage(c, node, prefix, get_metrics=None):
    m = parse_metrics(get_metrics()) if get_metrics else c.metrics(node)
    return metric_sum(m, f"{prefix}_http_requests_total") + metric_sum(m, f"{prefix}_http_connections_ended_total")


@slow
class Garbage(unittest.TestCase):
    def check(self, c, node, prefix, daemon, port, count, get_metrics=None):
        throw_many(port, 400, 1)  # what is allocated once is
        rss, counted = daemon.rss_bytes(), count_garbage(c, node, prefix, get_metrics)
        throw_many(port, count, 2)
        self.assertTrue(daemon.running(), daemon.log_tail())
        grown = daemon.rss_bytes() - rss
        looks = 0

        def all_counted():  # each is once it has ended; so is who looks
            nonlocal looks
            looks += 1
            return count_garbage(c, node, prefix, get_metrics) - counted - looks >= count
        wait_for("each to be counted", all_counted)
        print(f"\n    {node}: {count} requests of garbage, memory grew by {grown / 1024:.0f} KiB")
        self.assertLess(grown, 8 * MIB * MEMORY_FACTOR)

    def test_10000_requests_crash_and_leak_nothing(self):
        with Cluster(clouds=1, edges={"edge-1": {}}, streams=STREAMS) as c:
            c.start()
            self.check(c, "cloud-1", "weir_cloud", c.clouds["cloud-1"], c.http["cloud-1"], 10000)
            self.check(c, "edge-1", "weir_edge", c.edges["edge-1"], c.http["edge-1"], 2000)
            c.stop()


class PlainIsForThisMachine(unittest.TestCase):
    def test_off_loopback_without_keys_is_refused(self):
        with Cluster(clouds=1, edges={"edge-1": {}}, streams=STREAMS) as c:
            for at, name, program in ((c.spec["cloud"][0], "cloud-1", CLOUDD), (c.spec["edges"][0], "edge-1", EDGED)):
                good, at["http"] = at["http"], "0.0.0.0:18101"
                c.write_config()
                for more in (["--check"], []):
                    r = subprocess.run([program, "--config", c.config, "--node", name, *more], capture_output=True, text=True,
                                       timeout=60, cwd=c.dir)
                    self.assertEqual(r.returncode, 2, r.stderr)
                    self.assertIn("loopback", r.stderr)
                at["http"] = good

    def test_pages_of_other_sites_change_nothing(self):
        with Cluster(clouds=1, edges={"edge-1": {}}, streams=STREAMS) as c:
            c.start(edges=False)
            port, path = c.http["cloud-1"], "/api/v1/edges/edge-1/readmit"
            own = f"127.0.0.1:{port}"
            for headers, status in (({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
                                    ({"Origin": "http://evil.example:80", "Host": "evil.example:80"}, 403),
                                    ({"Origin": "http://" + own}, 200), ({}, 200)):
                got, body = ask(port, path, method="POST", headers=headers)
                self.assertEqual(got, status, (headers, body))
            self.assertEqual(ask(port, "/healthz", headers={"Origin": "http://evil.example"})[0], 200)


class Keys:
    """One cloud and one edge whose HTTP has keys; a token of each role, in files as weirctl makes them."""

    def __init__(self, http=None):
        self.cluster = c = Cluster(clouds=1, edges={"edge-1": {}}, streams=STREAMS, cluster={"security": {"keys": "keys"}})
        self.dir = os.path.join(c.dir, "keys")
        self.port = c.http["cloud-1"]
        if http:
            c.spec["cloud"][0]["http"] = f"{http}:{self.port}"
            c.write_config()
        self.token = {}

    def weirctl(self, *args, check=True):
        r = subprocess.run([WEIRCTL, *args], capture_output=True, text=True, timeout=60, cwd=self.cluster.dir)
        if check and r.returncode:
            raise AssertionError(f"weirctl {' '.join(args)}: exit {r.returncode}\n{r.stdout}{r.stderr}")
        return r

    def make(self):
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        self.weirctl("keygen", "--config", self.cluster.config, check=False)
        if not os.path.exists(self.path("ca.crt")):
            self.weirctl("tls", "renew", "--config", self.cluster.config)
        for role in ("read", "write", "admin"):
            self.add_token(role, role)
        self.context = ssl.create_default_context(cafile=self.path("ca.crt"))

    def add_token(self, name, role):
        r = self.weirctl("token", "add", name, "--role", role, "--config", self.cluster.config)
        self.token[name] = r.stdout.strip()
        with open(self.path(name + ".token"), "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(r.stdout)

    def path(self, name):
        return os.path.join(self.dir, name)

    def ask(self, path, role=None, token=None, address="127.0.0.1", port=None, **more):
        return ask(port or self.port, path, address, token=token or self.token.get(role), context=self.context, **more)

    def start(self, edges=True):
        c = self.cluster
        c.clouds["cloud-1"].start()
        wait_for("cloud-1 ready", lambda: self.ask("/readyz", "read")[0] == 200)
        if edges:
            c.edges["edge-1"].start()
            wait_for("edge-1 healthy", lambda: self.ask("/healthz", port=c.http["edge-1"])[0] == 200)

    def __enter__(self):
        self.cluster.__enter__()
        return self

    def __exit__(self, *args):
        self.cluster.__exit__(*args)


class TlsAndTokens(unittest.TestCase):
    def setUp(self):
        with Keys() as k:
            if "not built yet" in k.weirctl("check", k.cluster.config, check=False).stderr:
                self.skipTest("this version takes no `security: {keys: DIR}` yet")

    def test_end_to_end(self):
        with Keys() as k:
            k.make()
            k.start()
            c = k.cluster
            for name in os.listdir(k.dir):
                mode = os.stat(k.path(name)).st_mode & 0o777
                self.assertEqual(mode & 0o077 == 0, not name.endswith((".crt", ".pub")), name)
            # who may what
            readmit = "/api/v1/edges/edge-1/readmit"
            for role, read, admin in ((None, 401, 401), ("read", 200, 403), ("write", 200, 403), ("admin", 200, 200)):
                for path in ("/api/v1/cluster", "/api/v1/streams", "/metrics", "/readyz", "/nothing"):
                    self.assertEqual(k.ask(path, role)[0], 404 if read == 200 and path == "/nothing" else read, (role, path))
                self.assertEqual(k.ask("/", role)[0], 200)  # it holds nothing of the cluster
                self.assertEqual(k.ask(readmit, role, method="POST")[0], admin, role)
                self.assertEqual(k.ask("/healthz", role)[0], 200)
            for role, status in ((None, 401), ("read", 200)):
                self.assertEqual(k.ask("/metrics", role, port=c.http["edge-1"])[0], status)
            status, body = k.ask("/api/v1/cluster", token="weir_wrong")
            self.assertEqual((status, json.loads(body)["error"]["code"]), (401, "unauthorized"))
            m = parse_metrics(k.ask("/metrics", "read")[1])
            self.assertGreater(metric_sum(m, "weir_cloud_http_denied_total", reason="no_token"), 5)
            self.assertEqual(metric_sum(m, "weir_cloud_http_denied_total", reason="bad_token"), 1)
            self.assertEqual(metric_sum(m, "weir_cloud_http_denied_total", reason="role"), 2)
            self.assertGreater(metric_sum(m, "weir_cloud_http_certificate_expiry_timestamp_seconds"),
                               time.time() + 700 * 86400)
            # plain HTTP gets nowhere; neither does a client that trusts somebody else
            with self.assertRaises((OSError, http.client.HTTPException)):
                ask(k.port, "/healthz")
            with self.assertRaises(ssl.SSLCertVerificationError):
                ask(k.port, "/healthz", context=ssl.create_default_context())
            # weirctl and curl
            url = ["--url", f"https://127.0.0.1:{k.port}"]
            ca = ["--ca-file", k.path("ca.crt")]
            r = k.weirctl(*url, *ca, "--token-file", k.path("read.token"), "nodes")
            self.assertIn("cloud-1", r.stdout)
            r = k.weirctl("--url", f"127.0.0.1:{k.port}", *ca, "nodes", check=False)
            self.assertEqual(r.returncode, 1)
            self.assertIn("--token-file", r.stderr)
            r = k.weirctl(*url, "--token-file", k.path("read.token"), "nodes", check=False)
            self.assertEqual(r.returncode, 1)
            self.assertIn("--ca-file", r.stderr)
            r = k.weirctl(*url, *ca, "--token-file", k.path("read.token"), "edge", "readmit", "edge-1", "--yes", check=False)
            self.assertNotEqual(r.returncode, 0)
            os.chmod(k.path("read.token"), 0o640)
            r = k.weirctl(*url, *ca, "--token-file", k.path("read.token"), "nodes", check=False)
            self.assertEqual(r.returncode, 2)
            self.assertIn("chmod 600", r.stderr)
            curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", k.path("ca.crt"), "--oauth2-bearer",
                    k.token["read"], f"https://localhost:{k.port}/api/v1/streams"]
            try:
                self.assertEqual(subprocess.run(curl, capture_output=True, text=True, timeout=30).stdout, "200")
                old = subprocess.run([*curl, "--tls-max", "1.1"], capture_output=True, text=True, timeout=30)
                self.assertEqual(old.stdout, "000")
            except FileNotFoundError:
                pass  # no curl here
            c.stop()

    @alone
    def test_a_token_taken_back_is_refused_within_a_second_and_its_watch_cut(self):
        with Keys() as k, Awake() as clock:
            k.make()
            k.start(edges=False)
            c = http.client.HTTPSConnection("127.0.0.1", k.port, timeout=60, context=k.context)
            c.request("GET", "/api/v1/watch?stream=s", headers={"Authorization": "Bearer " + k.token["write"]})
            watch = c.getresponse()
            self.assertEqual(watch.status, 200)
            k.weirctl("token", "remove", "write", "--config", k.cluster.config)
            start = clock.now()
            while k.ask("/api/v1/streams", "write")[0] == 200:
                self.assertLess(clock.now() - start, 1)
                time.sleep(0.02)  # each asks for a handshake, and there are 200 a second
            self.assertEqual(k.ask("/api/v1/streams", "read")[0], 200)
            with self.assertRaises((OSError, http.client.HTTPException)):
                while watch.read(1):
                    pass
                raise http.client.IncompleteRead(b"")  # its end, not its next heartbeat
            self.assertLess(clock.now() - start, 2)
            # A broken file changes nothing, and is told of; a new token works within a second, too.
            with open(k.path("tokens")) as f:
                fine = f.read()
            with open(k.path("tokens"), "a") as f:
                f.write("rubbish\n")
            wait_for("the broken file to be told of", lambda: "tokens cannot be read again" in k.cluster.clouds["cloud-1"].log())
            self.assertEqual(k.ask("/api/v1/streams", "read")[0], 200)
            with open(k.path("tokens"), "w") as f:
                f.write(fine)
            k.add_token("other", "read")
            start = clock.now()
            while k.ask("/api/v1/streams", "other")[0] != 200:
                self.assertLess(clock.now() - start, 1)
                time.sleep(0.02)
            log = k.cluster.clouds["cloud-1"].log()
            for token in k.token.values():
                self.assertNotIn(token, log)
            c.close()

    def test_a_new_certificate_is_taken_without_a_restart(self):
        with Keys() as k:
            k.make()
            k.start()

            def serial(port):
                with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                    with k.context.wrap_socket(s, server_hostname="127.0.0.1") as t:
                        return t.getpeercert()["serialNumber"]
            for name in ("cloud-1", "edge-1"):
                port = k.cluster.http[name]
                old = serial(port)
                keeps = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=k.context)

                def goes_on():
                    keeps.request("GET", "/healthz")
                    answer = keeps.getresponse()
                    answer.read()
                    return answer.status == 200
                self.assertTrue(goes_on())
                keeps.auto_open = 0
                k.weirctl("tls", "renew", name, "--host", "weir.example.org", "--config", k.cluster.config)
                # The connection made before goes on; it is not idle for so long that it is cut.
                wait_for("the new certificate", lambda: goes_on() and serial(port) != old)
                self.assertTrue(goes_on())
                keeps.close()

    def test_what_is_missing_or_open_is_refused_at_start(self):
        with Keys("0.0.0.0") as k:
            def check(within):
                for more in (["--check"], []):
                    r = subprocess.run([CLOUDD, "--config", k.cluster.config, "--node", "cloud-1", *more], capture_output=True,
                                       text=True, timeout=60, cwd=k.cluster.dir)
                    self.assertEqual(r.returncode, 2, r.stderr)
                    self.assertIn(within, r.stderr)
            check("weirctl keygen")
            k.make()
            os.chmod(k.path("cloud-1.tls.key"), 0o644)
            check("chmod 600")
            os.chmod(k.path("cloud-1.tls.key"), 0o600)
            os.rename(k.path("tokens"), k.path("away"))
            check("weirctl token add")
            os.rename(k.path("away"), k.path("tokens"))
            k.start(edges=False)  # on all addresses, then

    @alone
    def test_slow_strangers_and_garbage_over_tls(self):
        with Keys() as k, Awake() as clock:
            k.make()
            k.start(edges=False)
            daemon = k.cluster.clouds["cloud-1"]
            throw_many(k.port, 400, 1)
            rss = daemon.rss_bytes()

            def metrics():
                return parse_metrics(k.ask("/metrics", "read")[1])

            def count():
                m = metrics()
                return metric_sum(m, "weir_cloud_http_connections_ended_total", reason="malformed")
            counted = count()
            throw_many(k.port, 2000, 2)
            wait_for("each to be counted", lambda: count() - counted >= 2000)
            self.assertLess(daemon.rss_bytes() - rss, 8 * MIB * MEMORY_FACTOR)
            # Connections on which no handshake begins, or one that does not end, from the address of those who ask.
            idle = []
            for i in range(400):
                s = socket.create_connection(("127.0.0.1", k.port), timeout=60)
                if i % 2:
                    s.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
                idle.append(s)
            time.sleep(0.5)
            for i in range(20):
                start = clock.now()
                self.assertEqual(k.ask("/api/v1/streams", "read", address=f"127.0.0.{1 + i % 2}")[0], 200)
                self.assertLess(clock.now() - start, 2)
            wait_for("the idle ones to be cut", lambda: metric_sum(metrics(), "weir_cloud_http_connections") <= 2)
            for s in idle:
                s.close()
            self.assertTrue(daemon.running())
            self.assertLess(daemon.rss_bytes() - rss, 32 * MIB * MEMORY_FACTOR)
            # Wrong tokens: each is refused, then told to wait; the right one works all the time.
            seen = {k.ask("/api/v1/streams", token=f"weir_{i}")[0] for i in range(30)}
            self.assertEqual(seen, {401, 429})
            self.assertEqual(k.ask("/api/v1/streams", "read")[0], 200)
            k.cluster.stop()


if __name__ == "__main__":
    unittest.main()
