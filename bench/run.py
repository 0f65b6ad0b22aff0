#!/usr/bin/env python3
"""Measures what docs/performance.md quotes, with the real daemons on loopback. ./dev bench [NAME ...]

Names: line partial apply edge sources commit latency uplink memory sinks replicate (default: all). Every figure is printed with what it means; nothing here
passes or fails by time."""

import argparse
import http.server
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "system"))
NS = 1_000_000_000


def say(name, value, unit, note=""):
    print(f"{name:<52} {value:>12} {unit:<14} {note}", flush=True)


def stream(**more):
    return dict({"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k", "site"], "window": "10s",
                 "lateness": "1s", "compute": ["count", "sum", "mean", "min", "max", "p50", "p99"], "retain": "forever",
                 "max_groups": 1000000}, **more)


def lines_of(groups, count, seed=1, start=1_700_000_000 * NS, step_ns=None, span_s=20):
    """Lines of about 70 bytes, as gateways send them: every group in turn, times rising."""
    rng = random.Random(seed)
    step = step_ns or span_s * NS // count
    return [f"m,site=hall-{i % groups % 7},k=machine-{i % groups:07d} v={rng.gauss(60, 5):.3f} {start + i * step}\n"
            for i in range(count)]


def feed(port, data):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(data)


def bench_edge(w):
    """CPU time of edged per line, parse to open slice, checkpoints to disk included."""
    for groups in (1000, 10000, 100000):
        count = 1_000_000
        data = "".join(lines_of(groups, count)).encode()
        with w.Cluster(clouds=1, edges={"edge-1": {"sources": [{"type": "tcp"}], "limits": {"memory": "1GiB", "disk": "4GiB"}}},
                       streams=[stream()]) as c:
            c.start_edges()
            edge = c.edges["edge-1"]
            feed(c.tcp["edge-1"], data[:data.index(b"\n", len(data) // 10) + 1])  # the groups exist, caches are warm
            w.wait_for("warm", lambda: w.edge_ledger(c, "edge-1")["accepted"] >= count // 10)
            before, cpu, wall = w.edge_ledger(c, "edge-1")["accepted"], edge.cpu_seconds(), time.monotonic()
            feed(c.tcp["edge-1"], data)
            w.wait_for("all read", lambda: w.edge_ledger(c, "edge-1")["accepted"] >= before + count)
            cpu, wall = edge.cpu_seconds() - cpu, time.monotonic() - wall
            say(f"edged, {groups} groups with sketches", f"{count / cpu / 1e6:.2f}", "M lines/core-s",
                f"wall {count / wall / 1e6:.2f} M lines/s, {len(data) / count:.0f} bytes a line, no cloud reachable")


def send_datagrams(port, lines, per):
    """All lines, so many a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", port))
        for at in range(0, len(lines), per):
            s.send("".join(lines[at:at + per]).encode())


def bench_sources(w):
    """The same readings by tcp, by udp and as StatsD's timers, one after the other into one edge."""
    count, udp, statsd = 1_000_000, w.free_port(), w.free_port()
    sources = [{"type": "tcp"}, {"type": "udp", "listen": f"127.0.0.1:{udp}", "buffer": "512MiB"},
               {"type": "statsd", "listen": f"127.0.0.1:{statsd}", "buffer": "512MiB"}]
    lines = lines_of(1000, count)
    timers = [f"m:{i % 97}.5|ms|#k:machine-{i % 1000:07d},site:hall-{i % 7}\n" for i in range(count)]
    with w.Cluster(clouds=1, edges={"edge-1": {"sources": sources, "limits": {"memory": "1GiB", "disk": "4GiB"}}},
                   streams=[stream(), stream(name="t", **{"from": {"measurement": "m", "field": "timer"}})]) as c:
        c.start_edges()

        def settled():
            """Accepted, and lost to the kernel: once neither moves any more."""
            now = (w.edge_ledger(c, "edge-1")["accepted"],
                   w.metric_sum(c.metrics("edge-1"), "weir_edge_source_dropped_datagrams_total"))
            settled.same = settled.same + 1 if now == settled.last else 0
            settled.last = now
            return now if settled.same > 3 else None

        def measure(name, send):
            settled.same, settled.last = 0, None
            before, cpu = w.wait_for("quiet", settled), c.edges["edge-1"].cpu_seconds()
            send()
            settled.same = 0
            after, cpu = w.wait_for("all read", settled), c.edges["edge-1"].cpu_seconds() - cpu
            say(name, f"{(after[0] - before[0]) / cpu / 1e6:.2f}", "M lines/core-s",
                f"{after[1] - before[1]:.0f} datagrams dropped, 1000 groups with sketches")
        send_tcp = lambda: feed(c.tcp["edge-1"], "".join(lines).encode())  # noqa: E731
        send_tcp()  # the groups exist, caches are warm
        measure("tcp", send_tcp)
        for per in (1, 20, 800):
            measure(f"udp, {per} lines a datagram", lambda n=per: send_datagrams(udp, lines, n))
        measure("statsd, timers, 20 a datagram", lambda: send_datagrams(statsd, timers, 20))


def bench_memory(w):
    with w.Cluster(clouds=1, edges={"edge-1": {"sources": [{"type": "tcp"}], "limits": {"memory": "1GiB"}}},
                   streams=[stream(compute=["count", "sum", "mean", "min", "max"]), stream(name="q")]) as c:
        c.start_edges()
        say("edged idle, resident", f"{c.edges['edge-1'].rss_bytes() / 2**20:.1f}", "MiB")
    for name, compute in (("scalars", ["count", "sum", "mean", "min", "max"]), ("p50, p99", ["count", "p50", "p99"])):
        with w.Cluster(clouds=1, edges={"edge-1": {"sources": [{"type": "tcp"}], "limits": {"memory": "1GiB"}}},
                       streams=[stream(compute=compute)]) as c:
            c.start_edges()
            feed(c.tcp["edge-1"], "".join(lines_of(100000, 400000, span_s=5)).encode())
            w.wait_for("all read", lambda: w.edge_ledger(c, "edge-1")["accepted"] >= 400000)
            say(f"edged with 100,000 open groups ({name}), resident", f"{c.edges['edge-1'].rss_bytes() / 2**20:.1f}", "MiB",
                "4 readings each, limits.memory 1GiB")


def bench_commit(w):
    """Partials that wait in a spool, from the clouds' start to the last one acknowledged: fsync in the log before each ack."""
    groups, count = 20000, 1000000
    with w.Cluster(clouds=3, edges={"edge-1": {"sources": [{"type": "tcp"}], "tick": "200ms", "idle_after": "1s",
                                               "limits": {"memory": "1GiB", "disk": "4GiB"}}},
                   streams=[stream(window="1s")]) as c:
        c.start_edges()
        feed(c.tcp["edge-1"], "".join(lines_of(groups, count)).encode())
        w.wait_for("all read", lambda: w.edge_ledger(c, "edge-1")["accepted"] >= count)
        w.wait_for("all spooled", lambda: w.metric_sum(c.metrics("edge-1"), "weir_edge_open_partials") == 0)
        began = time.monotonic()
        c.start(edges=False)
        w.wait_for("drained", lambda: w.metric_sum(c.metrics("edge-1"), "weir_edge_spool_batches") == 0, 300)
        took = time.monotonic() - began
        # Acknowledged is applied; the state that metrics read is committed within 200 ms more.
        w.wait_for("readable", lambda: w.cloud_ledger(c)["s"]["received"] == count)
        cloud = [c.metrics(n) for n in c.cloud_names]
        partials = sum(w.metric_sum(m, "weir_cloud_partials_total") for m in cloud)
        cpu = sum(d.cpu_seconds() for d in c.clouds.values())
        say("partials committed with fsync, one edge, three clouds", f"{partials / took:.0f}", "partials/s",
            f"{partials:.0f} partials in {took:.2f} s, the clouds' start included; clouds used {cpu:.1f} core-s; two cores shared by all four processes")


def bench_latency(w):
    """From the reading that lets a window close to its final row in an answer."""
    with w.Cluster(clouds=3, edges={"edge-1": {"sources": [{"type": "tcp"}], "heartbeat": "1s"}},
                   streams=[stream(window="1s", by=["k"], lateness="0s", compute=["count"])]) as c:
        c.start()
        start, took = 1_700_000_000, []
        with socket.create_connection(("127.0.0.1", c.tcp["edge-1"])) as s:
            for i in range(20):
                s.sendall(f"m,k=a v=1 {(start + i) * NS}\n".encode())
                began = time.monotonic()
                if i:
                    w.wait_for("final", lambda: len(c.query("cloud-1", "s", state="final")["rows"]) >= i)
                    took.append(time.monotonic() - began)
        say("reading that closes a window, to its final answer", f"{statistics.median(took) * 1e3:.0f}", "ms (median)",
            f"max {max(took) * 1e3:.0f} ms of {len(took)}; tick 1s, heartbeat 1s, polling to 0.25 s")


def bench_uplink(w):
    cases = [("generated, 100 groups, 10 readings a slice", "".join(lines_of(100, 200000, span_s=2000)).encode(), "10s", "m", "v",
              ["k", "site"])]
    path = os.path.join(w.SHARED_DATA, "traffic.lp")
    if os.path.exists(path):
        with open(path, "rb") as f:
            cases.append(("traffic.lp, speed", b"".join(x for x in f if b"speed=" in x), "1h", "traffic", "speed", ["sensor"]))
    for name, data, window, measurement, field, by in cases:
        for compute in (["count", "sum", "mean", "min", "max"], ["count", "sum", "mean", "min", "max", "p50", "p99"]):
            s = stream(window=window, by=by, compute=compute)
            s["from"] = {"measurement": measurement, "field": field}
            with w.Cluster(clouds=1, edges={"edge-1": {"sources": [{"type": "tcp"}], "idle_after": "1s"}}, streams=[s]) as c:
                c.start()
                feed(c.tcp["edge-1"], data)
                count = data.count(b"\n")
                c.wait_count("cloud-1", "s", count, state="final")
                m = c.metrics("edge-1")
                sent = w.metric_sum(m, "weir_edge_batches_sent_bytes_total")
                say(f"uplink, {name}, {'with' if 'p50' in compute else 'no'} sketch", f"{sent / len(data):.4f}", "bytes/raw byte",
                    f"{sent:.0f} of {len(data)} bytes, window {window}")


class Receiver:
    """An HTTP server that counts what it is posted, and answers 200 at once."""

    def __init__(self, port):
        receiver = self
        self.bytes = self.requests = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.bytes += len(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def bench_sinks(w):
    """Rows that sinks deliver, all there is at once, beside the rate at which the same shard took their partials in; one cloud, one shard."""
    groups, windows = 5000, 40
    count, port = groups * windows, w.free_port()
    receiver = Receiver(port)
    with w.Cluster(clouds=1, cluster={"replicas": 1, "shards": 1},
                   edges={"edge-1": {"sources": [{"type": "tcp"}], "tick": "200ms", "idle_after": "1s",
                                     "limits": {"memory": "1GiB", "disk": "4GiB"}}},
                   streams=[stream(window="1s", compute=["count", "sum", "mean", "min", "max"])]) as c:
        c.start_edges()
        feed(c.tcp["edge-1"], "".join(lines_of(groups, count, span_s=windows)).encode())
        w.wait_for("all read", lambda: w.edge_ledger(c, "edge-1")["accepted"] >= count)
        w.wait_for("all spooled", lambda: w.metric_sum(c.metrics("edge-1"), "weir_edge_open_partials") == 0)
        began = time.monotonic()
        c.start(edges=False)
        w.wait_for("all merged", lambda: w.cloud_ledger(c)["s"]["received"] == count)
        took = time.monotonic() - began
        applied = count / took
        say("partials applied, one shard", f"{applied:.0f}", "partials/s", f"{count} in {took:.2f} s, the cloud's start included")
        last = f"{1_700_000_000 + windows - 1}"
        w.wait_for("all closed", lambda: len(c.query("cloud-1", "s", **{"from": last, "state": "final", "limit": groups})["rows"]) == groups)
        for name, sink in (("file", {"path": "out-{node}.jsonl", "max_size": "1GiB"}),
                           ("file, csv", {"path": "out-{node}.csv", "max_size": "1GiB", "format": "csv", "streams": ["s"]}),
                           ("webhook", {"url": f"http://127.0.0.1:{port}/"})):
            label = name.replace(", ", "-")
            c.spec["sinks"] = [dict({"name": label, "type": name.split(",")[0]}, **sink)]
            c.write_config()
            cpu, began = c.clouds["cloud-1"].cpu_seconds(), time.monotonic()
            c.ctl("apply", "--yes", c.config)
            w.wait_for(name, lambda n=label: w.metric_sum(c.metrics("cloud-1"), "weir_cloud_sink_rows_total", sink=n) >= count, 120)
            took, cpu = time.monotonic() - began, c.clouds["cloud-1"].cpu_seconds() - cpu
            say(f"rows delivered, {name}", f"{count / took:.0f}", "rows/s",
                f"{count} in {took:.2f} s, {cpu:.2f} core-s; {count / took / applied:.2f} of the rate at which they were applied")
        say("a webhook's request", f"{receiver.bytes / receiver.requests / 1024:.0f}", "KiB", f"{receiver.requests} of them")


def bench_replicate(w):
    """Writes that three nodes hold before they are acknowledged: Weir, etcd and NATS JetStream in turn, on this machine and disk."""
    import replicate
    replicate.bench(w, say)


def bench_program(w, program):
    path = os.path.join(w.BUILD, "bench", program)
    if subprocess.run([path]).returncode:
        sys.exit(f"{program} failed")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=os.path.join(HERE, "..", "build"))
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds: what was started is stopped
    os.environ["WEIR_BUILD"] = os.path.abspath(args.build)
    import weirtest as w
    benches = {"line": lambda w: bench_program(w, "bench_line"), "partial": lambda w: bench_program(w, "bench_partial"),
               "apply": lambda w: bench_program(w, "bench_apply"),
               "edge": bench_edge, "sources": bench_sources, "commit": bench_commit, "latency": bench_latency, "uplink": bench_uplink,
               "memory": bench_memory, "sinks": bench_sinks, "replicate": bench_replicate}
    unknown = [n for n in args.names if n not in benches]
    if unknown:
        p.error(f"unknown: {' '.join(unknown)}; there are: {' '.join(benches)}")
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    print(f"{os.cpu_count()} cores of {cpu}, Linux {platform.release()}")
    for name in args.names or benches:
        print(f"\n-- {name}: {(benches[name].__doc__ or '').strip()}")
        benches[name](w)
    return 0


if __name__ == "__main__":
    sys.exit(main())
