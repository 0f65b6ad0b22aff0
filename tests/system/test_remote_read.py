"""Remote read at its edges: keys and TLS, two versions of a stream, sliding windows, names that become one, limits, no leader."""

import concurrent.futures
import json
import os
import struct
import subprocess
import unittest
import urllib.error
import urllib.request

from prometheus import Prometheus, needed
from test_faults import T0, make_lines, send, stream, tcp_edge
from weirtest import NS, WEIRCTL, Cluster, metric_sum, parse_time, wait_for

PATH = "/api/v1/prometheus/read"
T0_S = T0 // NS
EQ, RE = 0, 2
ODD = ["a", "A", "b1", "a b", "a.b", "a-b", "\u00e9", "_", "aab", "a{1", "[x]", "x" * 100]
EXPRESSIONS = ["a|b1", "(?i)a", "(?i:A)B|aab", ".", ".+b", "[[:alpha:]]", "[^\\W\\d]+", "\\w{1,2}", "a\\.b", "a.b", "a{1", "a{1}", "(a*)b", "(?:a|ab)+", "\\[.\\]",
               "\u00e9", "[\u00e0-\u00ff]", "\\x{e9}", "^a$", "a$b|", "\\ba\\b.*", ".*\\B.", "[a-]+.*", "x{100}", "(x{10}){10}", "(?P<n>a)|()", ".*?", "", "[]x[]+", "\\D*",
               "g[0-24]", "g\\d|\\S{3}", "[^g].*"]


# ---- what Prometheus sends, made by hand ------------------------------------------------------------------------------

def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def matcher(kind, name, value):
    return (b"\x08" + varint(kind) if kind else b"") + field(2, name.encode()) + field(3, value.encode())


def query(*matchers, start=T0_S * 1000, end=(T0_S + 1000) * 1000):
    return b"\x08" + varint(start) + b"\x10" + varint(end) + b"".join(field(3, matcher(*m)) for m in matchers)


def request(*queries, chunks=False):
    return b"".join(field(1, q) for q in queries) + (b"\x10\x01" if chunks else b"")


def block(raw, says=None):
    """One block of snappy that is nothing but literals."""
    out = varint(len(raw) if says is None else says)
    for at in range(0, len(raw), 65536):
        piece = raw[at:at + 65536]
        out += b"\xf4" + struct.pack("<H", len(piece) - 1) + piece
    return out


def post(c, node, body, path=PATH, token=None):
    """(status, error code, message)"""
    token = token or c.token
    r = urllib.request.Request(c.url(node) + path, data=body, headers={"Authorization": "Bearer " + token} if token else {})
    try:
        with urllib.request.urlopen(r, timeout=30, context=c.context) as answer:
            answer.read()
            return answer.status, None, None
    except urllib.error.HTTPError as e:
        error = json.load(e)["error"]
        return e.code, error["code"], error["message"]


def reads(c, node, result):
    return metric_sum(c.metrics(node), "weir_cloud_remote_reads_total", result=result)


