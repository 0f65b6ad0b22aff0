"""HTTP against strangers: TLS, tokens and roles, slow clients, garbage."""

import concurrent.futures
import errno
import http.client
import json
import os
import random
import select
import socket
import ssl
import struct
import subprocess
import time
import unittest

from weirtest import CLOUDD, EDGED, NS, WEIRCTL, Cluster, metric_sum, parse_metrics, wait_for

STREAMS = [{"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "1s", "lateness": "1s",
            "compute": ["count"], "retain": "forever"}]
MIB = 1024 * 1024


def ask(port, path, address="127.0.0.1", timeout=5, method="GET", token=None, context=None, headers=()):
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
    def test_256_held_connections_keep_nobody_out(self):
        with Cluster(clouds=1, streams=STREAMS) as c:
            c.start()
            daemon, port = c.clouds["cloud-1"], c.http["cloud-1"]
            before = daemon.rss_bytes()
            kinds = ["head", "body", "reader"]
            holders = [Holder(port, "127.0.0.1" if i % 2 else "127.0.0.3", kinds[i % 3]) for i in range(256)]
            time.sleep(0.5)  # so long the youngest are not put out
            slowest, peak, asked, end = 0, 0, 0, time.monotonic() + 16
            try:
                while time.monotonic() < end:
                    for i, h in enumerate(holders):
                        h.move()
                        if i % 32:
                            continue
                        address = "127.0.0.1" if i % 64 else "127.0.0.2"  # one that strangers hold, and one of its own
                        path = ["/healthz", "/readyz", "/api/v1/streams", "/api/v1/cluster"][asked % 4]
                        start = time.monotonic()
                        status, body = ask(port, path, address)
                        slowest = max(slowest, time.monotonic() - start)
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
                self.assertLess(peak - before, 64 * MIB)
            finally:
                for h in holders:
                    h.close()
            wait_for("the connections to be gone",
                     lambda: metric_sum(c.metrics("cloud-1"), "weir_cloud_http_connections") <= 2)
            c.stop()

    def test_each_kind_is_cut_in_time_without_any_pressure(self):
        with Cluster(clouds=1, edges={"edge-1": {}}, streams=STREAMS) as c:
            c.start()
            for node, prefix in (("cloud-1", "weir_cloud"), ("edge-1", "weir_edge")):
                holders = [Holder(c.http[node], "127.0.0.1", k) for k in ("head", "body", "reader")]
                begin, took = time.monotonic(), {}
                while len(took) < 3 and time.monotonic() < begin + 30:
                    for h in holders:
                        if h.opened == 1:
                            h.move()
                    m = c.metrics(node)
                    for reason in ("slow_head", "slow_body", "slow_reader"):
                        if metric_sum(m, f"{prefix}_http_connections_ended_total", reason=reason):
                            took.setdefault(reason, time.monotonic() - begin)
                    time.sleep(0.2)
                for h in holders:
                    h.close()
                self.assertEqual(len(took), 3, (node, took))
                self.assertGreater(min(took.values()), 9, (node, took))
                self.assertLess(max(took.values()), 14, (node, took))


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
        s.settimeout(20)
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


class Garbage(unittest.TestCase):
    def check(self, c, node, prefix, daemon, port, count, get_metrics=None):
        throw_many(port, 400, 1)  # what is allocated once is
        rss, counted = daemon.rss_bytes(), count_garbage(c, node, prefix, get_metrics)
        throw_many(port, count, 2)
        self.assertTrue(daemon.running(), daemon.log_tail())
        grown = daemon.rss_bytes() - rss
        self.assertGreaterEqual(count_garbage(c, node, prefix, get_metrics) - counted, count)
        print(f"\n    {node}: {count} requests of garbage, memory grew by {grown / 1024:.0f} KiB")
        self.assertLess(grown, 8 * MIB)

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


if __name__ == "__main__":
    unittest.main()
