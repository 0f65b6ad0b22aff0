"""A cluster's topology changes while edges write: nothing is lost or counted twice, on no daemon, whatever was away."""

import copy
import os
import random
import socket
import threading
import time
import unittest

from weirtest import EDGED, NS, Cluster, Daemon, edge_ledger, free_port, metric_sum, parse_time, wait_for

BASE_S = 1_700_000_000
EDGE = {"idle_after": "3s", "tick": "100ms", "heartbeat": "200ms", "flush": "2s"}


def stream(name="s", **more):
    return dict({"name": name, "from": {"measurement": "m", "field": "v"}, "by": ["sensor"], "window": "10s", "lateness": "5s",
                 "compute": ["count", "sum"], "retain": "forever"}, **more)


class Writer(threading.Thread):
    """Writes to all edges over one connection each, in step: one reading a second of event time, about 100 a second. A connection
    that breaks is a failure: sources that did not change must go on."""

    def __init__(self, ports):
        super().__init__(daemon=True)
        self.links = {name: socket.create_connection(("127.0.0.1", port)) for name, port in ports.items()}
        self.lock = threading.Lock()
        self.readings = []  # (edge, event second, sensor, value)
        self.second = 0
        self.ending = threading.Event()
        self.failed = None

    def add(self, name, port):
        link = socket.create_connection(("127.0.0.1", port))
        with self.lock:
            self.links[name] = link

    def drop(self, name):
        """No more to that one, once all that was sent has been taken."""
        with self.lock:
            link = self.links.pop(name)
        link.shutdown(socket.SHUT_WR)
        assert link.recv(1) == b"", "the edge reads to the end, then closes"
        link.close()

    def run(self):
        try:
            while not self.ending.is_set():
                with self.lock:
                    self.second += 1
                    for i, (name, link) in enumerate(sorted(self.links.items())):
                        value = (self.second * 7 + i) % 100
                        sensor = f"{name}-{self.second % 3}"
                        link.sendall(f"m,sensor={sensor} v={value} {(BASE_S + self.second) * NS}\n".encode())
                        self.readings.append((name, self.second, sensor, value))
                time.sleep(0.01)
        except OSError as e:
            self.failed = e

    def finish(self):
        self.ending.set()
        self.join()
        for link in self.links.values():
            link.close()
        assert not self.failed, self.failed
        return self.readings

    def wait_seconds(self, n):
        end = self.second + n
        wait_for(f"event second {end}", lambda: self.failed or self.second >= end)
        assert not self.failed, self.failed


def map_version(c, name):
    return metric_sum(c.metrics(name), "weir_edge_map_version" if name in c.edges else "weir_cloud_map_version")


def apply(c, change, wait_edges=None):
    """change(spec) changes a copy of the present file, which is applied; waits until the edges go by it."""
    edges = wait_edges if wait_edges is not None else [e for e, d in c.edges.items() if d.process and d.running()]
    before = max([map_version(c, e) for e in edges], default=0)
    spec = copy.deepcopy(c.spec)
    change(spec)
    c.spec = spec
    c.write_config()
    c.ctl("apply", c.config, "--yes")
    for e in edges:
        if any(x["name"] == e for x in spec["edges"]):
            wait_for(f"{e} goes by a later map than {before}", lambda e=e: map_version(c, e) > before)


def edge_of(spec, name):
    return next(e for e in spec["edges"] if e["name"] == name)


def counts(c, node, name):
    """{start: readings} over all groups, by the stream's own windows."""
    out = {}
    for row in c.query(node, name, select="count")["rows"]:
        start = parse_time(row["start"]) // NS - BASE_S
        out[start] = out.get(start, 0) + row["values"]["count"]
    return out


def expected_counts(readings, size_s):
    out = {}
    for _, second, _, _ in readings:
        start = (BASE_S + second) // size_s * size_s - BASE_S
        out[start] = out.get(start, 0) + 1
    return out


def check_exact(c, readings, name="s", size_s=10):
    c.wait_count(c.cloud_names[0], name, len(readings), state="final")
    for node in c.cloud_names:
        if c.clouds[node].process is not None:
            assert counts(c, node, name) == expected_counts(readings, size_s), node


