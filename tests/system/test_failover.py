"""Three nodes, three replicas: whoever dies, pauses or is cut off, and however long; what was acknowledged stays, answers
never go back, and in the end everything is exact."""

import json
import os
import random
import re
import shutil
import socket
import statistics
import threading
import time
import unittest
import urllib.error

from test_exact import FIELDS, check_everywhere, growing_files, split_by_sensor, traffic_streams, wait_all_final
from test_faults import T0, check_exact, make_lines, send, stream, tcp_edge
from weirtest import (LONG, NS, SECURITY, ApiError, Cluster, assert_rows, edge_ledger, metric_sum, oracle_windows,
                      parse_simple_lines, traffic_lines, wait_for, slow)

THREE = {"replicas": 3}


def cluster_of(c, node=None):
    """/api/v1/cluster of a node that answers."""
    for name in [node] if node else c.cloud_names:
        if c.clouds[name].running():
            try:
                return c.api(name, "cluster")
            except (OSError, ApiError):
                continue
    raise OSError("no node answers")


def leaders(c, node=None):
    """{shard: name}, once every shard and the meta group have one."""
    answer = cluster_of(c, node)
    out = {s["shard"]: s["leader"] for s in answer["shards"]}
    out["meta"] = answer["meta"]["leader"]
    return out


def live(c):
    return [n for n in c.cloud_names if c.clouds[n].running()]


def wait_led(c, by=None):
    """Until every group has a leader that is up (and is one of `by`)."""
    def led():
        found = leaders(c)
        return all(n in (by or live(c)) for n in found.values()) and found
    return wait_for("a leader for every group", led)


def wait_equal_digests(c):
    """Until all replicas of every shard are at the same entry; then their digests must be equal."""
    def equal():
        answer = cluster_of(c)
        for s in answer["shards"] + [answer["meta"]]:
            if len({r["digest_index"] for r in s["replicas"]}) != 1 or len(s["replicas"]) != len(c.cloud_names):
                return None
        return answer
    answer = wait_for("all replicas at the same entry", equal)
    for s in answer["shards"] + [answer["meta"]]:
        digests = {r["digest"] for r in s["replicas"]}
        assert len(digests) == 1, f"replicas differ: {s}"
    return answer


class Reader(threading.Thread):
    """Asks live nodes in turn, without pause: a count once seen never falls."""

    def __init__(self, c, streams):
        super().__init__(daemon=True)
        self.c, self.streams = c, streams
        self.highest = dict.fromkeys(streams, 0)
        self.answers, self.refusals = 0, 0
        self.problem = None
        self.stopping = threading.Event()

    def run(self):
        rng = random.Random(5)
        while not self.stopping.is_set() and not self.problem:
            names = live(self.c)
            if not names:
                self.stopping.wait(0.05)
                continue
            node, name = rng.choice(names), rng.choice(self.streams)
            try:
                before = self.highest[name]
                seen = self.c.total_count(node, name)
            except (OSError, ValueError, ApiError):
                self.refusals += 1
                self.stopping.wait(0.05)
                continue
            self.answers += 1
            if seen < before:
                self.problem = f"{name} at {node}: {seen} readings after {before}"
            self.highest[name] = max(seen, before)

    def finish(self):
        self.stopping.set()
        self.join()
        assert not self.problem, self.problem


