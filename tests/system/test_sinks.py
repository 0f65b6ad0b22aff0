"""Ways out: what sinks deliver equals what queries say, at least once, through receivers and leaders that come and go."""

import contextlib
import csv
import glob
import hashlib
import hmac
import http.server
import json
import os
import re
import socket
import threading
import unittest

from test_failover import wait_led
from weirtest import EDGED, NS, Cluster, Daemon, free_port, metric_sum, wait_for

T0 = 1_700_000_000 * NS
STATES = ["provisional", "final"]


def cluster(sinks, security=False, **more):
    edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp", "follow": True}], "heartbeat": "300ms", "tick": "100ms",
                        "flush": "500ms", "idle_after": "1s"}}
    streams = [{"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "lateness": "1s",
                "compute": ["count", "sum", "p50"]}]
    c = Cluster(edges=edges, streams=streams, security=security, **more)
    c.spec["sinks"] = sinks
    c.write_config()
    return c


def feed(c, first, count):
    """A reading a second for each of 20 groups."""
    with open(os.path.join(c.dir, "in.lp"), "a") as f:
        f.writelines(f"m,k=g{k} v={i * 20 + k} {T0 + i * NS}\n" for i in range(first, first + count) for k in range(20))


def best(rows):
    """The last word on each window: the highest (revision, state)."""
    out = {}
    for r in rows:
        key = (r["start"], r["group"]["k"])
        rank = (r["revision"], STATES.index(r["state"]))
        if key not in out or rank >= out[key][0]:
            out[key] = (rank, r)
    return {key: r for key, (_, r) in out.items()}


def check_ids(rows):
    """Rows with one id and state are of one window and equal; but for late readings that a row has before the revision is told that
    they make: then there is that revision."""
    last, by_id = best(rows), {}
    for r in rows:
        key = (r["start"], r["group"]["k"])
        same = by_id.setdefault((r["id"], r["state"]), r)
        assert key == (same["start"], same["group"]["k"]), (same, r)
        assert same["values"] == r["values"] or last[key]["revision"] > r["revision"], (same, r)


def closed(c, node, state=None):
    return [r for r in c.query(node, "s")["rows"] if r["state"] != "open" and (not state or r["state"] == state)]


def fields(r):
    return {k: r[k] for k in ("start", "end", "group", "values", "error", "state", "revision")}


def json_lines(c, pattern):
    rows = []
    for path in glob.glob(os.path.join(c.dir, pattern)):
        with open(path) as f:
            text = f.read()
        rows += [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]
    return rows


def csv_rows(c, pattern):
    """{(start, group): (state, revision, count, sum)}, the last word on each window."""
    out = {}
    for path in glob.glob(os.path.join(c.dir, pattern)):
        with open(path) as f:
            text = f.read()
        for r in csv.DictReader(text[:text.rfind("\n") + 1].splitlines()):
            key, row = (r["start"], r["k"]), (r["state"], int(r["revision"]), int(r["count"]), float(r["sum"]))
            out[key] = max(out.get(key, row), row, key=lambda x: x[1])
    return out


def wait_equal(c, node, rows_of, count, state=None):
    """Until what came is what the query says, of `count` windows and groups."""
    seen = []

    def equal():
        want = {(r["start"], r["group"]["k"]): fields(r) for r in closed(c, node, state)}
        have = {k: fields(r) for k, r in best(rows_of()).items()}
        seen[:] = [len(want), len(have), [k for k in want if have.get(k) != want[k]][:3]]
        return len(want) == count and want == have
    try:
        wait_for(f"{count} windows delivered", equal)
    except AssertionError as e:
        raise AssertionError(f"{e}; asked for, delivered, differ: {seen}") from None
    check_ids(rows_of())


