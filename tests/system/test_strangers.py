"""Who has no key, a wrong one, a removed one, or somebody else's name, at a node's ZeroMQ port."""

import json
import os
import random
import socket
import statistics
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

try:
    import zmq
except ImportError:
    zmq = None

from weirtest import DEADLINE_S, NS, Awake, Cluster, alone, metric_sum, slow, wait_for

MIB = 1 << 20
T0 = 1_700_000_000 * NS
STREAM = {"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "lateness": "1s", "retain": "forever",
          "compute": ["count"]}
EDGES = ("edge-1", "edge-2", "edge-3")
IDLE = 1000
# Frames by hand (proto/weir.proto). A later protocol's is answered with an error: a question that anybody may ask.
ASK = b"\x08\x63"
# Of ZMTP 3.1, up to the mechanism.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01"


def report_of(edge):
    """A report that says it is from, and about, an edge."""
    name = edge.encode()
    body = b"\x0a" + bytes([len(name)]) + name
    return b"\x08\x01\x1a" + bytes([len(name)]) + name + b"\xb2\x01" + bytes([len(body)]) + body


def read_key(path):
    with open(path) as f:
        return [line.strip() for line in f if len(line.strip()) == 40][0].encode()


@unittest.skipUnless(zmq, "python3-zmq is not here")
class Strangers(unittest.TestCase):
    def setUp(self):
        self.context = zmq.Context()
        self.addCleanup(self.context.destroy, linger=0)

    def connect(self, c, public=None, secret=None, server=None):
        s = self.context.socket(zmq.DEALER)
        s.linger = 0
        if public:
            s.curve_serverkey = server or read_key(os.path.join(c.keys, "cloud-1.pub"))
            s.curve_publickey, s.curve_secretkey = public, secret
        s.connect(f"tcp://127.0.0.1:{c.zmq['cloud-1']}")
        return s

    def connect_as(self, c, edge):
        return self.connect(c, read_key(os.path.join(c.keys, edge + ".pub")), read_key(os.path.join(c.keys, edge + ".key")))

    def ask(self, s, frame=ASK):
        s.send(frame)
        self.assertTrue(s.poll(1000 * DEADLINE_S), "no answer")
        return s.recv()

    def count(self, c, name, **labels):
        return metric_sum(c.metrics("cloud-1"), name, **labels)

    def frames(self, c):
        return self.count(c, "weir_cloud_zmq_frames_total", direction="in")

    def wait_refused(self, c, reason, n=1):
        wait_for(f"{n} refused for {reason}", lambda: self.count(c, "weir_cloud_handshakes_refused_total", reason=reason) >= n)

    def latency(self, s, n=200):
        took = []
        for _ in range(n):
            start = time.monotonic()
            self.ask(s)
            took.append(time.monotonic() - start)
        return statistics.median(took)

    def throw(self, c, data):
        """Bytes at the port, until it hangs up or all are sent."""
        with socket.create_connection(("127.0.0.1", c.zmq["cloud-1"]), timeout=60) as s:
            try:
                for chunk in data:
                    s.sendall(chunk)
            except OSError:
                pass

    @alone
    def test_strangers(self):
        edges = {e: {"sources": [{"type": "tcp"}] if e == "edge-1" else [], "idle_after": "2s"} for e in EDGES}
        with Cluster(clouds=1, edges=edges, streams=[STREAM], security=True) as c:
            c.start(edges=False)
            self.no_byte_is_read(c)
            self.names_are_those_of_keys(c)
            self.a_removed_key_ends_within_a_second(c)
            self.idle_ones_disturb_nobody(c)

    def no_byte_is_read(self, c):
        self.assertEqual(self.frames(c), 0)  # one node, no edge yet
        sockets = [self.connect(c), self.connect(c, *zmq.curve_keypair()),
                   self.connect(c, read_key(os.path.join(c.keys, "edge-2.pub")), read_key(os.path.join(c.keys, "edge-2.key")),
                                server=zmq.curve_keypair()[0])]
        for s in sockets:
            s.send(report_of("edge-1"))
        # Of the first, libzmq's own side may find that the mechanisms differ, and go, before the cloud does.
        with socket.create_connection(("127.0.0.1", c.zmq["cloud-1"]), timeout=60) as raw:
            raw.sendall(GREETING + b"NULL".ljust(52, b"\0"))
            while raw.recv(4096):
                pass
        for reason in ("no_curve", "unknown_key", "wrong_server_key"):
            self.wait_refused(c, reason)
        for s in sockets:
            s.close()
        rng = random.Random(1)
        before = c.clouds["cloud-1"].rss_bytes()
        greeting = GREETING + b"CURVE".ljust(52, b"\0")
        endless = b"\x06" + (200 << 20).to_bytes(8, "big")  # a command of 200 MiB
        for _ in range(100):
            self.throw(c, [rng.randbytes(2000)])
            self.throw(c, [greeting, endless] + [bytes(65536)] * 64)
            self.throw(c, [b"GET / HTTP/1.1\r\n\r\n"] * 100)
        self.assertEqual(self.frames(c), 0)
        wait_for("them to be counted", lambda: self.count(c, "weir_cloud_handshakes_refused_total") > 100)
        self.assertLess(c.clouds["cloud-1"].rss_bytes() - before, 32 * MIB)

    def names_are_those_of_keys(self, c):
        s = self.connect_as(c, "edge-2")
        self.assertIn(b"key is not that of the name", self.ask(s, report_of("edge-1")))
        self.assertIn(b"key is not that of the name", self.ask(s, report_of("cloud-1")))
        wait_for("both counted", lambda: self.count(c, "weir_cloud_identity_refused_total", reason="other_name") == 2)
        self.assertEqual(self.frames(c), 2)
        s.close()
        # The route that another one could have: its frames are not taken, and the others are served.
        thief = self.context.socket(zmq.DEALER)
        thief.linger = 0
        thief.setsockopt(zmq.IDENTITY, b"edge-3")
        thief.curve_serverkey = read_key(os.path.join(c.keys, "cloud-1.pub"))
        thief.curve_publickey = read_key(os.path.join(c.keys, "edge-2.pub"))
        thief.curve_secretkey = read_key(os.path.join(c.keys, "edge-2.key"))
        thief.connect(f"tcp://127.0.0.1:{c.zmq['cloud-1']}")
        thief.send(ASK)
        wait_for("the chosen route to be refused", lambda: self.count(c, "weir_cloud_zmq_dropped_total", reason="own_route") == 1)
        self.ask(self.connect_as(c, "edge-3"))
        self.assertFalse(thief.poll(0))

    def a_removed_key_ends_within_a_second(self, c):
        public, secret = read_key(os.path.join(c.keys, "edge-2.pub")), read_key(os.path.join(c.keys, "edge-2.key"))
        s = self.connect(c, public, secret)
        self.ask(s)
        path = os.path.join(c.keys, "edge-2.pub")
        os.rename(path, path + ".away")
        with Awake() as clock:
            start = clock.now()
            wait_for("it to be told why", lambda: s.poll(0) and b"not allowed any more" in s.recv())  # though it says nothing
            wait_for("its connection to be cut", lambda: self.count(c, "weir_cloud_zmq_connections_ended_total") >= 1)
            self.assertLess(clock.now() - start, 10)  # a second, and what a busy machine takes
        self.assertEqual(self.count(c, "weir_cloud_identity_refused_total", reason="removed_key"), 1)
        s.close()
        refused = self.count(c, "weir_cloud_handshakes_refused_total", reason="unknown_key")
        again = self.connect(c, public, secret)
        self.wait_refused(c, "unknown_key", refused + 1)
        again.close()
        os.rename(path + ".away", path)
        wait_for("the key to be known", lambda: self.count(c, "weir_cloud_keys") == len(EDGES) + 1)
        self.assertNotIn(b"not allowed any more", self.ask(self.connect(c, public, secret)))

    def idle_ones_disturb_nobody(self, c):
        daemon = c.clouds["cloud-1"]
        c.edges["edge-1"].start()
        c.wait_healthy("edge-1")
        probe = self.connect_as(c, "edge-3")
        self.latency(probe, 20)
        before = self.latency(probe)
        rss = daemon.rss_bytes()
        idle, due = [], time.monotonic()

        def at_limit():
            """Each is dropped after 3 s: where a busy machine had not seen all of them by then, they come again."""
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + 4
                while idle:
                    idle.pop().close()
                for _ in range(IDLE):
                    idle.append(socket.socket())
                    idle[-1].setblocking(False)
                    idle[-1].connect_ex(("127.0.0.1", c.zmq["cloud-1"]))
            return self.count(c, "weir_cloud_zmq_shut_total", reason="limit") > 0
        try:
            wait_for("them at the limit", at_limit)
            with socket.create_connection(("127.0.0.1", c.tcp["edge-1"])) as s:
                s.sendall("".join(f"m,k=a v={i} {T0 + i * NS // 100}\n" for i in range(2000)).encode())
            during = self.latency(probe)
            self.assertLess(during, max(2 * before, 0.02), (before, during))
            c.wait_count("cloud-1", "s", 2000)
            top = self.count(c, "weir_cloud_zmq_connections_max") + 128 + 8
            self.assertLess(self.count(c, "weir_cloud_zmq_connections"), top)
            self.assertLess(daemon.rss_bytes() - rss, 64 * MIB)
            self.assertEqual(self.count(c, "weir_cloud_zmq_shut_total", reason="descriptors"), 0)
            wait_for("room for others", lambda: self.count(c, "weir_cloud_zmq_connections") < top / 2)
            self.ask(self.connect_as(c, "edge-2"))  # a newcomer gets through
        finally:
            for s in idle:
                s.close()