@slow
class KillsWithoutWaiting(unittest.TestCase):
    """kill -9 of a shard's leader, a follower, the meta group's leader, the edges' ingress, an edge: the others go on without it.
    It is started again only when they have."""

    def test_kills(self):
        lines = traffic_lines()
        resumed = []
        for seed in range(20 if LONG else 1 if SECURITY else 3):
            with self.subTest(seed=seed):
                self.one_round(lines, random.Random(seed), resumed)
        print(f"\n    writes resumed after {len(resumed)} kills of clouds: median {statistics.median(resumed):.2f} s, "
              f"longest {max(resumed):.2f} s")

    def probe(self, c, k, sent):
        """Readings for every shard, and the time until a linearizable answer has them all."""
        began = time.monotonic()
        with open(os.path.join(c.dir, "probe.lp"), "a") as f:
            for i in range(40):
                f.write(f"probe,k=g{i} v={k} {T0 + k * NS}\n")
        sent[0] += 40
        wait_for("writes to all shards to go on", lambda: self.counted(c) >= sent[0])
        return time.monotonic() - began

    def counted(self, c):
        seen = c.total_count(live(c)[0], "probe")
        return seen

    def victim(self, c, kind, rng):
        led = wait_led(c)
        if kind == "edge":
            return rng.choice(list(c.edges.values()))
        if kind == "meta":
            return c.clouds[led["meta"]]
        if kind == "leader":
            return c.clouds[led[rng.randrange(8)]]
        if kind == "ingress":
            return c.clouds["cloud-1"]  # where the first edge connects first
        leading = set(led.values())
        return c.clouds[rng.choice([n for n in c.cloud_names if n not in leading] or c.cloud_names)]

    def one_round(self, lines, rng, resumed):
        parts = split_by_sensor(lines, 2)
        edges = {f"edge-{i + 1}": {"sources": [{"type": "file", "path": f"edge-{i + 1}.lp", "follow": True}],
                                   "idle_after": "4s", "tick": "100ms", "flush": "200ms", "heartbeat": "500ms"}
                 for i in range(2)}
        edges["edge-1"]["sources"].append({"type": "file", "path": "probe.lp", "follow": True})
        probe = {"name": "probe", "from": {"measurement": "probe", "field": "v"}, "by": ["k"], "window": "10s",
                 "lateness": "1h", "compute": ["count"], "retain": "forever", "edges": ["edge-1"]}
        with Cluster(edges=edges, streams=traffic_streams("5m") + [probe], cluster=THREE) as c:
            open(os.path.join(c.dir, "probe.lp"), "w").close()
            reader = Reader(c, FIELDS)
            reader.start()
            sent = [0]
            try:
                with growing_files(c, parts, 150) as pace:
                    c.start()
                    self.probe(c, 0, sent)
                    kinds = ["leader", "follower", "meta", "ingress", "edge"]
                    rng.shuffle(kinds)
                    for k, kind in enumerate(kinds):
                        victim = self.victim(c, kind, rng)
                        pace.wait(rng.uniform(0.0, 0.5))
                        victim.kill()
                        if kind == "edge":
                            victim.start()
                            self.probe(c, k + 1, sent)
                        else:
                            resumed.append(self.probe(c, k + 1, sent))
                            victim.start()
                        c.wait_ready()
            finally:
                reader.finish()
            wait_all_final(c, lines)
            for field in FIELDS:
                check_everywhere(c, lines, field, field, 300)
            for e in c.edges:
                edge_ledger(c, e)
            self.assertEqual(sum(edge_ledger(c, e)["accepted"] for e in c.edges), len(lines) + sent[0])
            self.assertEqual(c.total_count("cloud-2", "probe"), sent[0])
            self.assertGreater(reader.answers, 10)
            wait_equal_digests(c)


