"""The main job on real readings: whatever dies on the way, every window holds exactly what was read."""

import contextlib
import os
import random
import re
import socket
import subprocess
import threading
import time
import unittest

from weirtest import (NS, LONG, WEIRCTL, Cluster, assert_rows, cloud_ledger, edge_ledger, oracle_windows,
                      parse_simple_lines, traffic_lines, wait_for, slow)

SELECT = ["count", "sum", "mean", "min", "max", "stddev", "first", "last", "p50", "p95", "p99", "p0", "p100"]
COMPUTE = SELECT
FIELDS = ["speed", "occupancy", "travel_time"]


def traffic_streams(size="5m", every=None, **more):
    window = {"size": size, "every": every} if every else size
    return [dict({"name": f, "from": {"measurement": "traffic", "field": f}, "by": ["sensor"], "window": window,
                  "lateness": "30s", "compute": COMPUTE, "retain": "forever"}, **more) for f in FIELDS]


def split_by_sensor(lines, n):
    """A series stays on one edge, as a sensor does."""
    parts = [[] for _ in range(n)]
    for line in lines:
        sensor = re.search(r"sensor=([^, ]+)", line).group(1)
        parts[sum(sensor.encode()) % n].append(line)
    return parts


def check_everywhere(cluster, lines, stream, field, size_s, advance_s=None, windows=None, nodes=None):
    readings = [r for r in parse_simple_lines("".join(lines)) if r.field == field]
    for node in nodes or cluster.cloud_names:
        for size, advance in windows or [(size_s, advance_s)]:
            params = {} if (size, advance) == (size_s, advance_s) else {"window": f"{size}s"}
            answer = cluster.query(node, stream, **params)
            assert_rows(answer["rows"], oracle_windows(readings, ["sensor"], size * NS, (advance or size) * NS),
                        ["sensor"], size * NS, SELECT)


def wait_all_final(cluster, lines, per_window=1):
    for field in FIELDS:
        count = sum(1 for r in parse_simple_lines("".join(lines)) if r.field == field)
        cluster.wait_count(cluster.cloud_names[0], field, count * per_window, state="final")


@contextlib.contextmanager
def growing_files(cluster, parts, steps):
    """Writes parts[i] to edge-(i + 1).lp in about so many steps of 0.1 s, while daemons die, so that the kills hit every stage of
    the way. Gives an Event to wait on; when this ends, all is written."""
    pace = threading.Event()

    def write(i):
        with open(os.path.join(cluster.dir, f"edge-{i + 1}.lp"), "w") as f:
            step = len(parts[i]) // steps + 1
            for at in range(0, len(parts[i]), step):
                f.writelines(parts[i][at:at + step])
                f.flush()
                pace.wait(0.1)
    writers = [threading.Thread(target=write, args=(i,)) for i in range(len(parts))]
    for w in writers:
        w.start()
    try:
        yield pace
    finally:
        for w in writers:
            w.join()


