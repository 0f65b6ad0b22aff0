"""What answers say: state, revision, completeness, grouping, paging, watching; and weirctl, which shows them."""

import json
import os
import re
import socket
import subprocess
import time
import unittest
import urllib.request

from test_failover import wait_led
from test_faults import T0, check_exact, make_lines, send, stream, tcp_edge
from weirtest import (NS, WEIRCTL, Cluster, assert_rows, edge_ledger, oracle_windows, parse_simple_lines, parse_time,
                      wait_for)


def line(k, v, t_s, **tags):
    more = "".join(f",{a}={b}" for a, b in tags.items())
    return f"m,k={k}{more} v={v} {T0 + int(t_s * NS)}\n"


class States(unittest.TestCase):
    def test_open_then_final_then_revised(self):
        with Cluster(edges={"edge-1": tcp_edge(flush="200ms", idle_after="1h")}, streams=[stream()]) as c:
            c.start()
            send(c.tcp["edge-1"], [line("a", 1, 1), line("a", 2, 5)])
            c.wait_count("cloud-2", "s", 2)
            row = c.query("cloud-2", "s")["rows"][0]
            self.assertEqual((row["state"], row["values"]["count"], row["revision"]), ("open", 2, None))
            send(c.tcp["edge-1"], [line("a", 3, 12)])  # lateness 1 s: the watermark passes 10 s
            wait_for("the first window is final", lambda: c.query("cloud-2", "s", state="final")["rows"])
            row = c.query("cloud-2", "s")["rows"][0]
            self.assertEqual((row["state"], row["revision"]), ("final", 1))
            self.assertEqual(row["edges"], {"expected": 1, "contributed": 1, "idle": 0, "partitioned": 0, "missing": []})
            send(c.tcp["edge-1"], [line("a", 7, 2)])   # late: revises
            wait_for("revision 2", lambda: c.query("cloud-1", "s")["rows"][0]["revision"] == 2)
            row = c.query("cloud-1", "s")["rows"][0]
            self.assertEqual((row["values"]["count"], row["values"]["max"], row["state"]), (3, 7, "final"))

    def test_partitioned_edge_is_missing_until_it_returns(self):
        edges = {"edge-1": tcp_edge(flush="200ms", idle_after="1h"), "edge-2": tcp_edge(flush="200ms", idle_after="1h")}
        with Cluster(edges=edges, streams=[stream()], cluster={"partitioned_after": "2s"}) as c:
            c.start()
            for e in c.edges:
                send(c.tcp[e], [line(e, 1, 1)])
            c.wait_count("cloud-1", "s", 2)
            c.edges["edge-2"].kill()
            send(c.tcp["edge-1"], [line("edge-1", 1, 25)])
            rows = wait_for("provisional", lambda: c.query("cloud-3", "s", to=(T0 // NS + 10))["rows"]
                            if c.query("cloud-3", "s", to=(T0 // NS + 10))["rows"][0]["state"] == "provisional" else None)
            for row in rows:
                self.assertEqual(row["edges"]["missing"], ["edge-2"])
                self.assertEqual((row["edges"]["expected"], row["edges"]["contributed"], row["edges"]["partitioned"]), (2, 1, 1))
            c.edges["edge-2"].start()
            c.wait_healthy("edge-2")
            send(c.tcp["edge-2"], [line("edge-2", 5, 8), line("edge-2", 1, 26)])
            wait_for("final", lambda: [r for r in c.query("cloud-3", "s", to=(T0 // NS + 10), state="final")["rows"]
                                       if r["group"]["k"] == "edge-2" and r["values"]["count"] == 2])
            for row in c.query("cloud-3", "s", to=(T0 // NS + 10))["rows"]:
                self.assertEqual((row["state"], row["edges"]["missing"], row["edges"]["contributed"]), ("final", [], 2))

    def test_a_returner_with_days_of_backlog(self):
        """Five days close without it; it comes with them in its spool, more is measured meanwhile, and the meta leader dies."""
        days, step_s, hour = 5, 20, 3600 * NS
        edges = {e: tcp_edge(flush="200ms", idle_after="1h") for e in ("edge-1", "edge-2")}
        old = {e: [line(e, i % 9, i * step_s) for i in range(days * 86400 // step_s)] for e in edges}
        new = {e: [line(e, i % 5, days * 86400 + i * step_s) for i in range(720)] for e in edges}
        with Cluster(edges=edges, streams=[stream(window="1h")], cluster={"partitioned_after": "2s"}) as c:
            c.start()
            for e in edges:
                send(c.tcp[e], old[e][:1])
            c.wait_count("cloud-1", "s", 2)
            c.edges["edge-2"].kill()
            send(c.tcp["edge-1"], old["edge-1"][1:])
            end = (T0 + days * 24 * hour) // hour * hour

            def closed_alone():
                rows = [r for r in c.query("cloud-2", "s", to=end // NS)["rows"] if r["group"]["k"] == "edge-1"]
                return len(rows) == days * 24 and all(r["state"] == "provisional" for r in rows) and rows
            alone = wait_for("days close without it", closed_alone)
            self.assertEqual({tuple(r["edges"]["missing"]) for r in alone}, {("edge-2",)})
            for d in c.clouds.values():
                self.assertEqual(d.stop(), 0)
            c.edges["edge-2"].start()
            c.wait_healthy("edge-2")
            send(c.tcp["edge-2"], old["edge-2"][1:])
            # It counts anew from its start: the first reading was before.
            wait_for("all is in its spool", lambda: edge_ledger(c, "edge-2")["accepted"] >= len(old["edge-2"]) - 1)
            for d in c.clouds.values():
                d.start()
            c.wait_ready()
            leader = wait_led(c)["meta"]
            for e in edges:
                send(c.tcp[e], new[e])
            c.clouds[leader].kill()
            other = next(n for n in c.cloud_names if n != leader)
            lines = [x for e in edges for x in old[e] + new[e]]
            c.wait_count(other, "s", len(lines))
            c.clouds[leader].start()
            c.wait_ready()
            expected = oracle_windows(parse_simple_lines("".join(lines)), ["k"], hour)
            closed = {k: v for k, v in expected.items() if k[0] < end}

            def final():
                rows = c.query(other, "s", to=end // NS, state="final")["rows"]
                return rows if len(rows) == len(closed) else None
            rows = wait_for("all those days to be final", final)
            for node in c.cloud_names:
                assert_rows(c.query(node, "s", to=end // NS)["rows"], closed, ["k"], hour, ["count", "sum", "first", "last"])
            self.assertEqual({tuple(r["edges"]["missing"]) for r in rows}, {()})

    def test_one_silent_edge_that_never_came(self):
        edges = {"edge-1": tcp_edge(idle_after="1h"), "edge-2": tcp_edge()}
        with Cluster(edges=edges, streams=[stream()], cluster={"partitioned_after": "2s"}) as c:
            c.start(edges=False)
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            send(c.tcp["edge-1"], [line("a", 1, 1), line("a", 1, 12)])
            row = wait_for("closed", lambda: [r for r in c.query("cloud-1", "s")["rows"] if r["state"] == "provisional"])[0]
            self.assertEqual(row["edges"]["missing"], ["edge-2"])

    def test_retain_and_rollup(self):
        """Level 0 ends behind `retain`; hours stay; sums over them stay exact."""
        lines = [line("a", i % 7, i * 10) for i in range(2000)]  # 5.5 h
        s = stream(retain="1h", rollup=[{"every": "10m", "retain": "forever"}])
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[s]) as c:
            c.start()
            send(c.tcp["edge-1"], lines)
            readings = parse_simple_lines("".join(lines))

            def rolled():
                rows = c.query("cloud-1", "s")["rows"]
                return rows and parse_time(rows[0]["start"]) >= T0 + 3 * 3600 * NS
            wait_for("old slices are rolled up", rolled)
            c.wait_count("cloud-2", "s", len(lines), window="10m")
            rows = c.query("cloud-2", "s", window="10m")["rows"]
            assert_rows(rows, oracle_windows(readings, ["k"], 600 * NS), ["k"], 600 * NS, ["count", "sum", "first", "last"])
            rows = c.query("cloud-2", "s", window="1h")["rows"]
            assert_rows(rows, oracle_windows(readings, ["k"], 3600 * NS), ["k"], 3600 * NS, ["count", "sum", "first", "last"])


class Questions(unittest.TestCase):
    def test_group_filter_page_and_watch(self):
        s = stream(by=["site", "k"], window={"size": "20s", "every": "10s"},
                   compute=["count", "sum", "p50", "distinct(k)"])
        lines = [line(f"g{i % 7}", i, i * 0.5, **({"site": f"s{i % 3}"} if i % 3 else {})) for i in range(400)]
        with Cluster(edges={"edge-1": tcp_edge(), "edge-2": tcp_edge()}, streams=[s]) as c:
            c.start()
            watcher = urllib.request.urlopen(f"http://127.0.0.1:{c.http['cloud-3']}/api/v1/watch?stream=s", timeout=60)
            send(c.tcp["edge-1"], lines[0::2])
            send(c.tcp["edge-2"], lines[1::2])
            c.wait_count("cloud-1", "s", 800, state="final")
            readings = parse_simple_lines("".join(lines))
            full = c.query("cloud-1", "s")["rows"]
            # What interfaces.md says of the order: by start, then group.
            keys = [(parse_time(r["start"]), r["group"]["site"], r["group"]["k"]) for r in full]
            self.assertEqual(sorted(keys, key=lambda x: x[0]), keys)
            assert_rows(full, oracle_windows(readings, ["site", "k"], 20 * NS, 10 * NS), ["site", "k"], 20 * NS, ["count", "sum"])
            # Each node gives the same answer.
            for node in c.cloud_names:
                self.assertEqual(c.query(node, "s")["rows"], full)
            # Regrouped: fewer tags, or none.
            for by in (["site"], ["k"], []):
                rows = c.query("cloud-2", "s", by=",".join(by))["rows"]
                assert_rows(rows, oracle_windows(readings, by, 20 * NS, 10 * NS), by, 20 * NS, ["count", "sum", "p50"])
                self.assertTrue(all(r["revision"] is None for r in rows))
            rows = c.query("cloud-2", "s", by="", select="distinct(k)")["rows"]
            for row in rows[2:10]:
                self.assertEqual(row["values"]["distinct(k)"], 7)
            # Filters: OR within a tag, AND between tags; a missing tag is "".
            rows = c.query("cloud-2", "s", where=["site=s1", "site=", "k=g1"])["rows"]
            self.assertEqual({(r["group"]["site"], r["group"]["k"]) for r in rows}, {("s1", "g1"), ("", "g1")})
            # Times and pages.
            part = c.query("cloud-2", "s", **{"from": T0 // NS + 40, "to": T0 // NS + 60})["rows"]
            self.assertEqual(part, [r for r in full if T0 + 40 * NS <= parse_time(r["start"]) < T0 + 60 * NS])
            first = c.api("cloud-3", "query", stream="s", limit="7")
            self.assertEqual(len(first["rows"]), 7)
            self.assertTrue(first["next"])
            self.assertEqual(c.query("cloud-3", "s", limit="7")["rows"], full)
            # The watch gave every window and group, each once in its last revision.
            seen, ids = {}, []
            def told():  # where an edge was slow, its readings came to windows that had closed, which are revised
                return [seen.get((r["start"], r["group"]["site"], r["group"]["k"]), {}).get("values") for r in full]
            while told() != [r["values"] for r in full]:
                text = watcher.readline().decode()
                self.assertTrue(text, "the watch ended")
                if text.startswith("id:"):
                    ids.append(text[3:].strip())
                if text.startswith("data:"):
                    r = json.loads(text[5:])
                    seen[(r["start"], r["group"]["site"], r["group"]["k"])] = r
            watcher.close()
            # Resuming from the middle gives the rest.
            r = urllib.request.Request(f"http://127.0.0.1:{c.http['cloud-1']}/api/v1/watch?stream=s",
                                       headers={"Last-Event-ID": ids[len(ids) // 2]})
            with urllib.request.urlopen(r, timeout=60) as resumed:
                rest = 0
                while rest < len(ids) - len(ids) // 2 - 1:
                    rest += resumed.readline().startswith(b"data:")

    def test_cluster_streams_edges(self):
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            c.start()
            lines = make_lines(100)
            send(c.tcp["edge-1"], lines)
            check_exact(self, c, lines)
            for node in c.cloud_names:
                def spread(node=node):
                    found = c.api(node, "cluster")
                    return {s["leader"] for s in found["shards"]} == set(c.cloud_names) and {n["state"] for n in found["nodes"]} == {"up"} and found
                cluster = wait_for(f"each to lead some, says {node}", spread)
                self.assertEqual([s["shard"] for s in cluster["shards"]], list(range(8)))
                for s in cluster["shards"]:
                    self.assertRegex(s["replicas"][0]["digest"], r"^[0-9a-f]{32}$")
                s = c.api(node, "streams")["streams"][0]
                self.assertEqual((s["name"], s["slice"], sum(s["dropped"].values())), ("s", "10s", 0))
                self.assertIsNotNone(s["watermark"])
                wait_for(f"the edge's state at {node}", lambda node=node: [
                    (e["name"], e["state"], e["epoch"], e["accepted"]) for e in c.api(node, "edges")["edges"]] == [("edge-1", "idle", 1, 100)])
            c.clouds["cloud-3"].kill()
            wait_for("cloud-3 alone to be down", lambda: [
                n["name"] for n in c.api("cloud-1", "cluster")["nodes"] if n["state"] != "up"] == ["cloud-3"])


class Sources(unittest.TestCase):
    def test_stdin_and_simulate(self):
        edges = {"edge-1": {"sources": [{"type": "stdin"}], "tick": "100ms", "flush": "300ms"},
                 "edge-2": {"sources": [{"type": "simulate", "sensors": 5, "every": "1s", "count": 200, "fast": True, "seed": 9,
                                         "measurement": "m", "field": "v", "start": "2023-11-14T22:13:20Z"}]}}
        streams = [stream(by=["k"]), stream("sim", by=["sensor"], compute=["count"])]
        with Cluster(edges=edges, streams=streams) as c:
            c.start(edges=False)
            lines = make_lines(500)
            c.edges["edge-1"].start(stdin=subprocess.PIPE)
            c.edges["edge-2"].start()
            c.edges["edge-1"].process.stdin.write("".join(lines[:250]).encode())
            c.edges["edge-1"].process.stdin.flush()

            def come():
                return sum(r["values"]["count"] for r in c.query("cloud-1", "s")["rows"] if r["group"]["k"])
            # Once a cloud has it, it is committed: the pipe's other end goes on where it was.
            wait_for("the first half", lambda: come() == 250)
            c.edges["edge-1"].kill()
            c.edges["edge-1"].start(stdin=subprocess.PIPE)
            c.edges["edge-1"].process.stdin.write("".join(lines[250:]).encode())
            c.edges["edge-1"].process.stdin.close()
            # Both sources have finished: every window closes without waiting for idle_after.
            c.wait_count("cloud-1", "sim", 1500, state="final")
            wait_for("the other stream's, which are in other batches", lambda: come() >= 500)
            rows = [r for r in c.query("cloud-1", "s")["rows"] if r["group"]["k"]]
            assert_rows(rows, oracle_windows(parse_simple_lines("".join(lines)), ["k"], 10 * NS), ["k"], 10 * NS, ["count", "sum"])

    def test_file_rotation(self):
        lines = make_lines(3000)
        edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp", "follow": True}], "tick": "50ms",
                            "idle_after": "1s", "heartbeat": "300ms"}}
        with Cluster(edges=edges, streams=[stream()]) as c:
            path = os.path.join(c.dir, "in.lp")
            with open(path, "w") as f:
                f.writelines(lines[:1000])
            c.start()
            wait_for("first part", lambda: edge_ledger(c, "edge-1")["accepted"] == 1000)
            # Renamed and made anew while edged runs, with a last part written to the old file.
            old = open(path, "a")
            os.rename(path, path + ".1")
            old.writelines(lines[1000:1500])
            old.close()
            with open(path, "w") as f:
                f.writelines(lines[1500:2000])
            wait_for("second part", lambda: edge_ledger(c, "edge-1")["accepted"] == 2000)
            # Rotated while edged is dead.
            c.edges["edge-1"].kill()
            with open(path, "a") as f:
                f.writelines(lines[2000:2500])
            os.rename(path + ".1", path + ".2")  # as logrotate does: what was read last may not be in the checkpoint, and is looked for by number
            os.rename(path, path + ".1")
            with open(path, "w") as f:
                f.writelines(lines[2500:])
            c.edges["edge-1"].start()
            check_exact(self, c, lines)


class Ctl(unittest.TestCase):
    def test_commands(self):
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            c.start()
            lines = make_lines(1000)
            r = c.ctl("load", "--to", f"127.0.0.1:{c.tcp['edge-1']}", "-", stdin="".join(lines))
            self.assertIn("1000", r.stdout + r.stderr)
            check_exact(self, c, lines)
            for command, words in (("status", ["cloud-1", "edge-1", "leader"]), ("streams", ["s", "10s"]),
                                   ("edges", ["edge-1", "idle"]), ("nodes", ["cloud-3", "up"])):
                out = c.ctl(command).stdout
                for w in words:
                    self.assertIn(w, out)
                json.loads(c.ctl("-o", "json", command).stdout)
                self.assertGreater(len(c.ctl("-o", "csv", command).stdout.splitlines()), 1)
            answer = json.loads(c.ctl("-o", "json", "query", "s").stdout)
            self.assertEqual(answer["rows"], c.query("cloud-1", "s")["rows"])
            out = c.ctl("-o", "csv", "query", "s", "--select", "count,sum", "--where", "k=g1", "--window", "20s").stdout
            self.assertIn("count", out.splitlines()[0])
            self.assertEqual(sum(int(re.split(",", x)[out.splitlines()[0].split(",").index("count")])
                                 for x in out.splitlines()[1:]), sum("k=g1 " in x for x in lines))
            self.assertEqual(c.ctl("query", "nope", check=False).returncode, 1)
            self.assertEqual(c.ctl("query", check=False).returncode, 2)
            self.assertEqual(c.ctl("nonsense", check=False).returncode, 2)
            r = subprocess.run([WEIRCTL, "--url", "http://127.0.0.1:1", "status"], capture_output=True, text=True)
            self.assertEqual(r.returncode, 1)
            self.assertIn("127.0.0.1:1", r.stderr)
            for command in ([], ["query"], ["load"], ["watch"], ["edge"]):
                self.assertIn("sage", c.ctl(*command, "--help").stdout)

    def test_watch_and_generated_load(self):
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream(by=["sensor"], compute=["count"])]) as c:
            c.start()
            watch = subprocess.Popen([WEIRCTL, "--url", f"http://127.0.0.1:{c.http['cloud-2']}", "-o", "json", "watch", "s",
                                      "--count", "20"], stdout=subprocess.PIPE, text=True)
            try:
                # The watch starts at the end of what is there: let it be connected before anything closes.
                wait_for("the watch is connected", lambda: "weir_cloud_watchers 1" in c.get("cloud-2", "/metrics"))
                c.ctl("load", "--to", f"127.0.0.1:{c.tcp['edge-1']}", "--sensors", "10", "--every", "1s", "--count", "60",
                      "--seed", "4", "--start", "2023-11-14T22:13:20Z", "--measurement", "m", "--field", "v")
                out, _ = watch.communicate(timeout=120)
                self.assertEqual(watch.returncode, 0)
                self.assertEqual(len(out.splitlines()), 20)
                self.assertEqual({json.loads(x)["stream"] if "stream" in json.loads(x) else "s" for x in out.splitlines()}, {"s"})
            finally:
                watch.kill()
                watch.wait()
