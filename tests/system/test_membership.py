"""Nodes come, leave, die and return while edges write: nothing is lost or counted twice, no shard loses its quorum, and each
node has its share in the end."""

import concurrent.futures
import json
import os
import random
import shutil
import subprocess
import threading
import time
import unittest

from test_failover import THREE, cluster_of, live
from test_faults import T0, stream
from weirtest import (CLOUDD, DEADLINE_S, NS, WEIRCTL, ApiError, Cluster, Daemon, assert_rows, edge_ledger, free_port, metric_sum,
                      oracle_windows, parse_simple_lines, wait_for, slow)

COLUMNS = ["count", "sum", "min", "max", "first", "last", "mean"]


class Writer(threading.Thread):
    """Appends readings to an edge's file, without pause, until told to stop."""

    def __init__(self, c, edge, number):
        super().__init__(daemon=True)
        self.c, self.edge, self.number = c, edge, number
        self.path = os.path.join(c.dir, edge + ".lp")
        self.lines = []
        self.rng = random.Random(number)
        self.stopping = threading.Event()
        open(self.path, "w").close()

    def run(self):
        at = 0
        with open(self.path, "a") as f:
            while not self.stopping.wait(0.05):
                new = [f"m,k=e{self.number}g{self.rng.randrange(20)} v={self.rng.randrange(-1000, 1000)} "
                       f"{T0 + (at + i) * NS // 20}\n" for i in range(20)]
                at += 20
                self.lines += new
                f.writelines(new)
                f.flush()

    def finish(self):
        self.stopping.set()
        self.join()
        return self.lines


class Pauses(threading.Thread):
    """Watches the edges: the longest time in which one of them got no batch acknowledged."""

    def __init__(self, c):
        super().__init__(daemon=True)
        self.c = c
        self.stopping = threading.Event()
        self.longest = 0.0

    def run(self):
        last = {e: (0, time.monotonic()) for e in self.c.edges}
        while not self.stopping.wait(0.03):
            for e in self.c.edges:
                try:
                    acked = metric_sum(self.c.metrics(e), "weir_edge_batches_acknowledged_total")
                except (OSError, ApiError):
                    continue
                now = time.monotonic()
                if acked != last[e][0]:
                    last[e] = (acked, now)
                self.longest = max(self.longest, now - last[e][1])

    def since(self):
        longest, self.longest = self.longest, 0.0
        return longest

    def finish(self):
        self.stopping.set()
        self.join()


def file_edges(n):
    return {f"edge-{i + 1}": {"sources": [{"type": "file", "path": f"edge-{i + 1}.lp", "follow": True}], "idle_after": "3s",
                              "tick": "100ms", "flush": "200ms", "heartbeat": "300ms"} for i in range(n)}


def prepare(c, name):
    """Another daemon, with a file of its own that lists it: not started, and not added yet."""
    c.http[name], c.zmq[name] = free_port(), free_port()
    spec = json.loads(json.dumps(c.spec))
    spec["cloud"] = [n for n in c.spec["cloud"] if n["name"] != name]
    spec["cloud"].append({"name": name, "listen": f"tcp://127.0.0.1:{c.zmq[name]}",
                          "http": f"127.0.0.1:{c.http[name]}", "data": f"run/{name}"})
    daemon = Daemon(c, CLOUDD, name)
    daemon.config = os.path.join(c.dir, f"topology-{name}.yaml")
    with open(daemon.config, "w") as f:
        json.dump(spec, f, indent=1)
    c.clouds[name] = daemon
    c.cloud_names.append(name)
    if c.is_secure():
        subprocess.run([WEIRCTL, "keygen", "--config", daemon.config], check=True, capture_output=True, cwd=c.dir)