class TrafficOverTcp(unittest.TestCase):
    def run_traffic(self, streams, size_s, advance_s, other_windows):
        lines = traffic_lines()
        path_edges = {f"edge-{i}": {"sources": [{"type": "tcp"}], "idle_after": "2s", "tick": "200ms"} for i in (1, 2)}
        with Cluster(edges=path_edges, streams=streams) as c:
            c.start()
            path = os.path.join(c.dir, "traffic.lp")
            with open(path, "w") as f:
                f.writelines(lines)
            loads = [subprocess.Popen([WEIRCTL, "load", "--to", f"127.0.0.1:{c.tcp[e]}", "--split", f"{i}/2", path],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                     for i, e in enumerate(sorted(c.edges))]
            for load in loads:
                out, _ = load.communicate(timeout=120)
                self.assertEqual(load.returncode, 0, out)
            wait_all_final(c, lines, per_window=size_s // (advance_s or size_s))
            for field in FIELDS:
                check_everywhere(c, lines, field, field, size_s, advance_s,
                                 [(size_s, advance_s)] + [(w, None) for w in other_windows])
            read = sum(edge_ledger(c, e)["accepted"] for e in c.edges)
            self.assertEqual(read, len(lines))
            ledger = cloud_ledger(c)
            self.assertEqual(sum(v["merged"] for v in ledger.values()), len(lines))
            c.stop()

    def test_tumbling_and_coarser_windows(self):
        self.run_traffic(traffic_streams("5m"), 300, None, [600, 3600, 86400])

    def test_sliding_windows(self):
        self.run_traffic(traffic_streams("1h", "10m"), 3600, 600, [600, 7200])


class TrafficFromFilesWithKills(unittest.TestCase):
    """kill -9 of a cloud and of an edge at random moments; each is started again; still exact."""

    @slow
    def test_kill_and_restart(self):
        lines = traffic_lines()
        rounds = 20 if LONG else 3
        for seed in range(rounds):
            with self.subTest(seed=seed):
                self.one_round(lines, random.Random(seed))

    def one_round(self, lines, rng):
        parts = split_by_sensor(lines, 2)
        edges = {f"edge-{i + 1}": {"sources": [{"type": "file", "path": f"edge-{i + 1}.lp", "follow": True}],
                                   "idle_after": "4s", "tick": "100ms", "heartbeat": "500ms"} for i in range(2)}
        with Cluster(edges=edges, streams=traffic_streams("5m")) as c:
            with growing_files(c, parts, 60) as pace:
                c.start()
                for _ in range(4):
                    victim = rng.choice(list(c.clouds.values()) + list(c.edges.values()))
                    pace.wait(rng.uniform(0.1, 1.0))
                    victim.kill()
                    pace.wait(rng.uniform(0.0, 1.0))
                    victim.start()
            c.wait_ready()
            wait_all_final(c, lines)
            for field in FIELDS:
                check_everywhere(c, lines, field, field, 300)
            for e in c.edges:
                edge_ledger(c, e)
            self.assertEqual(sum(edge_ledger(c, e)["accepted"] for e in c.edges), len(lines))
            self.assertEqual(sum(v["merged"] for v in cloud_ledger(c).values()), len(lines))


class AllCloudsStopped(unittest.TestCase):
    def test_edges_spool_and_drain(self):
        """No cloud from the start; edges work, survive kill -9, and drain exactly when clouds come."""
        lines = traffic_lines()
        parts = split_by_sensor(lines, 2)
        edges = {f"edge-{i + 1}": {"sources": [{"type": "file", "path": f"edge-{i + 1}.lp"}], "tick": "100ms"}
                 for i in range(2)}
        with Cluster(edges=edges, streams=traffic_streams("1h")) as c:
            for i in range(2):
                with open(os.path.join(c.dir, f"edge-{i + 1}.lp"), "w") as f:
                    f.writelines(parts[i])
            c.start_edges()
            for i, e in enumerate(sorted(c.edges)):
                wait_for(f"{e} has read all", lambda e=e, i=i: edge_ledger(c, e)["accepted"] == len(parts[i]))
            c.edges["edge-1"].kill()
            c.edges["edge-1"].start()
            began = time.monotonic()
            c.start(edges=False)
            wait_all_final(c, lines)
            took = time.monotonic() - began
            for field in FIELDS:
                check_everywhere(c, lines, field, field, 3600)
            print(f"\n    {len(lines)} spooled readings drained to final answers in {took:.1f} s, clouds' start included")

    def test_clouds_stop_in_the_middle(self):
        lines = traffic_lines()
        parts = split_by_sensor(lines, 2)
        edges = {f"edge-{i + 1}": {"sources": [{"type": "tcp"}], "idle_after": "3s", "tick": "100ms"} for i in range(2)}
        with Cluster(edges=edges, streams=traffic_streams("5m")) as c:
            c.start()
            half = [len(p) // 2 for p in parts]
            for i, e in enumerate(sorted(c.edges)):
                send_tcp(c.tcp[e], parts[i][:half[i]])
                wait_for("half is read", lambda e=e, i=i: edge_ledger(c, e)["accepted"] == half[i])
            for cloud in c.clouds.values():
                cloud.kill()
            for i, e in enumerate(sorted(c.edges)):
                send_tcp(c.tcp[e], parts[i][half[i]:])
                wait_for("all is read", lambda e=e, i=i: edge_ledger(c, e)["accepted"] == len(parts[i]))
            for cloud in c.clouds.values():
                cloud.start()
            c.wait_ready()
            wait_all_final(c, lines)
            for field in FIELDS:
                check_everywhere(c, lines, field, field, 300)


def send_tcp(port, lines):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall("".join(lines).encode())