@slow
class Revoked(unittest.TestCase):
    """`weirctl edge revoke` and `allow`, under traffic, in a cluster of three."""

    def test_without_keys(self):
        self.revoke_and_allow(False)

    def test_with_keys(self):
        self.revoke_and_allow(True)

    def revoke_and_allow(self, security):
        names = ("edge-1", "edge-2")
        edges = {e: {"sources": [{"type": "tcp"}], "idle_after": "30s"} for e in names}
        with Cluster(clouds=3, edges=edges, streams=[STREAM], security=security) as c:
            c.start()
            self.sent = dict.fromkeys(names, 0)
            stop = threading.Event()
            senders = [threading.Thread(target=self.send, args=(c, e, stop)) for e in names]
            for t in senders:
                t.start()
            try:
                for e in names:
                    wait_for(f"readings of {e}", lambda e=e: self.count(c, e) > 1000)
                self.shut_out(c)
                self.let_in(c)
            finally:
                stop.set()
                for t in senders:
                    t.join()
            for e in names:
                wait_for(f"all of {e}, once", lambda e=e: self.count(c, e) >= self.sent[e])
                self.assertEqual(self.count(c, e), self.sent[e])
            if security:
                self.a_removed_key_is_named(c)

    def send(self, c, edge, stop):
        """A second of event time in each 50 ms."""
        with socket.create_connection(("127.0.0.1", c.tcp[edge])) as s:
            while not stop.is_set():
                n = self.sent[edge]
                s.sendall("".join(f"m,k={edge} v={i} {T0 + i * NS // 100}\n" for i in range(n, n + 100)).encode())
                self.sent[edge] += 100
                time.sleep(0.05)

    def count(self, c, edge):
        return c.total_count("cloud-1", "s", where=f"k={edge}")

    def edge(self, c, node, name):
        return [e for e in c.api(node, "edges")["edges"] if e["name"] == name][0]

    def post(self, c, node, path):
        headers = {"Authorization": "Bearer " + c.token} if c.token else {}
        request = urllib.request.Request(c.url(node) + "/api/v1/edges/" + path, method="POST", headers=headers)
        with urllib.request.urlopen(request, timeout=30, context=c.context) as r:
            return json.load(r)

    def probes(self, c, context):
        """Who speaks as edge-1 with each of the nodes."""
        sockets = []
        for node in c.cloud_names:
            s = context.socket(zmq.DEALER)
            s.linger = 0
            if c.keys:
                s.curve_serverkey = read_key(os.path.join(c.keys, node + ".pub"))
                s.curve_publickey = read_key(os.path.join(c.keys, "edge-1.pub"))
                s.curve_secretkey = read_key(os.path.join(c.keys, "edge-1.key"))
            s.connect(f"tcp://127.0.0.1:{c.zmq[node]}")
            sockets.append(s)
            self.assertNotIn(b"revoked", self.ask(s))
        return sockets

    def ask(self, s):
        s.send(report_of("edge-1"))
        self.assertTrue(s.poll(1000 * DEADLINE_S), "no answer")
        return s.recv()

    @unittest.skipUnless(zmq, "python3-zmq is not here")
    def shut_out(self, c):
        context = zmq.Context()
        self.addCleanup(context.destroy, linger=0)
        sockets = self.probes(c, context)
        answer = self.post(c, "cloud-2", "edge-1/revoke")
        self.assertTrue(answer["revoked"])
        left = set(sockets)
        with Awake() as clock:
            start = clock.now()
            while left:
                left -= {s for s in left if b"revoked" in self.ask(s)}
                took = clock.now() - start
                self.assertLess(took, 1, f"{len(left)} nodes still listen to it")
        print(f"revoked after {took * 1000:.0f} ms", file=sys.stderr)
        context.destroy(linger=0)
        wait_for("the edge to notice", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_uplink_state", state="fenced"))
        counted, other = self.count(c, "edge-1"), self.count(c, "edge-2")
        wait_for("the other edge to go on", lambda: self.count(c, "edge-2") > other + 3000)
        self.assertEqual(self.count(c, "edge-1"), counted)
        self.assertGreater(self.sent["edge-1"], counted)
        for node in c.cloud_names:
            wait_for("its state", lambda n=node: [self.edge(c, n, "edge-1")[k] for k in ("revoked", "state")] == [True, "partitioned"])
            self.assertFalse(self.edge(c, node, "edge-2")["revoked"])
        wait_for("windows that name it", lambda: [r for r in c.query("cloud-3", "s")["rows"]
                                                  if r["state"] == "provisional" and r["edges"]["missing"] == ["edge-1"]])
        self.assertRegex(c.ctl("edges").stdout, r"edge-1 +partitioned .* revoked\n")
        log = c.edges["edge-1"].log()
        self.assertRegex(log, "REFUSED, sending nothing any more: .*revoked.*weirctl edge allow")
        self.assertNotIn("readmit", log)
        self.assertTrue([1 for (name, labels) in c.metrics("edge-1") if name == "weir_edge_uplink_fenced" and "edge allow" in dict(labels)["reason"]])
        self.assertGreater(metric_sum(c.metrics("edge-1"), "weir_edge_spool_batches"), 0)

    def let_in(self, c):
        with self.assertRaises(urllib.error.HTTPError) as e:
            self.post(c, "cloud-1", "nobody/revoke")
        self.assertEqual(e.exception.code, 404)
        self.assertIn("allowed", c.ctl("edge", "allow", "edge-1", node="cloud-3").stdout)
        before = self.count(c, "edge-1")
        wait_for("it to go on", lambda: self.count(c, "edge-1") > before)
        wait_for("it to be live", lambda: self.edge(c, "cloud-1", "edge-1")["state"] in ("live", "catching_up"))
        self.assertFalse(self.edge(c, "cloud-1", "edge-1")["revoked"])
        self.assertNotIn("edge readmit", c.edges["edge-1"].log())

    def a_removed_key_is_named(self, c):
        os.unlink(os.path.join(c.keys, "edge-2.pub"))
        wait_for("the edge to notice", lambda: "REFUSED" in c.edges["edge-2"].log())
        self.assertRegex(c.edges["edge-2"].log(), "REFUSED, .*the key of this connection is not allowed any more: NAME.pub")
        self.assertNotIn("readmit", c.edges["edge-2"].log())


class Keys(unittest.TestCase):
    def test_keygen_makes_what_is_missing(self):
        with Cluster(clouds=1, edges={"edge-1": {}}, streams=[STREAM], security=True) as c:
            c.prepare_http()

            def mode(name):
                return os.stat(os.path.join(c.keys, name)).st_mode & 0o777
            self.assertEqual((mode("."), mode("edge-1.key"), mode("edge-1.pub")), (0o700, 0o600, 0o644))
            kept = read_key(os.path.join(c.keys, "edge-1.key"))
            os.unlink(os.path.join(c.keys, "cloud-1.pub"))
            self.assertIn("1 pair made, 1 there already", c.keygen())
            self.assertEqual(read_key(os.path.join(c.keys, "edge-1.key")), kept)
            self.assertEqual(c.ctl("check", "--node", "edge-1", c.config).returncode, 0)
            for name in ("edge-1.tls.crt", "tokens"):  # an edge with `http` does not start without them
                path = os.path.join(c.keys, name)
                os.rename(path, path + ".away")
                r = c.ctl("check", "--node", "edge-1", c.config, check=False)
                self.assertEqual((r.returncode, path in r.stderr), (2, True), r.stderr)
                os.rename(path + ".away", path)
            os.chmod(os.path.join(c.keys, "edge-1.key"), 0o640)
            r = c.ctl("check", "--node", "edge-1", c.config, check=False)
            self.assertEqual(r.returncode, 2)
            self.assertIn("chmod 600", r.stderr)
            c.edges["edge-1"].start()
            self.assertEqual(c.edges["edge-1"].process.wait(DEADLINE_S), 2)
            self.assertIn("chmod 600", c.edges["edge-1"].log())

    def test_keys_rotate_under_traffic(self):
        """An edge's and a node's, each taken up without a restart, the old ones retired; nothing is lost or counted twice."""
        edges = {"edge-1": {"sources": [{"type": "tcp"}], "idle_after": "2s"}}
        with Cluster(clouds=1, edges=edges, streams=[STREAM], security=True) as c:
            c.start()
            sent = 0

            def send_more():
                nonlocal sent
                with socket.create_connection(("127.0.0.1", c.tcp["edge-1"])) as s:
                    s.sendall("".join(f"m,k=a v={i} {T0 + i * NS // 100}\n" for i in range(sent, sent + 500)).encode())
                sent += 500

            def done():
                return metric_sum(c.metrics("cloud-1"), "weir_cloud_zmq_connections_total", result="handshake_done")

            def keys():
                return metric_sum(c.metrics("cloud-1"), "weir_cloud_keys")
            wait_for("the edge", lambda: done() >= 1)
            for name in ("edge-1", "cloud-1"):
                send_more()
                before = done()
                c.keygen("--rotate", name)
                wait_for(f"{name}'s new key to be taken up", lambda: keys() == 3 and done() > before)
                send_more()
                c.keygen("--retire", name)
                wait_for(f"{name}'s old key to be forgotten", lambda: keys() == 2)
                self.assertFalse(os.path.exists(os.path.join(c.keys, name + ".key.old")))
                send_more()
            c.wait_count("cloud-1", "s", sent)
            self.assertEqual(metric_sum(c.metrics("cloud-1"), "weir_cloud_identity_refused_total"), 0)