def add(c, name):
    """weirctl node add, and the node started meanwhile; how long it took."""
    prepare(c, name)
    asked = next(n for n in live(c) if n != name)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        added = pool.submit(c.ctl, "node", "add", name, "--listen", f"tcp://127.0.0.1:{c.zmq[name]}", "--http", f"127.0.0.1:{c.http[name]}",
                            "--yes", node=asked, timeout=600)
        wait_for(f"{name} in the map", lambda: added.done() or any(n["name"] == name for n in cluster_of(c, asked)["nodes"]))
        c.clouds[name].start()
        r = added.result()
    assert f"{name} has its share" in r.stdout, r.stdout + r.stderr
    return time.monotonic() - began


def remove(c, name):
    """weirctl node remove; the node goes on until it says that it is out. How long it took."""
    asked = next(n for n in live(c) if n != name)
    began = time.monotonic()
    r = c.ctl("node", "remove", name, "--yes", node=asked, timeout=600)
    took = time.monotonic() - began
    assert "is out of the cluster" in r.stdout, r.stdout + r.stderr

    def says_so():
        try:
            c.get(name, "/readyz")
        except ApiError as e:
            return e.status == 503 and "removed from the cluster" in str(e)
    if c.clouds[name].running():
        wait_for(f"{name} to say that it was removed", says_so)
        assert c.clouds[name].stop() == 0
    del c.clouds[name]
    c.cloud_names.remove(name)
    return took


def groups_of(c):
    answer = cluster_of(c)
    return [answer["meta"]] + answer["shards"]


def expect_shares(c, nodes, replicas):
    """Replicas and leaders are even, on these nodes only."""
    def even():
        groups = groups_of(c)
        if not all(g["settled"] and g["quorum"] for g in groups):
            return None
        held = {n: sum(r["node"] == n for g in groups for r in g["replicas"]) for n in nodes}
        led = {n: sum(g["leader"] == n for g in groups) for n in nodes}
        fine = (sum(held.values()) == len(groups) * replicas and max(held.values()) - min(held.values()) <= 1 and
                sum(led.values()) == len(groups) and max(led.values()) - min(led.values()) <= 1)
        return fine and all(len(g["replicas"]) == replicas for g in groups)
    wait_for("even shares", even)


def expect_exact(test, c, lines):
    for name in c.cloud_names:
        c.wait_count(name, "s", len(lines))
        assert_rows(c.query(name, "s")["rows"], oracle_windows(parse_simple_lines("".join(lines)), ["k"], 10 * NS), ["k"],
                    10 * NS, COLUMNS)
    ledgers = [edge_ledger(c, e) for e in c.edges]
    test.assertEqual(sum(x["accepted"] for x in ledgers), len(lines))
    test.assertEqual(sum(x["refused"] for x in ledgers), 0)
    wait_equal_digests_of(c)


def wait_equal_digests_of(c):
    """As wait_equal_digests(), where not every node has a replica of everything."""
    def equal():
        groups = groups_of(c)
        return all(g["settled"] and len({r["digest_index"] for r in g["replicas"]}) == 1 for g in groups) and groups
    for g in wait_for("all replicas at the same entry", equal):
        digests = {r["digest"] for r in g["replicas"]}
        assert len(digests) == 1, f"replicas differ: {g}"


