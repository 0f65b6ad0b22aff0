"""What an edge says of its own: all that it accepted and no cloud has acknowledged; with no cloud, while it drains, after kill -9."""

import datetime
import json
import signal
import socket
import threading
import unittest

import weirtest
from weirtest import ApiError, Cluster, edge_ledger, metric_sum, wait_for

START_S = 1441106700  # 2015-09-01T11:25:00Z
SENSORS = 5
STREAM = {"name": "speed", "from": {"measurement": "traffic", "field": "speed"}, "by": ["sensor"], "window": "1m", "lateness": "10s",
          "compute": ["count", "sum", "mean", "min", "max", "stddev", "first", "last", "p50", "p99"]}
OTHER = {"name": "total", "from": {"measurement": "traffic", "field": "speed"}, "by": [], "window": {"size": "2m", "every": "1m"},
         "lateness": "10s", "compute": ["count", "max"]}


def line(i):
    """The i-th reading of one sensor after the other, one a second: whole numbers, so that sums are exact."""
    return f"traffic,sensor=s{i % SENSORS} speed={(i * 7919) % 1000} {START_S + i}000000000\n"


def one_edge(**more):
    return Cluster(clouds=1, cluster={"replicas": 1, "shards": 4}, streams=[STREAM, OTHER],
                   edges={"edge-1": dict({"sources": [{"type": "tcp"}], "flush": "5s", "idle_after": "1h"}, **more)})


class Sender:
    """Readings over TCP, in order; to() says that as many were accepted."""

    def __init__(self, cluster):
        self.cluster, self.sent = cluster, int(edge_ledger(cluster, "edge-1")["accepted"])
        self.socket = socket.create_connection(("127.0.0.1", cluster.tcp["edge-1"]))

    def to(self, n, line=line):
        self.socket.sendall("".join(line(i) for i in range(self.sent, n)).encode())
        self.sent = n
        wait_for(f"{n} readings accepted", lambda: edge_ledger(self.cluster, "edge-1")["accepted"] == n)

    def close(self):
        self.socket.close()


def local(cluster, stream="speed", **params):
    """An answer of the edge, whose sums hold."""
    answer = cluster.query("edge-1", stream, **params)
    held = answer["held"]
    assert answer["scope"] == "local" and answer["edge"] == "edge-1", answer
    assert held["uncommitted"] == 0 and held["unreadable"] == 0, held
    assert all(r["state"] in ("open", "provisional") and r["revision"] is None for r in answer["rows"]), answer["rows"]
    if not params and stream == "speed":
        assert sum(r["values"]["count"] for r in answer["rows"]) == held["readings"], held
    return answer


def values(answer):
    return [(r["start"], r["group"], r["values"]) for r in answer["rows"]]


