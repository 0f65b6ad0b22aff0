"""Links between daemons that carry nothing, one way or both, while readings come: those who hear each other go on, those who do
not say so and acknowledge nothing, and what was healed is exact.

The cuts follow each other in one cluster over one growing data set, so each begins where the last one was healed.
WEIR_LONG=1: each has a cluster of its own, and lasts longer."""

import concurrent.futures
import itertools
import os
import random
import re
import subprocess
import sys
import threading
import time
import unittest

import netns
from test_failover import Reader, leaders, wait_equal_digests
from test_faults import T0, stream
from weirtest import (LONG, NS, ApiError, assert_rows, cloud_ledger, edge_ledger, metric_sum, oracle_windows,
                      parse_simple_lines, wait_for, slow)

CLOUDS = ("cloud-1", "cloud-2", "cloud-3")
EDGES = ("edge-1", "edge-2", "edge-3")
GROUPS = 16
SIZE_S = 10
STEP_S = 30  # of event time, at a time: windows that end in one close with the next
SELECT = ["count", "sum", "min", "max", "first", "last", "mean"]
WAYS = ("to", "from", "both")
HOLD_S = 20 if LONG else 0  # a cut lasts at least so long


def two_ways(links):
    return [l for a, b in links for l in ((a, b), (b, a))]


def between(*sides):
    """All links from one side to another."""
    return two_ways((a, b) for x, y in itertools.combinations(sides, 2) for a in x for b in y)


def one_or_both(way, links):
    """links: from edges to clouds."""
    return {"to": links, "from": [(n, e) for e, n in links], "both": two_ways(links)}[way]


def with_edge(cloud):
    """A cloud, and the edge on its side of a cut."""
    return cloud, cloud.replace("cloud", "edge")


