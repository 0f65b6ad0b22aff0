"""A stock Prometheus that reads Weir's results: the numbers of weirctl query, restarts on both sides, and the page that shows how."""

import json
import os
import unittest

import docs_example
from prometheus import Prometheus, needed, wanted
from test_faults import T0, make_lines, send, stream, tcp_edge
from weirtest import NS, Cluster, parse_time, wait_for

FUNCTIONS = ["count", "sum", "mean", "min", "max", "p50", "p99"]


def config(url):
    return f"remote_read:\n  - {{url: '{url}/api/v1/prometheus/read', read_recent: true}}\n"


@needed
class RemoteRead(unittest.TestCase):
    def check(self, c, p, node, start_s, end_s):
        """Each number of weirctl query stands in Prometheus at the window's end, and nothing else does."""
        out = c.ctl("query", "s", "--select", ",".join(FUNCTIONS), "-o", "json", node=node)
        rows = json.loads(out.stdout if hasattr(out, "stdout") else out)["rows"]
        for fn in FUNCTIONS:
            self.assertEqual(p.range(f"weir:s:{fn}", start_s, end_s, 10), wanted(rows, fn))

    def test_the_numbers_are_those_of_weirctl_query(self):
        lines = make_lines(2000)
        t0 = T0 // NS
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream(compute=FUNCTIONS)], security=False) as c:
            c.start()
            send(c.tcp["edge-1"], lines)
            c.wait_count("cloud-1", "s", 2000, state="final")
            with Prometheus(c.dir, config(c.url("cloud-1"))) as p:
                self.check(c, p, "cloud-2", t0, t0 + 220)
                p.restart()
                c.clouds["cloud-2"].kill()
                wait_for("an answer without cloud-2", lambda: not p.api("query", query="weir:s:sum", time=t0 + 20)[1])
                self.check(c, p, "cloud-3", t0, t0 + 220)
                c.clouds["cloud-2"].start()
                every = {k for labels in p.instant("weir:s:sum", t0 + 20) for n, k in labels if n == "k"}
                self.assertEqual(every, {"g0", "g1", "g2", "g3", "g4"})
                for matcher, want in (("k='g1'", {"g1"}), ("k!='g1'", every - {"g1"}), ("k=~'g[12]|x'", {"g1", "g2"}),
                                      ("k!~'g[12]'", every - {"g1", "g2"}), ("k=''", set()), ("nosuch=''", every), ("nosuch='a'", set())):
                    got = {dict(labels)["k"] for labels in p.instant("weir:s:sum{" + matcher + "}", t0 + 20)}
                    self.assertEqual(got, want, matcher)
                # a quantile that the stream does not list, from the sketch
                row = c.query("cloud-1", "s", select="p95", where="k=g1")["rows"][0]
                self.assertEqual(list(p.instant("weir:s:p95{k='g1'}", parse_time(row["end"]) / NS).values()), [row["values"]["p95"]])
                # what Go's expressions know and Weir's do not is said, not left out silently
                warned = p.api("query", query="weir:s:sum{k=~'\\\\pL.*'}", time=t0 + 20)[1]
                self.assertTrue(warned and "400" in warned[0] and "not known" in warned[0], warned)


@needed
class Page(unittest.TestCase):
    def test_the_page_of_prometheus(self):
        with docs_example.Example("docs/prometheus.md") as e:
            e.start()
            with open(os.path.join(e.dir, "prometheus.yml")) as f:
                text = f.read()
            with Prometheus(e.dir, text, lookback="5m", port=int(e.port["9090"])):
                e.run_blocks()