class NoQuorum(unittest.TestCase):
    def test_two_of_three_stopped(self):
        """Nothing is acknowledged, readiness says why, edges spool; with one node back it drains, exact."""
        lines = make_lines(2000)
        with Cluster(edges={"edge-1": tcp_edge(idle_after="2s")}, streams=[stream()], cluster=THREE) as c:
            c.start()
            send(c.tcp["edge-1"], lines[:1000])
            wait_for("half is in", lambda: c.total_count("cloud-1", "s") >= 900)
            wait_for("half is acknowledged", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_spool_batches") == 0)
            c.clouds["cloud-2"].kill()
            c.clouds["cloud-3"].kill()

            def not_ready():
                try:
                    c.get("cloud-1", "/readyz")
                except ApiError as e:
                    return e.status == 503 and "leader" in str(e)
            wait_for("readiness to say so", not_ready)
            acked = metric_sum(c.metrics("edge-1"), "weir_edge_batches_acknowledged_total")
            send(c.tcp["edge-1"], lines[1000:])
            wait_for("the edge to spool", lambda: edge_ledger(c, "edge-1")["accepted"] == len(lines)
                     and metric_sum(c.metrics("edge-1"), "weir_edge_spool_batches") > 0)
            with self.assertRaises(ApiError) as refused:
                c.query("cloud-1", "s")
            self.assertEqual(refused.exception.status, 503)
            stale = c.api("cloud-1", "query", stream="s", stale="ok")
            self.assertLessEqual(sum(r["values"]["count"] for r in stale["rows"]), 1000)
            self.assertIn("age_ms", stale["stale"])
            self.assertEqual(metric_sum(c.metrics("edge-1"), "weir_edge_batches_acknowledged_total"), acked)
            self.assertIn("1 of 3 nodes answers; no shard has a quorum", c.ctl("status", check=False).stdout)
            c.clouds["cloud-3"].start()
            check = [n for n in c.cloud_names if n != "cloud-2"]
            c.wait_ready(check)
            c.wait_count("cloud-1", "s", len(lines), state="final")
            for node in check:
                assert_rows(c.query(node, "s")["rows"], oracle_windows(parse_simple_lines("".join(lines)), ["k"], 10 * NS),
                            ["k"], 10 * NS, ["count", "sum", "min", "max", "first", "last", "mean"])
            c.clouds["cloud-2"].start()
            c.wait_ready()
            check_exact(self, c, lines)
            wait_equal_digests(c)


class LostDisk(unittest.TestCase):
    def test_wiped_node_comes_back_by_snapshot(self):
        """Its folder is gone; the log of the others no longer reaches back; writes go on while it is brought up."""
        rng = random.Random(4)
        # Many groups with sketches: more than the leaders keep of their logs.
        wide = stream(compute=["count", "sum", "min", "max", "first", "last", "mean", "p50"], by=["k"], max_groups=1000000)
        lines = [f"m,k=g{i % 80000} v={rng.uniform(-1e6, 1e6)!r} {T0 + i // 80000 * 10 * NS + i % 1000}\n"
                 for i in range(640000)]
        with Cluster(edges={"edge-1": tcp_edge(idle_after="3s", limits={"memory": "512MiB", "disk": "2GiB"})}, streams=[wide],
                     cluster=dict(THREE, shards=1)) as c:
            c.start()
            wait_led(c)
            c.clouds["cloud-3"].kill()
            shutil.rmtree(os.path.join(c.dir, "run", "cloud-3"))
            send(c.tcp["edge-1"], lines[:600000])
            wait_for("the edge to have read it", lambda: edge_ledger(c, "edge-1")["accepted"] == 600000)
            wait_for("the spool to drain", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_spool_batches") == 0)
            for node in ("cloud-1", "cloud-2"):  # the meta group's few entries are all kept
                wait_for("the beginning of the log is gone", lambda: metric_sum(c.metrics(node), "weir_cloud_truncated_total") > 0)
            c.clouds["cloud-3"].start()
            send(c.tcp["edge-1"], lines[600000:])
            c.wait_ready()
            c.wait_count("cloud-1", "s", len(lines), state="final")
            wait_equal_digests(c)
            fetched = metric_sum(c.metrics("cloud-3"), "weir_cloud_snapshots_fetched_total")
            self.assertGreater(fetched, 0)
            # and it is a full member: it and one other carry the cluster
            c.clouds["cloud-1"].kill()
            wait_led(c, ["cloud-2", "cloud-3"])
            self.assertEqual(c.total_count("cloud-3", "s"), len(lines))


class PausedLeader(unittest.TestCase):
    def test_stopped_and_continued(self):
        """SIGSTOP of a leader, for a minute in the long run. Requests that wait in its sockets all the while are served in the
        instant it goes on: none may see the past."""
        lines = make_lines(3000, groups=40)
        with Cluster(edges={"edge-1": tcp_edge(idle_after="2s", flush="200ms")}, streams=[stream(lateness="1h")],
                     cluster=THREE) as c:
            c.start()
            led = wait_led(c)
            victim = led[0]
            others = [n for n in c.cloud_names if n != victim]
            send(c.tcp["edge-1"], lines[:1000])
            wait_for("a third is in", lambda: c.total_count(others[0], "s") == 1000)
            c.clouds[victim].signal(19)
            try:
                began = time.monotonic()
                asked = [ask_later(c, victim) for _ in range(4)]
                wait_for("the others lead", lambda: all(leaders(c, n).values() and victim not in leaders(c, n).values()
                                                        for n in others))
                send(c.tcp["edge-1"], lines[1000:2000])
                wait_for("two thirds are in", lambda: c.total_count(others[0], "s") == 2000)
                wait_for("a minute, or some seconds", lambda: time.monotonic() - began > (60 if LONG else 5))
            finally:
                c.clouds[victim].signal(18)
            for s in asked:
                answer = read_answer(s)
                if answer is not None:
                    self.assertEqual(sum(r["values"]["count"] for r in answer["rows"]), 2000)
            wait_for("the paused node to answer", lambda: c.total_count(victim, "s") == 2000)
            send(c.tcp["edge-1"], lines[2000:])
            check_exact(self, c, lines)
            wait_equal_digests(c)


def ask_later(c, node):
    """A query that lies in the socket of a stopped process."""
    s = socket.create_connection(("127.0.0.1", c.http[node]), timeout=120)
    s.sendall(b"GET /api/v1/query?stream=s&select=count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return s


def read_answer(s):
    """The answer, or None where it was refused."""
    data = b""
    with s:
        while True:
            try:
                more = s.recv(65536)
            except OSError:
                break
            if not more:
                break
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        return None
    if b"chunked" in head.lower():
        out = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            n = int(size, 16)
            out += body[:n]
            body = body[n + 2:]
        body = out
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if "rows" in answer else None


class LeadersSpread(unittest.TestCase):
    def test_leaders_spread_and_move_back(self):
        """Each node leads its share; after it was away, it gets it back."""
        with Cluster(streams=[stream()], cluster=dict(THREE, shards=9)) as c:
            c.start()

            def spread():
                found = list(leaders(c).values())
                return all(found.count(n) >= 3 for n in c.cloud_names)
            wait_for("leaders on all nodes", spread)
            c.clouds["cloud-2"].kill()
            wait_led(c)
            c.clouds["cloud-2"].start()
            c.wait_ready()
            wait_for("its share to come back", spread)
            status = c.ctl("status").stdout
            for n in c.cloud_names:
                self.assertIn(n, status)


class FirstStart(unittest.TestCase):
    def test_waits_for_every_node_once_and_says_so(self):
        with Cluster(streams=[stream()], cluster=THREE) as c:
            c.clouds["cloud-1"].start()
            c.clouds["cloud-2"].start()

            def waits():
                try:
                    c.get("cloud-1", "/readyz")
                except ApiError as e:
                    return "cloud-3" in str(e)
            wait_for("readiness to name the node that lacks", waits)
            c.clouds["cloud-3"].start()
            c.wait_ready()