class MembersComeAndGo(unittest.TestCase):
    def steps(self, c, steps, replicas, even_each_time=True):
        writers = [Writer(c, e, i) for i, e in enumerate(c.edges)]
        c.start()
        for w in writers:
            w.start()
        pauses = Pauses(c)
        told = []
        try:
            wait_for("first readings", lambda: c.total_count(live(c)[0], "s") > 0)
            pauses.start()
            for step, name in steps:
                pauses.since()
                took = add(c, name) if step == "add" else remove(c, name)
                if even_each_time or (step, name) == steps[-1]:  # leaders take 5 s to move
                    expect_shares(c, c.cloud_names, min(replicas, len(c.cloud_names)))
                told.append(f"{step} {name} {took:.1f} s (longest pause {pauses.since():.2f} s)")
        finally:
            pauses.finish()
            lines = [line for w in writers for line in w.finish()]
        print("\n    " + "; ".join(told) + f"; {len(lines)} readings")
        version = cluster_of(c)["map_version"]
        for e in c.edges.values():
            wait_for("the edge to go by the last map", lambda: f"map={version}" in e.log())
            self.assertNotIn("cannot be used", e.log())
            self.assertNotIn("FENCED", e.log())
        expect_exact(self, c, lines)

    @slow
    def test_three_to_five_and_back(self):
        """Those that were there first go: what they held is on others then, the meta group too."""
        with Cluster(edges=file_edges(4), streams=[stream(edges=[f"edge-{i + 1}" for i in range(4)])], cluster=THREE) as c:
            self.steps(c, [("add", "cloud-4"), ("add", "cloud-5"), ("remove", "cloud-1"), ("remove", "cloud-2")], 3)

    def test_one_to_three_and_back(self):
        """More replicas than nodes: each has one of all, until there are more."""
        with Cluster(clouds=1, edges=file_edges(1), streams=[stream()], cluster=dict(THREE, shards=4)) as c:
            self.steps(c, [("add", "cloud-2"), ("add", "cloud-3"), ("remove", "cloud-3"), ("remove", "cloud-2")], 3)

    def test_with_keys_on_every_link(self):
        """Its .pub is there before it is added; a name that is no longer of the cluster has no key any more, and no connection."""
        with Cluster(edges=file_edges(1), streams=[stream()], cluster=dict(THREE, shards=4), security=True) as c:
            self.steps(c, [("add", "cloud-4"), ("remove", "cloud-1")], 3, even_each_time=False)
            os.unlink(os.path.join(c.keys, "cloud-1.pub"))
            for name in c.cloud_names:
                wait_for("its key to be nobody's", lambda n=name: metric_sum(c.metrics(n), "weir_cloud_keys") == 4)

    def test_removed_without_being_there(self):
        """A node that is gone for good leaves too; one that was away when it was removed learns so when it is back."""
        with Cluster(clouds=4, edges=file_edges(1), streams=[stream()], cluster=dict(THREE, shards=4)) as c:
            writer = Writer(c, "edge-1", 0)
            c.start()
            writer.start()
            wait_for("first readings", lambda: c.total_count("cloud-1", "s") > 0)
            gone = c.clouds["cloud-2"]
            gone.kill()
            remove(c, "cloud-2")
            expect_shares(c, c.cloud_names, 3)
            gone.start()

            def says_so():
                try:
                    c.get("cloud-2", "/readyz")
                except ApiError as e:
                    return "removed from the cluster" in str(e)
            try:
                wait_for("cloud-2 to say that it was removed", says_so)
                lines = writer.finish()
                expect_exact(self, c, lines)
            finally:
                gone.kill()

    def test_started_before_it_is_added(self):
        """It waits, says for what, and founds nothing."""
        with Cluster(edges=file_edges(1), streams=[stream()], cluster=dict(THREE, shards=4)) as c:
            c.start(edges=False)
            wait_for("a map", lambda: cluster_of(c)["map_version"] > 0)
            prepare(c, "cloud-4")
            c.clouds["cloud-4"].start()

            def says_so():
                try:
                    c.get("cloud-4", "/readyz")
                except ApiError as e:
                    return "weirctl node add cloud-4" in str(e)
            wait_for("it to say what it waits for", says_so)
            c.ctl("node", "add", "cloud-4", "--listen", f"tcp://127.0.0.1:{c.zmq['cloud-4']}", "--http",
                  f"127.0.0.1:{c.http['cloud-4']}", "--yes")
            expect_shares(c, c.cloud_names, 3)

    def test_added_again(self):
        """Its old folder has what the cluster had placed there, not its file: it says that it needs an empty one, and then comes."""
        with Cluster(clouds=1, edges=file_edges(1), streams=[stream()], cluster={"shards": 4, "replicas": 1}) as c:
            c.start(edges=False)
            wait_for("a map", lambda: cluster_of(c)["map_version"] > 0)
            add(c, "cloud-2")
            again = c.clouds["cloud-2"]
            remove(c, "cloud-2")
            again.start()
            self.assertNotEqual(again.process.wait(DEADLINE_S), 0)
            self.assertIn("this node was removed from the cluster", again.log_tail(1))
            self.assertIn("starts with an empty data folder", again.log_tail(1))
            shutil.rmtree(os.path.join(c.dir, "run", "cloud-2"))
            again.start()
            c.clouds["cloud-2"] = again
            c.ctl("node", "add", "cloud-2", "--listen", f"tcp://127.0.0.1:{c.zmq['cloud-2']}", "--http",
                  f"127.0.0.1:{c.http['cloud-2']}", "--yes")
            c.cloud_names.append("cloud-2")
            expect_shares(c, c.cloud_names, 1)

    def test_what_cannot_be_is_refused(self):
        with Cluster(clouds=1, streams=[stream()], edges=file_edges(1), cluster={"shards": 2}) as c:
            c.start(edges=False)
            wait_for("a map", lambda: cluster_of(c)["map_version"] > 0)
            r = c.ctl("node", "remove", "cloud-1", "--yes", check=False)
            self.assertNotEqual(r.returncode, 0)
            self.assertIn("the last node", r.stderr)
            r = c.ctl("node", "remove", "cloud-7", "--yes", check=False)
            self.assertIn("no node cloud-7", r.stderr)
            r = c.ctl("node", "add", "cloud-1", "--listen", "tcp://127.0.0.1:1", "--http", "127.0.0.1:2", "--yes", check=False)
            self.assertIn("there is a node cloud-1 already", r.stderr)
            r = c.ctl("node", "add", "cloud-2", "--listen", "udp://x", "--http", "127.0.0.1:2", "--yes", check=False)
            self.assertIn("expected tcp://HOST:PORT", r.stderr)
            r = c.ctl("node", "add", "cloud-2", "--listen", "tcp://127.0.0.1:1", "--http", "127.0.0.1:2", check=False, stdin="")
            self.assertNotEqual(r.returncode, 0)
            self.assertIn("--yes", r.stderr)
            self.assertEqual([n["name"] for n in cluster_of(c)["nodes"]], ["cloud-1"])