@needed
class Keys(unittest.TestCase):
    def test_a_token_and_tls_and_what_is_no_request(self):
        lines = make_lines(300)
        lines += ["m,k=" + k.replace(" ", "\\ ") + f" v=1 {T0}\n" for k in ODD]
        with Cluster(clouds=1, edges={"edge-1": tcp_edge()}, streams=[stream()], cluster={"shards": 2}, security=True) as c:
            c.start()
            send(c.tcp["edge-1"], lines)
            c.wait_count("cloud-1", "s", len(lines), state="final")
            token = os.path.join(c.dir, "prometheus.token")
            r = subprocess.run([WEIRCTL, "token", "add", "prometheus", "--role", "read", "--out", token, "--config", c.config],
                               capture_output=True, text=True, cwd=c.dir)
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            config = (f"remote_read:\n  - url: {c.url('cloud-1')}{PATH}\n    read_recent: true\n"
                      f"    authorization: {{credentials_file: {token}}}\n    tls_config: {{ca_file: {c.ca_file}}}\n")
            with Prometheus(c.dir, config) as p:
                row = c.query("cloud-1", "s", where="k=g1")["rows"][0]
                at = parse_time(row["end"]) / NS
                with open(token) as f:
                    good = f.read()
                wait_for("the new token counts", lambda: post(c, "cloud-1", block(request()), token=good.strip())[0] == 200)
                self.assertEqual(p.instant("weir:s:sum{k='g1'}", at), {(("__name__", "weir:s:sum"), ("k", "g1")): row["values"]["sum"]})
                with open(token, "w") as f: # Prometheus reads it for each request
                    f.write("weir_" + "0" * 40)
                data, warnings = p.api("query", query="weir:s:sum", time=at)
                self.assertTrue(not data["result"] and warnings and "401" in warnings[0], warnings)
                with open(token, "w") as f:
                    f.write(good)
                self.check_expressions(p)
            self.check_refusals(c)

    def check_expressions(self, p):
        """Matchers take what Prometheus itself, which has Go's expressions, makes of all series."""
        at = T0_S + 10
        self.assertEqual(len(p.instant("weir:s:sum", at)), 5 + len(ODD))
        for text in EXPRESSIONS:
            quoted = json.dumps(text, ensure_ascii=False)
            marked = p.instant(f'label_replace(weir:s:sum, "takes", "yes", "k", {quoted})', at)
            want = {dict(labels)["k"] for labels in marked if ("takes", "yes") in labels}
            self.assertEqual({dict(labels)["k"] for labels in p.instant(f"weir:s:sum{{k=~{quoted}}}", at)}, want, text)
            self.assertEqual(len(p.instant(f"weir:s:sum{{k!~{quoted}}}", at)), 5 + len(ODD) - len(want), text)

    def check_refusals(self, c):
        many = [(RE, "k", "(a{1000}){30}")] * 3
        cases = (
            (block(b"x" * 400000), 413, "over the limit"),
            (block(b"", says=300000), 413, "more bytes"),
            (block(request(*[query()] * 17)), 413, "more bytes, queries or matchers"),
            (block(request(query(*[(EQ, "a", "b")] * 65))), 413, "more bytes, queries or matchers"),
            (b"", 400, "no ReadRequest"), (b"\xff" * 100, 400, "no ReadRequest"), (block(b"\x0a\xff"), 400, "no ReadRequest"),
            (block(request(query((7, "a", "b")))), 400, "no ReadRequest"),
            (block(request(query(), chunks=True)), 400, "SAMPLES"),
            (block(request(query((RE, "k", "a**")))), 400, "the expression for label k, at byte 3: a repetition of a repetition"),
            (block(request(query(*many))), 400, "too large together"))
        before = reads(c, "cloud-1", "refused")
        for i, (body, status, text) in enumerate(cases):
            got = post(c, "cloud-1", body)
            self.assertEqual(got[0], status, (i, got))
            self.assertIn(text, got[2], i)
        got = post(c, "cloud-1", block(request()), PATH + "?state=open")
        self.assertTrue(got[0] == 400 and "state=open" in got[2], got)
        # The first of them never came so far; each is counted once it was answered.
        wait_for("each to be counted", lambda: reads(c, "cloud-1", "refused") >= before + len(cases))
        self.assertEqual(reads(c, "cloud-1", "refused"), before + len(cases))
        for start, end in ((5, -5), (-(1 << 63), -(1 << 63)), ((1 << 63) - 1, (1 << 63) - 1), (-(1 << 63), (1 << 63) - 1)):
            self.assertEqual(post(c, "cloud-1", block(request(query(start=start, end=end))))[0], 200, (start, end))
        self.assertEqual(reads(c, "cloud-1", "failed"), 0)


