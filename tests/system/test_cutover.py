"""Streams change while edges write: each window is answered by one version, with every reading in it, and told of once."""

import collections
import concurrent.futures
import copy
import http.client
import json
import os
import random
import re
import signal
import socket
import threading
import time
import unittest
import urllib.error
import urllib.request

from test_failover import wait_led
from test_topology import BASE_S, EDGE, apply, edge_of, map_version
from weirtest import (DEADLINE_S, EDGED, LONG, NS, ApiError, Cluster, Daemon, cloud_ledger, edge_ledger, free_port, metric_sum, oracle_values, parse_time,
                      wait_for)

BASE_NS = BASE_S * NS
UNITS = {"s": NS, "m": 60 * NS, "h": 3600 * NS}
SENSORS = 3  # of an edge


def stream(name="s", **more):
    return dict({"name": name, "from": {"measurement": "m", "field": "v"}, "by": ["site", "sensor"], "window": "10s", "lateness": "5s",
                 "compute": ["count", "sum", "min", "max"], "retain": "forever"}, **more)


def duration_ns(text):
    return int(text[:-1]) * UNITS[text[-1]]


def windows_of(definition):
    """(size, every) in ns."""
    w = definition["window"]
    size = duration_ns(w if isinstance(w, str) else w["size"])
    return size, size if isinstance(w, str) else duration_ns(w["every"])


def stepped(definition, value):
    """The value behind the stream's steps; None: dropped."""
    for step in definition.get("steps", []):
        if "scale" in step:
            value = value * step["scale"].get("by", 1) + step["scale"].get("add", 0)
        elif not step["range"]["min"] <= value <= step["range"]["max"]:
            return None
    return value


Reading = collections.namedtuple("Reading", "edge time tags value")


class Feeder(threading.Thread):
    """Writes to all edges, one connection each, in step: each gets one reading a second of event time, about 100 a second, up to 2 s
    out of order. A connection that breaks is a failure."""

    def __init__(self, ports, seed=1):
        super().__init__(daemon=True)
        self.links = {name: socket.create_connection(("127.0.0.1", port)) for name, port in ports.items()}
        self.lock = threading.Lock()
        self.readings = []
        self.second = 0
        self.rand = random.Random(seed)
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
                    for name, link in sorted(self.links.items()):
                        tags = {"site": name, "sensor": f"n{self.second % SENSORS}"}
                        at = BASE_NS + self.second * NS - self.rand.randrange(2 * NS)
                        value = self.rand.randrange(1000)
                        self.readings.append(Reading(name, at, tags, value))
                        link.sendall(f"m,sensor={tags['sensor']},site={name} v={value} {at}\n".encode())
                time.sleep(0.01)
        except OSError as e:
            self.failed = e

    def so_far(self):
        with self.lock:
            return list(self.readings)

    def wait_seconds(self, n):
        end = self.second + n
        wait_for(f"event second {end}", lambda: self.failed or self.second >= end)
        assert not self.failed, self.failed

    def finish(self):
        self.ending.set()
        self.join()
        for link in self.links.values():
            link.close()
        assert not self.failed, self.failed
        return self.readings


class Watcher(threading.Thread):
    """Follows a stream; where its node is gone, at the next one from where it was."""

    def __init__(self, c, name):
        super().__init__(daemon=True)
        self.c, self.name = c, name
        self.rows = []
        self.last_id = None
        self.resets = 0
        self.ending = False
        self.greeted = threading.Event()
        self.start()
        assert self.greeted.wait(DEADLINE_S)

    def follow(self, node):
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        if self.c.token:
            headers["Authorization"] = "Bearer " + self.c.token
        request = urllib.request.Request(f"{self.c.url(node)}/api/v1/watch?stream={self.name}", headers=headers)
        with urllib.request.urlopen(request, timeout=20, context=self.c.context) as answer:
            for line in answer:
                line = line.decode()
                if line.startswith("id:"):
                    row_id = line[3:].strip()
                elif line.startswith("event: reset"):
                    self.resets += 1
                elif line.startswith("data:") and '"start"' in line:
                    self.rows.append(json.loads(line[5:]))
                elif line == "\n":  # the end of an event: now it counts
                    self.last_id = row_id
                    self.greeted.set()
                if self.ending:
                    return

    def run(self):
        turn = 1
        while not self.ending:
            try:
                self.follow(self.c.cloud_names[turn % len(self.c.cloud_names)])
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.05)
            turn += 1