class DeadNode(unittest.TestCase):
    def test_its_replicas_are_rebuilt_elsewhere_and_it_gets_its_share_back(self):
        with Cluster(clouds=4, edges=file_edges(2), streams=[stream(edges=["edge-1", "edge-2"])],
                     cluster=dict(THREE, replace_after="4s")) as c:
            writers = [Writer(c, e, i) for i, e in enumerate(c.edges)]
            c.start()
            for w in writers:
                w.start()
            wait_for("first readings", lambda: c.total_count("cloud-1", "s") > 0)
            wait_for("a map", lambda: cluster_of(c)["map_version"] > 0)
            victim = "cloud-2"
            began = time.monotonic()
            c.clouds[victim].kill()
            c.cloud_names.remove(victim)

            def rebuilt():
                answer = cluster_of(c)
                dead = [n["name"] for n in answer["nodes"] if n["membership"] == "dead"]
                groups = [answer["meta"]] + answer["shards"]
                return dead == [victim] and all(g["settled"] for g in groups)
            wait_for("its replicas elsewhere", rebuilt)
            took = time.monotonic() - began
            expect_shares(c, c.cloud_names, 3)
            began = time.monotonic()
            c.clouds[victim].start()
            c.cloud_names.append(victim)
            wait_for("it to be a member again", lambda: all(n["membership"] == "member" for n in cluster_of(c)["nodes"]))
            expect_shares(c, c.cloud_names, 3)
            print(f"\n    rebuilt elsewhere {took:.1f} s after the kill (replace_after 4 s); its share again "
                  f"{time.monotonic() - began:.1f} s after its start")
            lines = [line for w in writers for line in w.finish()]
            expect_exact(self, c, lines)


if __name__ == "__main__":
    unittest.main()