def expected(n):
    """(start, sensor) -> count, sum, min, max, first, last"""
    rows = {}
    for i in range(n):
        start = datetime.datetime.fromtimestamp((START_S + i) // 60 * 60, datetime.timezone.utc)
        rows.setdefault((start.strftime("%Y-%m-%dT%H:%M:%SZ"), f"s{i % SENSORS}"), []).append((i * 7919) % 1000)
    return {k: (len(v), sum(v), min(v), max(v), v[0], v[-1]) for k, v in rows.items()}


class LocalQuery(unittest.TestCase):
    def test_no_cloud_then_one(self):
        with one_edge() as c:
            c.start_edges()
            s = Sender(c)
            for n in range(37, 400, 37):  # each is in the answer, though the next tick be far
                s.to(n)
                answer = local(c)
                self.assertEqual(answer["held"]["readings"], n)
                self.assertEqual(answer["held"]["acknowledged"], 0)
                self.assertEqual(local(c, by="")["held"]["readings"], n)
            rows = {(r["start"], r["group"]["sensor"]): tuple(r["values"][k] for k in ("count", "sum", "min", "max", "first", "last"))
                    for r in local(c)["rows"]}
            self.assertEqual(rows, expected(n))
            self.assertEqual(sum(r["values"]["count"] for r in local(c, "total")["rows"]), 2 * n)  # sliding: each is in two

            # what was answered was committed
            s.close()
            before = local(c)
            c.edges["edge-1"].kill()
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            self.assertEqual(values(local(c)), values(before))
            s = Sender(c)
            s.to(2000)
            here = local(c)

            # page by page, and by weirctl
            for limit in (1, 7):
                self.assertEqual(values(local(c, limit=limit)), values(here))
            r = c.ctl("query", "speed", node="edge-1")
            self.assertIn("what edge edge-1 by itself still holds: 2000 readings", r.stderr)
            self.assertEqual(len(r.stdout.splitlines()), len(here["rows"]) + 1)
            self.assertEqual(json.loads(c.ctl("-o", "json", "query", "speed", node="edge-1").stdout)["scope"], "local")

            # a cloud comes: what it acknowledges leaves; it has the same rows
            c.clouds["cloud-1"].start()
            c.wait_ready()

            def drained():
                held = local(c)["held"]
                self.assertEqual(held["readings"] + held["acknowledged"], 2000)
                return held["readings"] == 0
            wait_for("all that the edge held to be acknowledged", drained)
            c.wait_count("cloud-1", "speed", 2000)
            self.assertEqual(values(c.query("cloud-1", "speed")), values(here))
            self.assertEqual(local(c)["rows"], [])
            self.assertIsNone(local(c)["held"]["oldest"])

            # and goes: what is accepted from then on is here alone
            c.clouds["cloud-1"].stop()
            s.to(2500)
            answer = local(c)
            self.assertEqual((answer["held"]["readings"], answer["held"]["acknowledged"]), (500, 2000))
            s.close()
            c.edges["edge-1"].kill()
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            self.assertEqual(values(local(c)), values(answer))
            c.edges["edge-1"].stop()

    def test_killed_while_it_drains(self):
        """Each reading is at the edge, or in the cloud, or in both: what the edge did not hear acknowledged it still holds after kill -9, also
        where it had left already."""
        with one_edge(flush="200ms") as c:
            c.start()
            edge, cloud, step = c.edges["edge-1"], c.clouds["cloud-1"], 3000

            def held(total):
                answer = local(c, by="")
                self.assertEqual(sum(r["values"]["count"] for r in answer["rows"]), answer["held"]["readings"])
                self.assertEqual(answer["held"]["readings"] + answer["held"]["acknowledged"], total)
                return answer["held"]["readings"]

            def send(n):
                s = Sender(c)
                s.to(n, lambda i: f"traffic,sensor=n{i} speed={i} {START_S + i % 60}000000000\n")
                s.close()
            send(step)
            wait_for("all to be acknowledged", lambda: held(step) == 0)  # the shards are open to it
            for n in range(2 * step, 5 * step, step):
                cloud.signal(signal.SIGSTOP)
                send(n)
                self.assertEqual(held(n), step)
                wait_for("batches on their way", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_uplink_in_flight_bytes") > 0)
                edge.kill()
                edge.start()
                c.wait_healthy("edge-1")
                self.assertEqual(held(n), step)
                cloud.signal(signal.SIGCONT)
                c.wait_ready()
                here = held(n)  # as the cloud takes it
                there = sum(r["values"]["count"] for r in c.query("cloud-1", "speed", by="")["rows"])
                self.assertTrue(n - here <= there <= n, (here, there))
                wait_for("all to be acknowledged", lambda n=n: held(n) == 0)
            c.wait_count("cloud-1", "speed", n)

    def test_what_cannot_be_asked(self):
        with one_edge() as c:
            c.start_edges()
            for params, status, code in (({"stream": "nothing"}, 404, "unknown_stream"), ({}, 400, "bad_request"),
                                         ({"stream": "speed", "state": "final"}, 400, "bad_request"),
                                         ({"stream": "speed", "window": "90s"}, 400, "bad_window"),
                                         ({"stream": "speed", "by": "site"}, 400, "unknown_tag"),
                                         ({"stream": "speed", "select": "p99,distinct(x)"}, 400, "not_computed"),
                                         ({"stream": "speed", "cursor": "00"}, 400, "bad_cursor"),
                                         ({"stream": "speed", "limit": "0"}, 400, "bad_request")):
                with self.assertRaises(ApiError) as e:
                    c.get("edge-1", "/api/v1/query", **params)
                self.assertEqual((e.exception.status, e.exception.code), (status, code))
            self.assertEqual(metric_sum(c.metrics("edge-1"), "weir_edge_queries_total", result="bad"), 8)

    def test_with_keys(self):
        with Cluster(clouds=1, security=True, cluster={"replicas": 1, "shards": 4}, streams=[STREAM],
                     edges={"edge-1": {"sources": [{"type": "tcp"}]}}) as c:
            c.start_edges()
            s = Sender(c)
            s.to(100)
            self.assertEqual(local(c)["held"]["readings"], 100)
            with self.assertRaises(ApiError) as e:
                weirtest.http_get(c.url("edge-1") + "/api/v1/query?stream=speed", context=c.context)
            self.assertEqual(e.exception.status, 401)
            s.close()

    def test_many_at_once_while_it_measures(self):
        with one_edge() as c:
            c.start_edges()
            s = Sender(c)
            s.to(2000)
            results, errors = [], []

            def ask():
                try:
                    results.append(sum(r["values"]["count"] for r in c.api("edge-1", "query", stream="speed")["rows"]))
                except ApiError as e:
                    if (e.status, e.code) != (503, "busy"):
                        errors.append(e)
                    results.append(None)
                except (OSError, ValueError) as e:
                    errors.append(e)
            rounds = 5
            for k in range(rounds):
                threads = [threading.Thread(target=ask) for _ in range(20)]
                for t in threads:
                    t.start()
                s.to(2000 + (k + 1) * 1000)
                for t in threads:
                    t.join()
            self.assertEqual(errors, [])
            self.assertEqual(len(results), rounds * 20)
            answered = [r for r in results if r is not None]
            self.assertGreaterEqual(len(answered), rounds)
            self.assertTrue(all(2000 <= r <= 7000 for r in answered), answered)
            self.assertEqual(local(c)["held"]["readings"], 7000)
            m = c.metrics("edge-1")
            self.assertEqual(metric_sum(m, "weir_edge_queries_total", result="answered"), len(answered) + 1)
            self.assertEqual(metric_sum(m, "weir_edge_queries_total", result="busy"), len(results) - len(answered))
            self.assertEqual(metric_sum(m, "weir_edge_queries_open"), 0)
            s.close()

    def test_the_topology_changes_meanwhile(self):
        """Another disk limit: the spool is closed and opened again under who reads it. There is always somebody who does: one window,
        which stays open, of many groups."""
        with one_edge(flush="1h", limits={"disk": "64MiB", "memory": "256MiB"}) as c:
            c.start()
            s = Sender(c)
            s.to(20000, lambda i: f"traffic,sensor=n{i} speed={i} {START_S + i % 60}000000000\n")
            self.assertEqual(local(c, by="")["held"]["slices"], 20000)
            stop, seen, errors = threading.Event(), [], []

            def ask():
                while not stop.is_set():
                    try:
                        held = c.api("edge-1", "query", stream="speed", by="")["held"]
                        seen.append(held["readings"] + held["acknowledged"])
                    except (OSError, ValueError, ApiError) as e:
                        errors.append(e)
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for t in threads:
                t.start()
            for i in range(3):
                c.spec["edges"][0]["limits"]["disk"] = f"{70 + i}MiB"
                c.write_config()
                version = c.api("cloud-1", "topology")["version"]
                c.ctl("apply", "--yes", c.config)
                wait_for("the edge to go by the next map", lambda v=version: metric_sum(
                    c.metrics("edge-1"), "weir_edge_map_version") > v)
            stop.set()
            for t in threads:
                t.join()
            self.assertEqual(errors, [])
            self.assertEqual(set(seen), {20000})
            s.close()


if __name__ == "__main__":
    unittest.main()