class Edges(unittest.TestCase):
    def cluster(self, names=("edge-1", "edge-2")):
        return Cluster(edges={n: dict(EDGE, sources=[{"type": "tcp", "name": "in"}]) for n in names}, streams=[stream()])

    def ports(self, c):
        return {n: c.tcp[n] for n in c.edges}

    def test_sources_and_tags_change_under_a_connection(self):
        with self.cluster() as c:
            c.start()
            w = Writer(self.ports(c))
            w.start()
            w.wait_seconds(25)
            port = free_port()

            def more(spec):
                edge_of(spec, "edge-1")["sources"].insert(0, {"type": "tcp", "name": "second", "listen": f"127.0.0.1:{port}"})
                edge_of(spec, "edge-2")["tags"] = {"room": "attic"}
            apply(c, more)
            wait_for("the new source", lambda: socket.create_connection(("127.0.0.1", port)))
            w.add("second", port)
            w.wait_seconds(25)
            w.drop("second")

            def fewer(spec):
                del edge_of(spec, "edge-1")["sources"][0]
            apply(c, fewer)
            w.wait_seconds(15)
            readings = w.finish()
            check_exact(c, readings)
            # But for clouds that fell silent, which a machine that stands still makes them do.
            left = c.edges["edge-1"].log().count("the cloud does not answer, or cannot serve")
            self.assertLessEqual(metric_sum(c.metrics("edge-1"), "weir_edge_uplink_connects_total"), 1 + left)
            for e in c.edges:
                edge_ledger(c, e)
            c.stop()

    def test_a_stream_comes_and_goes(self):
        with self.cluster() as c:
            c.start()
            w = Writer(self.ports(c))
            w.start()
            w.wait_seconds(25)
            apply(c, lambda spec: spec["streams"].append(stream("more", by=[], window="20s")))
            after = w.second
            w.wait_seconds(70)  # a whole window, wherever it begins, lies between after + 20 and before - 5
            before = w.second
            apply(c, lambda spec: spec["streams"].pop())
            w.wait_seconds(10)
            readings = w.finish()
            check_exact(c, readings)
            whole = {s: n for s, n in expected_counts(readings, 20).items() if after + 20 <= s and s + 20 <= before - 5}
            self.assertTrue(whole)

            def rest():  # of other batches than the first stream's
                got = counts(c, c.cloud_names[1], "more")
                return {s: got.get(s) for s in whole}
            wait_for("the stream that went to be whole", lambda: rest() == whole)
            for e in c.edges:
                edge_ledger(c, e)
            c.stop()

    def test_an_edge_comes_and_one_goes(self):
        with self.cluster() as c:
            c.start()
            w = Writer(self.ports(c))
            w.start()
            w.wait_seconds(20)
            # a new one: its own file is the new one too
            port, http = free_port(), free_port()

            def add(spec):
                spec["edges"].append(dict(EDGE, name="edge-3", data="run/edge-3", http=f"127.0.0.1:{http}",
                                          sources=[{"type": "tcp", "name": "in", "listen": f"127.0.0.1:{port}"}]))
            apply(c, add)
            c.http["edge-3"], c.edges["edge-3"] = http, Daemon(c, EDGED, "edge-3")
            c.edges["edge-3"].start()
            c.wait_healthy("edge-3")
            w.add("edge-3", port)
            w.wait_seconds(20)
            # one that has delivered all goes; it says so, and reads nothing
            w.drop("edge-2")
            sent = len([r for r in w.readings if r[0] == "edge-2"])
            wait_for("edge-2's readings to be acknowledged",
                     lambda: metric_sum(c.metrics("edge-2"), "weir_edge_stream_acknowledged_total") == sent)
            apply(c, lambda spec: spec["edges"].remove(edge_of(spec, "edge-2")), wait_edges=["edge-1", "edge-3"])
            wait_for("edge-2 to know", lambda: '"removed"' in c.get("edge-2", "/healthz"))
            w.wait_seconds(20)
            readings = w.finish()
            check_exact(c, readings)
            c.stop()

    def test_one_that_was_away_catches_up(self):
        with self.cluster() as c:
            c.start()
            w = Writer(self.ports(c))
            w.start()
            w.wait_seconds(20)
            w.drop("edge-2")
            c.edges["edge-2"].stop()
            apply(c, lambda spec: spec["streams"].append(stream("more", by=[], window="20s")))
            port = free_port()

            def move(spec):
                edge_of(spec, "edge-2")["sources"][0]["listen"] = f"127.0.0.1:{port}"
            old = c.spec
            apply(c, move)
            latest = map_version(c, "edge-1")
            c.spec = old  # its file is of before: the map counts
            c.write_config()
            c.edges["edge-2"].start()
            c.wait_healthy("edge-2")
            wait_for("edge-2 goes by the map", lambda: map_version(c, "edge-2") >= latest)
            wait_for("its source", lambda: socket.create_connection(("127.0.0.1", port)))
            w.add("edge-2", port)
            w.wait_seconds(20)
            readings = w.finish()
            check_exact(c, readings)
            c.stop()

    def test_killed_while_it_changes(self):
        rand = random.Random(7)
        edges = {"edge-1": dict(EDGE, sources=[{"type": "file", "name": "in", "path": "in.lp", "follow": True}])}
        with Cluster(clouds=1, edges=edges, streams=[stream()]) as c:
            path = os.path.join(c.dir, "in.lp")
            lines = 0
            open(path, "w").close()
            c.start()
            for i in range(12):
                with open(path, "a") as f:
                    for _ in range(2000):
                        lines += 1
                        f.write(f"m,sensor=s{lines % 5} v=1 {BASE_S * NS + lines * NS // 100}\n")
                apply(c, lambda spec, i=i: edge_of(spec, "edge-1").__setitem__("tags", {"round": str(i)}), wait_edges=[])
                time.sleep(rand.random() * 0.3)
                c.edges["edge-1"].kill()
                c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            wait_for("the last map", lambda: map_version(c, "edge-1") >= 12)
            c.wait_count("cloud-1", "s", lines)
            edge_ledger(c, "edge-1")
            c.stop()


if __name__ == "__main__":
    unittest.main()