@needed
class Changes(unittest.TestCase):
    def check(self, c, p, name, as_name, functions):
        """Each number of the query stands in Prometheus at its window's end, and nothing else does."""
        rows = c.query("cloud-2", name)["rows"]
        for fn in functions:
            want = {}
            for row in rows:
                if fn in row["values"] and row["values"][fn] is not None:
                    at = want.setdefault((("__name__", f"weir:{as_name}:{fn}"), ("k", row["group"]["k"])), {})
                    at[parse_time(row["end"]) / NS] = row["values"][fn]
            self.assertTrue(want)
            self.assertEqual(p.range(f"weir:{as_name}:{fn}", T0_S, T0_S + 260, 10), want)
        return rows

    def refusal(self, c, p, expression):
        data, warnings = p.api("query", query=expression, time=T0_S + 100)
        self.assertFalse(data["result"])
        self.assertEqual(len(warnings), 1)
        return warnings[0]

    def test_versions_sliding_windows_names_and_no_leader(self):
        lines = make_lines(2000)
        streams = [stream(), stream("slide", window={"size": "30s", "every": "10s"}), stream("a-b"), stream("a_b", compute=["max"]),
                   stream("twins", by=["k-1", "k.1"])]
        with Cluster(edges={"edge-1": tcp_edge()}, streams=streams, cluster={"shards": 4}, security=False) as c:
            c.start()
            send(c.tcp["edge-1"], lines[:1000])
            c.wait_count("cloud-1", "s", 1000, state="final")
            c.wait_count("cloud-1", "a-b", 1000, state="final")
            c.wait_count("cloud-1", "slide", 3000, state="final") # each reading is in three windows
            config = f"remote_read:\n  - {{url: '{c.url('cloud-1')}{PATH}', read_recent: true}}\n"
            with Prometheus(c.dir, config) as p:
                # what has one name is refused with both, what else there is is not
                self.assertIn('the streams \\"a-b\\" and \\"a_b\\" have one name', self.refusal(c, p, "weir:a_b:max"))
                self.assertIn('tags \\"k-1\\" and \\"k.1\\" become one label', self.refusal(c, p, "weir:twins:count"))
                self.check(c, p, "slide", "slide", ["count", "mean"])
                # another version takes over, and one of two names is removed: the other one has it
                c.spec["streams"] = [stream(window="20s", compute=["count", "sum", "stddev"]), *streams[1:2], *streams[3:]]
                c.write_config()
                c.ctl("apply", "--yes", c.config)
                send(c.tcp["edge-1"], lines[1000:])
                c.wait_count("cloud-1", "s", 2000, state="final")
                c.wait_count("cloud-1", "slide", 6000, state="final")
                c.wait_count("cloud-1", "twins", 2000, state="final")
                wait_for("the last window of a_b", lambda: len(c.query("cloud-1", "a_b", state="final")["rows"]) == 100)
                rows = self.check(c, p, "s", "s", ["count", "sum", "stddev"])
                sizes = {(parse_time(r["end"]) - parse_time(r["start"])) // NS for r in rows}
                self.assertEqual(sizes, {10, 20})
                self.assertEqual(sum(r["values"]["count"] for r in rows), 2000)
                self.check(c, p, "slide", "slide", ["count", "sum", "mean"])
                self.check(c, p, "a_b", "a_b", ["max"])
                # without a majority nothing is answered, and that is said
                for node in ("cloud-2", "cloud-3"):
                    c.clouds[node].kill()
                failed = reads(c, "cloud-1", "failed")
                body = block(request(query((EQ, "__name__", "weir:s:sum"))))
                asked = 0

                def crowd():
                    """4 at a time, 32 wait, and the others are told so at once, where the machine lets all of them come while the first ones wait."""
                    nonlocal asked
                    with concurrent.futures.ThreadPoolExecutor(48) as pool:
                        got = list(pool.map(lambda _: post(c, "cloud-1", body), range(48)))
                    asked += len(got)
                    self.assertEqual({g[:2] for g in got}, {(503, "unavailable")})
                    self.assertTrue(all(g[2] for g in got), got)
                    return sum("too many remote reads" in g[2] for g in got) >= 12
                wait_for("12 to be told that they are too many", crowd)
                wait_for("each to be counted", lambda: reads(c, "cloud-1", "failed") >= failed + asked)
                self.assertEqual(reads(c, "cloud-1", "failed"), failed + asked)
                self.assertIn("503", self.refusal(c, p, "weir:s:sum"))
                stale = post(c, "cloud-1", body, PATH + "?stale=ok")
                self.assertEqual(stale[0], 200, stale)


if __name__ == "__main__":
    unittest.main()