def post_topology(c, spec, base=0):
    """(status, answer) of POST /api/v1/topology: what weirctl apply does, but for looking first and waiting for edges."""
    request = urllib.request.Request(f"{c.url(next(n for n, d in c.clouds.items() if d.running()))}/api/v1/topology?base={base}",
                                     data=json.dumps(spec).encode(), headers={"Authorization": "Bearer " + c.token} if c.token else {})
    try:
        with urllib.request.urlopen(request, timeout=30, context=c.context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def group_of(row):
    return tuple(sorted((k, v) for k, v in row["group"].items()))


class Run:
    """A cluster that changes, what was written to it, and the definitions of the versions that answer, the oldest first."""

    def __init__(self, edges=("edge-1", "edge-2", "edge-3"), first=None, **cluster):
        spec = {n: dict(EDGE, sources=[{"type": "tcp", "name": "in"}]) for n in edges}
        self.c = Cluster(edges=spec, streams=[first or stream()], cluster=cluster)
        self.definitions = [self.c.spec["streams"][0]]

    def __enter__(self):
        self.c.__enter__()
        self.c.start()
        self.feeder = Feeder(self.c.tcp)
        self.watcher = Watcher(self.c, "s")
        self.feeder.start()
        self.feeder.wait_seconds(25)
        return self

    def __exit__(self, kind, value, trace):
        self.feeder.ending.set()
        self.watcher.ending = True
        self.c.__exit__(kind, value, trace)

    def versions(self, node=None):
        """[(from, until)] of those that answer, in ns; None: open."""
        answer = self.c.api(node or self.c.cloud_names[0], "query", stream="s", limit="1")
        found = answer.get("versions", [{"from": None, "until": None}])
        return [tuple(v[k] and parse_time(v[k]) for k in ("from", "until")) for v in found]

    def change(self, version=True, cut=True, **keys):
        """Applies the stream with other keys (None: without that key). version: a new one; cut: which is waited for."""
        definition = {k: v for k, v in dict(self.definitions[-1], **keys).items() if v is not None}
        self.c.spec["streams"] = [definition if s["name"] == "s" else s for s in self.c.spec["streams"]]
        answers = []

        def answered():  # with 503 where who serves it is away, or has not answered in time, and may have done it all the same
            answers.append(post_topology(self.c, self.c.spec))
            return answers[-1][0] != 503
        wait_for("an answer", answered)
        status, answer = answers[-1]
        assert status == 200 and (answer["applied"] or len(answers) > 1), answers
        if version:
            self.definitions.append(definition)
        else:
            self.definitions[-1] = definition
        if version and cut:
            self.wait_cut()

    def wait_cut(self):
        wait_for(f"{len(self.definitions)} versions", lambda: len(self.versions()) >= len(self.definitions))

    def expected(self, readings, versions):
        """{(start, end, group): (version's number in the row, [(time, value)])}, as a query without further parameters has them."""
        assert len(versions) == len(self.definitions), (versions, self.definitions)
        by = self.definitions[-1]["by"]
        out = {}
        for i, (definition, (first, until)) in enumerate(zip(self.definitions, versions)):
            size, every = windows_of(definition)
            for r in readings:
                value = stepped(definition, r.value)
                group = tuple(sorted((t, r.tags[t] if t in definition["by"] else "") for t in by))
                start = r.time // every * every
                while value is not None and start > r.time - size:
                    if (first is None or start >= first) and (until is None or start < until):
                        out.setdefault((start, start + size, group), (i, []))[1].append((r.time, value))
                    start -= every
        for _, values in out.values():
            values.sort()
        return out

    def check_rows(self, rows, expected):
        """Each row is what the oracle has; returns their keys."""
        seen = set()
        for row in rows:
            key = (parse_time(row["start"]), parse_time(row["end"]), group_of(row))
            assert key not in seen, f"twice: {row}"
            seen.add(key)
            assert key in expected, f"nobody's: {row}"
            version, values = expected[key]
            want = oracle_values(values)
            assert set(row["values"]) == set(self.definitions[-1]["compute"]), row
            for fn, have in row["values"].items():
                if fn not in self.definitions[version]["compute"]:
                    assert have is None, row
                elif fn in row["error"]:
                    assert abs(have - want[fn]) <= (row["error"][fn] + 1e-12) * abs(want[fn]), (row, want[fn])
                else:
                    assert have == want[fn], (fn, want[fn], row)
        return seen

    def check(self, node=None):
        """While it is written: all final windows are exact, the latest version's among them, and none is missing up to the last one."""
        node = node or random.Random(self.feeder.second).choice(self.c.cloud_names)
        versions = self.versions()

        def reached():
            answer = self.c.query(node, "s", state="final")
            last = answer["rows"] and parse_time(answer["rows"][-1]["start"])
            return last and last >= (versions[-1][0] or 0) and answer
        answer = wait_for("final windows of the latest version", reached)
        for a, b in zip(versions, versions[1:]):
            assert a[1] == b[0] and a[1] is not None, f"a gap or an overlap: {versions}"
        assert versions[0][0] is None and versions[-1][1] is None, versions
        expected = self.expected(self.feeder.so_far(), versions)
        seen = self.check_rows(answer["rows"], expected)
        for i in range(len(versions)):
            last = max((k[0] for k in seen if expected[k][0] == i), default=None)
            missing = [k for k, (version, _) in expected.items() if version == i and last is not None and k[0] <= last and k not in seen]
            assert not missing, f"missing of version {i}: {sorted(missing)[:3]} ({len(missing)})"

    def check_end(self):
        """All that was written is answered by every node, final; each window was told of once."""
        readings = self.feeder.finish()
        expected = self.expected(readings, self.versions())
        for node in self.c.cloud_names:
            def rows(node=node):
                return self.c.query(node, "s", state="final")["rows"]
            try:
                wait_for(f"{len(expected)} final windows at {node}", lambda: len(rows()) >= len(expected))
            except AssertionError as e:
                missing = sorted(set(expected) - self.check_rows(rows(), expected))
                raise AssertionError(f"{e}; missing {missing[:3]} ({len(missing)}); versions {self.versions()}; "
                                     f"{self.c.api(node, 'streams')}; {self.c.api(node, 'edges')}") from None
            assert self.check_rows(rows(), expected) == set(expected)
        for e, d in self.c.edges.items():
            if d.running():
                edge_ledger(self.c, e)
        cloud_ledger(self.c)
        return readings, expected

    def check_coarse(self, readings, size):
        """Coarser windows: each of one version, none of those that reach over a cut. The versions' windows are tumbling."""
        want = {}
        for definition, (first, until) in zip(self.definitions, self.versions()):
            for r in readings:
                start, value = r.time // size * size, stepped(definition, r.value)
                if value is not None and (first is None or start >= first) and (until is None or start + size <= until):
                    count, total = want.get(start, (0, 0))
                    want[start] = count + 1, total + value
        for node in self.c.cloud_names:
            rows = self.c.query(node, "s", by="", select="count,sum", window=f"{size // NS}s")["rows"]
            assert {parse_time(r["start"]): (r["values"]["count"], r["values"]["sum"]) for r in rows} == want, (rows, want)

    def told(self):
        """{(start, end, group as told): [rows]}"""
        out = collections.defaultdict(list)
        for row in list(self.watcher.rows):
            out[(parse_time(row["start"]), parse_time(row["end"]), group_of(row))].append(row)
        return out

    def expected_told(self, readings):
        """As expected(), by each version's own tags."""
        versions, out = self.versions(), {}
        keep = self.definitions
        for i in range(len(keep)):
            self.definitions = keep[:i + 1]
            part = self.expected(readings, versions[:i + 1])
            out.update({k: (v, values) for k, (v, values) in part.items() if v == i})
        self.definitions = keep
        return out

    def check_told(self, readings, passed_over=()):
        """Each window once, of one version. passed_over: those that another size of windows has told of, [(start, end)]."""
        want = {k: v for k, v in self.expected_told(readings).items() if (k[0], k[1]) not in passed_over}
        try:
            wait_for("all windows to be told of", lambda: set(want) <= set(self.told()))
        except AssertionError as e:
            missing = sorted(set(want) - set(self.told()))
            raise AssertionError(f"{e}; {len(missing)}: {missing[:3]}; versions {self.versions()}") from None
        told = self.told()
        extra = sorted(set(told) - set(want))
        assert not extra, f"told of, nobody's: {extra[:3]} ({len(extra)})"
        for key, rows in told.items():
            news = [(r["revision"], r["state"] == "final") for r in rows]  # provisional ones are told of again when they are final
            assert news == sorted(set(news)) and news[0][0] == 1, rows
            version, values = want[key]
            definition, last, have = self.definitions[version], rows[-1]["values"], oracle_values(values)
            assert last["count"] == have["count"] and last["sum"] == have["sum"], (rows[-1], have, definition)
        assert self.watcher.resets == 0


class Cutover(unittest.TestCase):
    def test_steps_grouping_functions_and_back(self):
        """One change of what partials hold after the other, and back to the first: A -> B -> ... -> A."""
        first = stream()
        changes = [
            dict(steps=[{"scale": {"by": 2, "add": 1}}]),
            dict(by=["site"]),
            dict(by=["sensor", "site"]),
            dict(compute=["count", "sum", "p99"]),
            dict(compute=first["compute"]),
            dict(steps=[{"range": {"min": 100, "max": 800}}]),
            dict(window={"size": "20s", "every": "5s"}),
            dict(window="10s"),
            dict(steps=None, by=first["by"]),
        ]
        with Run() as r:
            for keys in changes * (5 if LONG else 1):
                r.change(**keys)
                r.feeder.wait_seconds(25)
                r.check()
            readings, _ = r.check_end()
            r.check_told(readings)
            r.c.stop()

    def test_windows_streams_and_edges(self):
        """Changes that make no version, another stream that goes and returns, an edge that comes and goes."""
        with Run(edges=("edge-1", "edge-2")) as r:
            for window in ({"size": "30s", "every": "10s"}, {"size": "20s", "every": "10s"}, "10s"):
                r.change(version=False, window=window)
                r.feeder.wait_seconds(40)
                r.check()
                self.assertEqual(len(r.versions()), 1)
            r.change(version=False, lateness="8s")
            r.check()
            # another stream comes, goes, and returns as something else
            r.feeder.wait_seconds(10)
            second = stream("more", by=["site"], window="20s")
            born = len(r.feeder.so_far())
            apply(r.c, lambda spec: spec["streams"].append(second))
            r.feeder.wait_seconds(60)
            gone = r.feeder.second
            apply(r.c, lambda spec: spec["streams"].pop())
            r.feeder.wait_seconds(30)
            back = r.feeder.second
            apply(r.c, lambda spec: spec["streams"].append(dict(second, by=[], steps=[{"scale": {"by": 3}}])))

            def versions():
                found = r.c.api("cloud-2", "query", stream="more", limit="1").get("versions", [])
                return len(found) == 2 and [parse_time(v["from"]) if v["from"] else None for v in found]
            cut = wait_for("the one that returned", versions)[1]
            self.assertGreaterEqual(cut, BASE_NS + back * NS - 20 * NS)
            # an edge comes, and goes
            port, http_port = free_port(), free_port()

            def add(spec):
                spec["edges"].append(dict(EDGE, name="edge-3", data="run/edge-3", http=f"127.0.0.1:{http_port}",
                                          sources=[{"type": "tcp", "name": "in", "listen": f"127.0.0.1:{port}"}]))
            apply(r.c, add)
            r.c.http["edge-3"], r.c.edges["edge-3"] = http_port, Daemon(r.c, EDGED, "edge-3")
            r.c.edges["edge-3"].start()
            r.c.wait_healthy("edge-3")
            r.feeder.add("edge-3", port)
            r.feeder.wait_seconds(30)
            r.change(steps=[{"scale": {"by": 2}}])
            r.feeder.wait_seconds(30)
            r.check()
            r.feeder.drop("edge-3")
            sent = len([x for x in r.feeder.so_far() if x.edge == "edge-3"])

            def delivered():
                m = r.c.metrics("edge-3")
                acked, held = (metric_sum(m, f"weir_edge_stream_{k}", stream="s") for k in ("acknowledged_total", "aggregated"))
                return metric_sum(m, "weir_edge_readings_accepted_total") == sent and acked == held >= sent
            wait_for("edge-3's readings to be acknowledged", delivered)
            apply(r.c, lambda spec: spec["edges"].remove(edge_of(spec, "edge-3")), wait_edges=["edge-1", "edge-2"])
            r.feeder.wait_seconds(20)
            r.change(by=["site"])
            readings, _ = r.check_end()
            # the windows of each size that closed while it was in force: none is told of twice, each end by one size
            told = r.told()
            for rows in told.values():
                self.assertEqual(len({(row["revision"], row["state"]) for row in rows}), len(rows), rows)
            ends = collections.defaultdict(set)
            for start, end, _ in told:
                ends[end].add(end - start)
            self.assertEqual({len(sizes) for sizes in ends.values()}, {1})
            self.assertEqual(sorted(ends), list(range(min(ends), max(ends) + 1, 10 * NS)))
            # the other stream, which has batches of its own: whole where it was there
            wait_for("all to be acknowledged", lambda: all(metric_sum(r.c.metrics(e), f"weir_edge_{k}") == 0
                                                           for e in ("edge-1", "edge-2") for k in ("spool_batches", "open_partials")))
            rows = r.c.query("cloud-3", "more", by="", select="count,sum")["rows"]
            have = {parse_time(row["start"]): row["values"] for row in rows}
            whole = 0
            for start in range(BASE_NS, BASE_NS + r.feeder.second * NS, 20 * NS):
                inside = [x.value for x in readings if start <= x.time < start + 20 * NS]
                if start >= cut:
                    self.assertEqual(have[start], {"count": len(inside), "sum": 3 * sum(inside)})
                elif start >= readings[born].time + 200 * NS and start + 20 * NS <= BASE_NS + (gone - 10) * NS:
                    self.assertEqual(have[start], {"count": len(inside), "sum": sum(inside)})
                    whole += 1
                else:
                    self.assertLessEqual(have.get(start, {"count": 0})["count"], len(inside))
            r.c.stop()

    def test_the_meta_leader_dies_between_the_change_and_the_cut(self):
        with Run() as r:
            for _ in range(10 if LONG else 1):
                r.c.edges["edge-2"].signal(signal.SIGSTOP)  # there is no cut without its word
                r.change(steps=[{"scale": {"by": 3}}], cut=False)
                meta = wait_led(r.c)["meta"]
                self.assertLess(len(r.versions()), len(r.definitions))
                r.c.clouds[meta].kill()
                other = next(n for n in r.c.cloud_names if n != meta)
                wait_for("another one leads the meta group", lambda: r.c.api(other, "cluster")["meta"]["leader"] not in (None, meta))
                self.assertLess(len(wait_for("an answer", lambda: r.versions(other))), len(r.definitions))
                r.c.edges["edge-2"].signal(signal.SIGCONT)
                wait_for("the cut", lambda: len(r.versions(other)) == len(r.definitions))
                r.c.clouds[meta].start()
                r.c.wait_ready()
                r.feeder.wait_seconds(25)
                r.check()
                r.change(steps=None)
            readings, _ = r.check_end()
            r.check_told(readings)
            r.c.stop()

    def test_a_change_that_is_taken_back_before_the_cut(self):
        """A -> B -> A while B waits for an edge: A goes on, B never answers."""
        with Run() as r:
            r.c.edges["edge-2"].signal(signal.SIGSTOP)
            for _ in range(3):
                r.change(by=["site"], cut=False)
                r.definitions.pop()
                r.change(version=False)
            r.c.edges["edge-2"].signal(signal.SIGCONT)
            wait_for("edge-2 goes by the same map", lambda: map_version(r.c, "edge-2") == map_version(r.c, "edge-1"))
            r.feeder.wait_seconds(25)
            r.check()
            self.assertEqual(len(r.versions()), 1)
            r.change(by=["site"])
            readings, _ = r.check_end()
            r.check_told(readings)
            r.c.stop()

    def test_an_edge_that_was_away_during_the_cut(self):
        """What it had read until it heard of the change is in the old version, and the new one's windows say that it is missing."""
        with Run(partitioned_after="2s") as r:
            r.c.edges["edge-2"].signal(signal.SIGSTOP)
            r.change(steps=[{"scale": {"by": 2}}])  # cut without it
            cut = r.versions()[1][0]
            r.feeder.wait_seconds(50)
            r.c.edges["edge-2"].signal(signal.SIGCONT)
            wait_for("edge-2 goes by the same map", lambda: map_version(r.c, "edge-2") == map_version(r.c, "edge-1"))
            r.feeder.wait_seconds(60)
            readings = r.feeder.finish()
            end = max(x.time for x in readings) // (10 * NS) * 10 * NS

            def rows():
                found = r.c.query("cloud-1", "s", by="site", select="count,sum")["rows"]
                return parse_time(found[-1]["start"]) == end and found[-1]["state"] == "final" and found
            found = wait_for("the last window is final", rows)
            old = r.c.api("cloud-2", "query", stream="s", limit="1")["versions"][0]["version"]
            in_old = {parse_time(row["start"]): row["values"]
                      for row in r.c.query("cloud-2", "s", by="site", select="count,sum", where="site=edge-2", version=str(old))["rows"]}
            missing = sorted({parse_time(row["start"]) for row in found if row["edges"]["missing"]})
            self.assertTrue(missing)
            self.assertEqual(missing, list(range(cut, missing[-1] + 1, 10 * NS)))
            have = {(parse_time(row["start"]), row["group"]["site"]): row for row in found}
            for start in range(BASE_NS, end + 1, 10 * NS):
                for edge in r.c.edges:
                    inside = [x.value for x in readings if start <= x.time < start + 10 * NS and x.edge == edge]
                    row = have.get((start, edge), {"values": {"count": 0, "sum": 0}})
                    got = row["values"]["count"], row["values"]["sum"] / (2 if start >= cut else 1)
                    if start in missing and edge == "edge-2":  # the rest of it is in the old version: nothing twice, nothing lost
                        rest = in_old.get(start, {"count": 0, "sum": 0})
                        got = got[0] + rest["count"], got[1] + rest["sum"]
                    self.assertEqual(got, (len(inside), sum(inside)), (start, edge, row))
                    if "state" in row:
                        self.assertEqual((row["state"], row["edges"]["missing"]),
                                         ("provisional", ["edge-2"]) if start in missing else ("final", []))
            edge_ledger(r.c, "edge-2")
            cloud_ledger(r.c)
            r.c.stop()

    def test_a_cloud_that_was_down_catches_up(self):
        with Run() as r:
            r.c.clouds["cloud-3"].kill()
            r.change(steps=[{"scale": {"by": 2}}])
            r.feeder.wait_seconds(25)
            r.change(by=["site"])
            r.feeder.wait_seconds(25)
            r.check("cloud-1")
            r.c.clouds["cloud-3"].start()
            r.c.wait_ready()
            wait_for("the same map", lambda: map_version(r.c, "cloud-3") == map_version(r.c, "cloud-1"))
            r.check("cloud-3")
            readings, _ = r.check_end()
            r.check_coarse(readings, 30 * NS)
            r.check_told(readings)
            r.c.stop()


class Refused(unittest.TestCase):
    def apply(self, c, spec, node=None):
        path = c.config + ".next"
        with open(path, "w") as f:
            json.dump(spec, f, indent=1)
        r = c.ctl("apply", path, "--yes", check=False, node=node)
        return r.returncode, r.stdout + r.stderr

    def test_what_cannot_be_applied_says_so(self):
        with Cluster(edges={"edge-1": dict(EDGE, sources=[])}, streams=[stream()]) as c:
            c.start()
            version = c.api("cloud-1", "topology")["version"]
            for keys, said in (({"shards": 9}, "shards: 8 -> 9: their number is fixed when a cluster is created"),
                               ({"name": "other"}, "a cluster keeps its name")):
                spec = copy.deepcopy(c.spec)
                spec["cluster"].update(keys)
                code, text = self.apply(c, spec)
                self.assertEqual(code, 1, text)
                self.assertIn(said, text)
            spec = copy.deepcopy(c.spec)
            spec["cloud"][0]["listen"] = f"tcp://127.0.0.1:{free_port()}"
            code, text = self.apply(c, spec)
            self.assertEqual(code, 1, text)
            self.assertIn("a node keeps its addresses", text)
            spec = copy.deepcopy(c.spec)
            spec["streams"][0]["window"] = "0s"
            code, text = self.apply(c, spec)
            self.assertEqual(code, 2, text)
            self.assertRegex(text, r"topology\.yaml\.next:\d+:\d+: streams\[0\]\.window: ")
            self.assertEqual(c.api("cloud-1", "topology")["version"], version)
            # of two changes of the same topology one is made
            specs = [copy.deepcopy(c.spec) for _ in range(4)]
            for i, s in enumerate(specs):
                s["streams"][0]["lateness"] = f"{6 + i}s"
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda s: post_topology(c, s, version), specs))
            self.assertEqual(sorted(status for status, _ in answers), [200, 409, 409, 409], answers)
            for status, answer in answers:
                if status != 200:
                    self.assertIn("meanwhile", answer["error"]["message"])
            # what only moves the map refuses nobody: a stream that is cut over
            base = c.api("cloud-1", "topology")["version"]
            spec = copy.deepcopy(c.spec)
            spec["streams"][0]["by"] = ["site"]
            status, answer = post_topology(c, spec, base)
            self.assertEqual(status, 200, answer)
            wait_for("the cut and the end of the old version", lambda: c.api("cloud-1", "topology")["version"] >= answer["version"] + 2)
            status, late = post_topology(c, c.spec, answer["version"])
            self.assertEqual(status, 200, late)
            c.stop()

    def test_sighup_applies_a_node_s_file(self):
        with Cluster(edges={"edge-1": dict(EDGE, sources=[{"type": "tcp"}])}, streams=[stream()]) as c:
            c.start()
            before = c.api("cloud-1", "topology")["version"]
            c.spec["streams"].append(stream("more"))
            c.write_config()
            c.clouds["cloud-2"].signal(signal.SIGHUP)
            for node in c.cloud_names:
                wait_for(f"{node} has it", lambda node=node: map_version(c, node) > before)
            wait_for("edge-1 has it", lambda: map_version(c, "edge-1") > before)
            self.assertEqual({s["name"] for s in c.api("cloud-3", "streams")["streams"]}, {"s", "more"})
            c.spec["cluster"]["shards"] = 4
            c.write_config()
            c.clouds["cloud-2"].signal(signal.SIGHUP)
            wait_for("it says so", lambda: "shards: 8 -> 4" in c.clouds["cloud-2"].log()
                     or "changes that cannot be made" in c.clouds["cloud-2"].log())
            with open(c.config, "a") as f:
                f.write("[\n")
            c.clouds["cloud-1"].signal(signal.SIGHUP)
            wait_for("it says where", lambda: re.search(rf'msg="[^"]*{re.escape(os.path.basename(c.config))}:\d+:\d+: not YAML', c.clouds["cloud-1"].log()))
            self.assertNotIn('msg=""', c.clouds["cloud-1"].log())
            c.clouds["cloud-3"].signal(signal.SIGHUP)
            c.stop()

    def test_a_list_of_300_edges(self):
        with Cluster(edges={"edge-1": dict(EDGE, sources=[{"type": "tcp"}])}, streams=[stream(edges=["edge-1"])]) as c:
            c.start()

            def many(spec):
                spec["edges"] += [dict(EDGE, name=f"sensor-hub-{i}", data=f"run/hub-{i}", tags={"site": f"site-{i}"},
                                       sources=[{"type": "file", "name": "in", "path": f"hub-{i}.lp", "follow": True}]) for i in range(300)]
                spec["streams"].append(stream("all"))
            apply(c, many)
            self.assertEqual(len(wait_for("all edges", lambda: (lambda x: len(x) == 301 and x)(c.api("cloud-2", "edges")["edges"]))), 301)
            with socket.create_connection(("127.0.0.1", c.tcp["edge-1"])) as s:
                s.sendall("".join(f"m,sensor=a,site=b v=1 {BASE_NS + i * NS}\n" for i in range(100)).encode())
            c.wait_count("cloud-1", "s", 100, state="final")
            apply(c, lambda spec: spec["edges"].__delitem__(slice(1, None)))
            c.wait_count("cloud-3", "all", 100, state="final")  # nobody else is waited for any more
            c.clouds["cloud-1"].kill()
            c.clouds["cloud-1"].start()
            c.wait_ready()
            c.wait_count("cloud-1", "all", 100, state="final")
            c.stop()


if __name__ == "__main__":
    unittest.main()