class Receiver:
    """An HTTP server that keeps the rows of what it answers with 200. refuse(row): it answers 422 to whatever holds such a row."""

    def __init__(self, port=None, secret=None, header=None):
        self.port = port or free_port()
        self.secret, self.header = secret, header
        self.rows, self.bodies, self.problems = [], 0, []
        self.status, self.answer = 200, b"ok"
        self.refuse = lambda row: False
        self.refuse_body = lambda body: None  # a status to answer it with
        self.server, self.connections = None, []
        self.start()

    def start(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.take(self)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def get_request(self):  # in the server's own thread: stop() leaves out none
                connection, address = super().get_request()
                receiver.connections.append(connection)
                return connection, address

            def handle_error(self, *args):
                pass  # connections that end in the middle are what tests are about

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        for connection in self.connections:  # they are kept, else, by threads of their own
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server, self.connections = None, []

    def check(self, request, body):
        if self.header and request.headers.get(self.header[0]) != self.header[1]:
            self.problems.append(f"no {self.header[0]}: {request.headers}")
        if self.secret:
            parts = dict(p.split("=", 1) for p in request.headers["X-Weir-Signature"].split(","))
            want = hmac.new(self.secret, parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
            if parts["v1"] != want:
                self.problems.append("a wrong signature")

    def take(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.check(request, body)
        body = json.loads(body)
        status, rows = self.refuse_body(body) or self.status, body["rows"]
        if status == 200 and any(self.refuse(r) for r in rows):
            status = 422
        if status == 200:
            self.rows += rows
            self.bodies += 1
        request.send_response(status)
        request.send_header("Content-Length", str(len(self.answer)))
        request.end_headers()
        with contextlib.suppress(OSError):  # nobody has to read it to its end
            request.wfile.write(self.answer)


def hook(receiver, **more):
    return dict({"name": "hook", "type": "webhook", "url": f"http://127.0.0.1:{receiver.port}/weir"}, **more)


def secret_file(c, name, text):
    with open(os.path.join(c.dir, name), "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(text)


def sink_sum(c, metric, sink, nodes=None):
    return sum(metric_sum(c.metrics(n), f"weir_cloud_sink_{metric}", sink=sink) for n in nodes or c.cloud_names)


def sinks_told(c, node):
    """What /api/v1/sinks says: {name: sink}, and who did not answer."""
    answer = c.api(node, "sinks")
    return {s["name"]: s for s in answer["sinks"]}, answer["unanswered"]


class Sinks(unittest.TestCase):
    def test_file_through_kill_of_the_leaders(self):
        with cluster([{"name": "out", "type": "file", "path": "out/{node}.jsonl"},
                      {"name": "table", "type": "file", "path": "out/{node}.csv", "format": "csv", "streams": ["s"], "state": "final"}]) as c:
            os.mkdir(os.path.join(c.dir, "out"))
            feed(c, 0, 61)
            c.start()

            def rows():
                return json_lines(c, "out/*.jsonl*")
            wait_equal(c, "cloud-1", rows, 7 * 20)
            by = wait_led(c)
            victim = by[0]
            c.clouds[victim].kill()
            feed(c, 61, 60)
            other = next(n for n in c.cloud_names if n != victim)
            wait_equal(c, other, rows, 13 * 20)
            c.clouds[victim].start()
            c.wait_ready()
            feed(c, 121, 30)
            wait_equal(c, victim, rows, 16 * 20)

            def table():
                return {(r["start"], r["group"]["k"]): ("final", r["revision"], r["values"]["count"], r["values"]["sum"])
                        for r in closed(c, victim, "final")}
            wait_for("the same as a table", lambda: csv_rows(c, "out/*.csv*") == table())
            self.assertEqual(len(table()), 16 * 20)

    def test_webhook_down_and_back_through_kill_of_a_leader(self):
        """A receiver that is away delays its own sink only, and has everything in the end."""
        r = Receiver(secret=b"open sesame", header=("Authorization", "Bearer x"))
        with cluster([hook(r, secret_file="hook.secret", headers_file="hook.headers", batch_rows=50),
                      {"name": "out", "type": "file", "path": "out-{node}.jsonl"}]) as c:
            secret_file(c, "hook.secret", "open sesame\n")
            secret_file(c, "hook.headers", "# who we are\nAuthorization: Bearer x\n")
            feed(c, 0, 61)
            c.start()
            wait_equal(c, "cloud-1", lambda: r.rows, 7 * 20)
            wait_for("all deliver", lambda: sink_sum(c, "up", "hook") == 3)
            r.stop()
            feed(c, 61, 60)
            wait_equal(c, "cloud-1", lambda: json_lines(c, "out-*.jsonl"), 13 * 20)
            wait_for("the lag is told of", lambda: sink_sum(c, "backlog_rows", "hook") >= 120 and sink_sum(c, "lag_seconds", "hook") > 0)
            wait_for("it fails", lambda: sink_sum(c, "failures_total", "hook") > 0 and sink_sum(c, "up", "out") == 3)
            for n in c.cloud_names:
                wait_for(f"{n} to tell of both", lambda node=n: self.one_is_away(c, node, r.port))
            # Of all nodes, whoever is asked; leaders that move in the first seconds may deliver some rows again.
            shows = [r"(?m)^hook +webhook +failing for \S+ at cloud-\d.* 1[4-9]\d ", r"(?m)^out +file +delivers +2[6-9]\d "]
            for command in ("status", "top"):
                wait_for(f"{command} to tell of both", lambda x=command: all(re.search(pattern, c.ctl(x).stdout) for pattern in shows))
            wait_for("nothing of the other waits", lambda: sink_sum(c, "backlog_rows", "out") == 0)  # it is measured now and then
            r.status = 503
            r.start()
            victim = wait_led(c)[0]
            c.clouds[victim].kill()
            others = [n for n in c.cloud_names if n != victim]
            r.status = 200
            wait_equal(c, others[0], lambda: r.rows, 13 * 20)
            wait_for("it lags no more", lambda: sink_sum(c, "backlog_rows", "hook", others) == 0)

            def delivers():
                told, unanswered = sinks_told(c, others[1])
                return unanswered == [victim] and all(s["state"] == "delivers" and s["backlog_rows"] == 0 for s in told.values())
            wait_for("both deliver, at those who answer", delivers)
            self.assertEqual(r.problems, [])
            self.assertEqual(sink_sum(c, "resets_total", "hook", others), 0)
            r.stop()

    def one_is_away(self, c, node, port):
        """What a node tells of its own and the others' sinks while the webhook's receiver is away."""
        told, unanswered = sinks_told(c, node)
        away, fine = told["hook"], told["out"]
        self.assertEqual((list(told), away["type"], fine["type"]), (["hook", "out"], "webhook", "file"))
        if away["state"] == "failing":
            self.assertTrue(away["failing_s"] > 0 and away["failing_at"] and f"127.0.0.1:{port}" in away["error"], away)
        self.assertEqual([fine[k] for k in ("state", "failing_s", "failing_at", "error")], ["delivers", 0, [], None])
        return (unanswered, away["state"]) == ([], "failing") and away["rows"] >= 140 and away["backlog_rows"] >= 120 and away["lag_s"] > 0 and fine["rows"] >= 260

    def test_rows_that_a_receiver_refuses_hold_nothing_up(self):
        r = Receiver()
        r.refuse = lambda row: row["group"]["k"] == "g7"
        with cluster([hook(r)], clouds=1, cluster={"replicas": 1}) as c:
            feed(c, 0, 61)
            c.start()
            wait_for("the others", lambda: len(best(r.rows)) == 7 * 19)
            wait_for("what was refused is counted", lambda: sink_sum(c, "rejected_rows_total", "hook") >= 7)
            self.assertNotIn("g7", {row["group"]["k"] for row in r.rows})
            for words in ("refused by the receiver", "it answers 422"):
                wait_for(words, lambda w=words: w in c.clouds["cloud-1"].log())
            r.stop()

    def test_a_window_is_told_again_when_it_becomes_final(self):
        sinks = [{"name": n, "type": "file", "path": n + "-{node}.jsonl", **({"state": "final"} if n == "final" else {})} for n in ("all", "final")]
        with cluster(sinks, clouds=1, cluster={"replicas": 1, "partitioned_after": "2s"}) as c:
            second = dict(c.spec["edges"][0], name="edge-2", data="run/edge-2", sources=[{"type": "file", "path": "in2.lp", "follow": True}])
            second.pop("http")
            c.spec["edges"].append(second)
            c.write_config()
            feed(c, 0, 61)
            c.start()  # edge-2 is not: its windows wait, and close without it

            def rows(name):
                return json_lines(c, name + "-*.jsonl")
            wait_for("provisional rows", lambda: len(best(rows("all"))) >= 6 * 20)
            self.assertEqual({r["state"] for r in rows("all")}, {"provisional"})
            self.assertEqual(rows("final"), [])
            with open(os.path.join(c.dir, "in2.lp"), "w") as f:
                f.write(f"m,k=g3 v=1 {T0}\n")
            edge = Daemon(c, EDGED, "edge-2")
            edge.start()
            try:
                wait_equal(c, "cloud-1", lambda: rows("final"), 7 * 20, state="final")
                wait_equal(c, "cloud-1", lambda: rows("all"), 7 * 20)
                self.assertEqual({r["state"] for r in rows("final")}, {"final"})
            finally:
                edge.stop()

    def test_sinks_come_change_and_go_while_it_runs(self):
        r = Receiver()
        with cluster([{"name": "out", "type": "file", "path": "out-{node}.jsonl"}]) as c:
            feed(c, 0, 61)
            c.start()
            wait_equal(c, "cloud-1", lambda: json_lines(c, "out-*.jsonl"), 7 * 20)
            c.spec["sinks"] = [hook(r, state="final"), {"name": "out", "type": "file", "path": "other-{node}.jsonl"}]
            c.write_config()
            self.assertIn("sink", c.ctl("apply", "--yes", c.config).stdout)
            wait_equal(c, "cloud-1", lambda: r.rows, 7 * 20)  # a new one begins with what is kept
            feed(c, 61, 60)
            wait_equal(c, "cloud-1", lambda: r.rows, 13 * 20)
            self.assertEqual({row["state"] for row in r.rows}, {"final"})
            both = json_lines(c, "o*-*.jsonl")
            wait_equal(c, "cloud-1", lambda: json_lines(c, "o*-*.jsonl"), 13 * 20)  # it went on where it was
            first = {row["id"] for row in json_lines(c, "out-*.jsonl")}
            second = {row["id"] for row in json_lines(c, "other-*.jsonl")}
            self.assertLess(len(first & second), len(first), both)
            c.spec["sinks"] = []
            c.write_config()
            c.ctl("apply", "--yes", c.config)
            wait_for("no sinks any more", lambda: not any("sink_rows" in name for n in c.cloud_names for name, _ in c.metrics(n)))
            self.assertEqual(c.api("cloud-1", "sinks"), {"sinks": [], "unanswered": []})
            r.stop()


if __name__ == "__main__":
    unittest.main()