class Plant(netns.NetCluster):
    """Three clouds, three edges, and what was measured so far. In each window each group has one reading of each edge."""

    def __init__(self):
        edges = {e: {"sources": [{"type": "file", "path": e + ".lp", "follow": True}], "idle_after": "1h", "tick": "100ms",
                     "flush": "200ms", "heartbeat": "300ms"} for e in EDGES}
        super().__init__(edges, streams=[stream()], cluster={"replicas": 3, "partitioned_after": "3s"})
        self.rng = random.Random(1)
        self.steps = 0
        self.sent = {e: [] for e in EDGES}

    def start(self):
        for e in EDGES:
            open(os.path.join(self.dir, e + ".lp"), "w").close()
        super().start()
        self.measure()
        self.wait_exact()

    def measure(self, edges=EDGES):
        """A step further, at these edges. The others measure it later."""
        self.steps += 1
        self.catch_up(edges)

    def catch_up(self, edges=EDGES):
        for e in edges:
            have = len(self.sent[e]) // (STEP_S // SIZE_S * GROUPS)
            lines = [f"m,k=g{g} v={self.rng.randrange(-1000, 1000)} {T0 + (w * SIZE_S + 5) * NS + g}\n"
                     for w in range(have * STEP_S // SIZE_S, self.steps * STEP_S // SIZE_S) for g in range(GROUPS)]
            self.sent[e] += lines
            with open(os.path.join(self.dir, e + ".lp"), "a") as f:
                f.writelines(lines)

    def count(self, edges=EDGES):
        return sum(len(self.sent[e]) for e in edges)

    def ended_s(self):
        """Since the epoch: windows that start before have ended for all edges once each has measured all steps."""
        return T0 // NS + self.steps * STEP_S - SIZE_S

    def acknowledged(self, edge):
        return metric_sum(self.metrics(edge), "weir_edge_batches_acknowledged_total")

    def ingress(self, edge):
        """Where that edge was answered last."""
        return re.findall(r'the cloud answers" cloud=(\S+)', self.edges[edge].log())[-1]

    def wait_counted(self, node, count):
        def enough():
            seen = self.total_count(node, "s")
            if seen > self.count():
                raise AssertionError(f"{seen} readings counted, {self.count()} measured")
            return seen >= count
        wait_for(f"{count} readings at {node}", enough)

    def wait_exact(self):
        """All is final at every node, all of it is right, and replicas are equal."""
        self.wait_ready()
        readings = parse_simple_lines("".join(l for lines in self.sent.values() for l in lines))
        ended = [r for r in readings if r.time < self.ended_s() * NS]
        for node in CLOUDS:
            self.wait_count(node, "s", len(ended), state="final", to=self.ended_s())
            self.wait_count(node, "s", len(readings))
        for node in CLOUDS:
            rows = self.query(node, "s")["rows"]
            assert_rows(rows, oracle_windows(readings, ["k"], SIZE_S * NS), ["k"], SIZE_S * NS, SELECT)
        wait_equal_digests(self)


class Asked(threading.Thread):
    """A question that takes its time to be refused."""

    def __init__(self, c, node):
        super().__init__(daemon=True)
        self.c, self.node, self.status = c, node, None
        self.start()

    def run(self):
        try:
            self.status = len(self.c.query(self.node, "s")["rows"])
        except ApiError as e:
            self.status = e.status
        except OSError as e:
            self.status = e

    def wait(self):
        self.join()
        return self.status


class Leftovers(unittest.TestCase):
    def test_those_of_a_killed_test_are_removed(self):
        netns.require()
        code = ("import netns, subprocess, sys\nnet = netns.Net(['a'])\n"
                "with netns.inside(net.namespace('a')):\n    p = subprocess.Popen(['sleep', '600'])\n"
                "print(net.prefix, p.pid, flush=True)\nsys.stdin.read()\n")
        dead = subprocess.Popen([sys.executable, "-c", code], cwd=os.path.dirname(os.path.abspath(__file__)), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        with dead:
            prefix, pid = dead.stdout.readline().split()
            dead.kill()
        born = netns.began(pid)
        mine = netns.Net(["b"])
        try:
            self.assertIsNotNone(born)
            netns.sweep()
            wait_for("its namespaces to be gone", lambda: not [n for n in os.listdir(netns.NAMES) if n.startswith(prefix)])  # another test may sweep, too
            wait_for("its process to be gone", lambda: netns.began(pid) != born)
            self.assertTrue(os.path.exists(os.path.join(netns.NAMES, mine.namespace("b"))))
        finally:
            mine.close()


class Partitions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        netns.require()

    def setUp(self):
        self.cut_s, self.healing_s = [], []

    @slow
    def test_matrix(self):
        """Two clusters at a time: most of it is waiting."""
        links = []
        for whole, way in zip(CLOUDS, WAYS):
            a, b = [n for n in CLOUDS if n != whole]
            links += [(self.edges_move, whole, way), (self.one_way, a, b, whole), (self.one_way, b, a, whole)]
        links += [(self.one_way_at_the_end, "cloud-1", "cloud-2", "cloud-3")]
        others = [(self.split, n) for n in CLOUDS] + [(self.split, *CLOUDS)]
        others += [(self.edge_off, e, way) for e, way in zip(EDGES, WAYS)]
        others += [(self.flap, *pair) for pair in itertools.combinations(CLOUDS, 2)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for lane in [pool.submit(self.in_turn, cuts) for cuts in (links, others)]:
                lane.result()
        print(f"\n    {len(self.cut_s)} cuts of {min(self.cut_s):.1f} to {max(self.cut_s):.1f} s; "
              f"all exact at the latest {max(self.healing_s):.1f} s after healing")

    def in_turn(self, cuts):
        """cuts: [(what does it, its arguments)]: each in the same cluster, or in one of its own."""
        for group in [[cut] for cut in cuts] if LONG else [cuts]:
            with Plant() as c:
                c.start()
                reader = Reader(c, ["s"])
                reader.start()
                try:
                    for cut, *args in group:
                        self.one(c, cut, args)
                finally:
                    reader.finish()
                self.assertGreater(reader.answers, 10)
                self.assertEqual(sum(edge_ledger(c, e)["accepted"] for e in EDGES), c.count())
                self.assertEqual(cloud_ledger(c)["s"]["merged"], c.count())
                c.stop()

    def one(self, c, cut, args):
        try:
            began = time.monotonic()
            check_after = cut(c, *args)
            pause(max(0, began + HOLD_S - time.monotonic()))
            healed = time.monotonic()
            c.net.heal()
            c.catch_up()
            c.measure()
            c.wait_exact()
            took = time.monotonic() - healed
            if check_after:
                check_after()
        except AssertionError as e:
            raise AssertionError(f"{cut.__name__} {args}: {e}") from e
        self.cut_s.append(healed - began)
        self.healing_s.append(took)

    def split(self, c, *alone):
        """One of three, with an edge that reaches only that one; or each on its own."""
        others = [n for n in CLOUDS if n not in alone]
        sides = [with_edge(n) for n in alone]
        lonely = [e for _, e in sides]
        rest = [e for e in EDGES if e not in lonely]
        c.net.cut(*between(*sides, others + rest))
        for node in alone:
            wait_for(f"{node} to say that it has no quorum", lambda n=node: is_unready(c, n))
        acknowledged = [c.acknowledged(e) for e in lonely]
        asked = [Asked(c, n) for n in alone]
        before, before_all = c.count(lonely), c.count()
        c.measure()
        for e in lonely:
            wait_for(f"{e} to spool", lambda e=e: metric_sum(c.metrics(e), "weir_edge_spool_batches") > 0)
        for node in others:
            wait_for(f"{others} to lead, says {node}", lambda n=node: set(leaders(c, n).values()) <= set(others))
            c.wait_counted(node, before + c.count(rest))
            wait_for(f"windows at {node} that close without {lonely}", lambda n=node: provisional(c, n, lonely))
        self.assertEqual([a.wait() for a in asked], [503] * len(asked))
        for node in alone:
            self.assertTrue(is_unready(c, node))
            self.assertEqual(c.total_count(node, "s", stale="ok"), before_all)
        self.assertEqual([c.acknowledged(e) for e in lonely], acknowledged)

    def edges_move(self, c, whole, way):
        """Links of the edges with all clouds but that one."""
        c.net.cut(*one_or_both(way, [(e, n) for e in EDGES for n in CLOUDS if n != whole]))
        c.measure()
        c.wait_counted(whole, c.count())
        for e in EDGES:
            wait_for(f"{e} to be at {whole}", lambda e=e: c.ingress(e) == whole)

    def one_way(self, c, a, b, whole):
        """Between two clouds, while the edges are at the third."""
        self.edges_at(c, whole)
        c.net.cut((a, b))
        c.measure()
        wait_for(f"{a} and {b} to miss each other", lambda: is_missed(c, a, b) and is_missed(c, b, a))
        c.measure()
        c.wait_counted(whole, c.count())

    def edges_at(self, c, cloud):
        """With a cluster for each cut they are anywhere."""
        if {c.ingress(e) for e in EDGES} != {cloud}:
            self.edges_move(c, cloud, "both")

    def one_way_at_the_end(self, c, a, b, whole):
        """Each of the two serves only some shards to the edges: they go on to the one that serves all."""
        self.edges_at(c, b)
        c.net.cut((a, b))
        c.measure()
        c.wait_counted(whole, c.count())

    def flap(self, c, a, b):
        """A link between clouds, and those of an edge, come and go faster than anybody can settle."""
        rng = random.Random(a + b)
        for _ in range(40 if LONG else 4):
            edge = rng.choice(EDGES)
            links = two_ways([(a, b), (edge, c.ingress(edge))])
            c.net.cut(*rng.sample(links, rng.randint(1, len(links))))
            c.measure()
            pause(rng.uniform(0.2, 1.2))
            c.net.heal()
            c.measure()
            pause(rng.uniform(0, 0.4))

    def edge_off(self, c, edge, way):
        """For longer than partitioned_after: windows close without it, and are revised once when it is back."""
        rest = [e for e in EDGES if e != edge]
        before, since_s = len(c.sent[edge]), T0 // NS + c.steps * STEP_S
        c.net.cut(*one_or_both(way, [(edge, n) for n in CLOUDS]))
        c.measure()
        wait_for(f"{edge} to be partitioned", lambda: state_of(c, edge) == "partitioned")
        c.measure()
        c.wait_counted("cloud-2", before + c.count(rest))
        closed = []
        for node in CLOUDS:
            def closes(node=node):
                rows = provisional(c, node, [edge], **{"from": since_s, "to": c.ended_s()})
                return len(rows) == GROUPS * ((c.ended_s() - since_s) // SIZE_S) and rows
            closed = wait_for(f"windows at {node} that close without {edge}", closes)
        for row in closed:
            self.assertEqual(row["edges"], {"expected": 3, "contributed": 2, "idle": 0, "partitioned": 1, "missing": [edge]})
            self.assertEqual(row["revision"], 1)
            # What cannot be answered may have arrived all the same.
            self.assertIn(row["values"]["count"], (2, 3) if way == "from" else (2,))

        def revised_once():
            after = {(r["start"], r["group"]["k"]): r for r in c.query("cloud-3", "s", **{"from": since_s})["rows"]}
            for row in closed:
                now = after[row["start"], row["group"]["k"]]
                self.assertEqual((now["state"], now["edges"]["contributed"], now["edges"]["missing"]), ("final", 3, []))
                self.assertEqual(now["revision"], 1 if row["values"]["count"] == 3 else 2, (row, now))
        return revised_once


def pause(seconds):
    """Time that a cut takes, where nothing else says how long."""
    threading.Event().wait(seconds)


def state_of(c, edge):
    return {e["name"]: e["state"] for e in c.api("cloud-1", "edges")["edges"]}[edge]


def is_unready(c, node):
    try:
        c.get(node, "/readyz")
    except ApiError as e:
        return e.status == 503


def is_missed(c, node, by):
    return {n["name"]: n["state"] for n in c.api(by, "cluster")["nodes"]}[node] == "unreachable"


def provisional(c, node, without, **params):
    return [r for r in c.query(node, "s", **params)["rows"] if r["state"] == "provisional" and r["edges"]["missing"] == without]
