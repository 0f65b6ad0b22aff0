"""Bad input, full disks and copies: refused with a reason, counted, and the rest goes on."""

import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from weirtest import (CLOUDD, DEADLINE_S, EDGED, NS, WEIRCTL, ApiError, Awake, Cluster, Daemon, assert_rows, cloud_ledger, edge_ledger,
                      metric_sum, oracle_windows, parse_simple_lines, wait_for, alone)

try:
    import zmq
except ImportError:
    zmq = None

T0 = 1_700_000_000 * NS


def stream(name="s", **more):
    return dict({"name": name, "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "lateness": "1s",
                 "compute": ["count", "sum", "min", "max", "first", "last", "mean"], "retain": "forever"}, **more)


def tcp_edge(**more):
    return dict({"sources": [{"type": "tcp"}], "idle_after": "1s", "tick": "100ms", "heartbeat": "300ms"}, **more)


def make_wide_lines(count, groups, step_ns):
    """Readings that hardly share a partial, and do not compress well: for filling disks."""
    rng = random.Random(11)
    return [f"m,k=g{i % groups} v={rng.uniform(-1e6, 1e6)!r} {T0 + i * step_ns}\n" for i in range(count)]


def make_lines(count, groups=5, seed=1, step_ns=NS // 10):
    rng = random.Random(seed)
    return [f"m,k=g{rng.randrange(groups)} v={rng.randrange(-1000, 1000)} {T0 + i * step_ns}\n" for i in range(count)]


def send(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as s:  # for all of it, which may be much
        s.sendall(data if isinstance(data, bytes) else "".join(data).encode())


def is_fenced(c):
    return metric_sum(c.metrics("edge-1"), "weir_edge_uplink_state", state="fenced")


def check_exact(test, c, lines, stream_name="s"):
    c.wait_count("cloud-1", stream_name, len(lines), state="final")
    for node in c.cloud_names:
        assert_rows(c.query(node, stream_name)["rows"],
                    oracle_windows(parse_simple_lines("".join(lines)), ["k"], 10 * NS), ["k"], 10 * NS,
                    ["count", "sum", "min", "max", "first", "last", "mean"])


class BadInput(unittest.TestCase):
    def test_broken_lines_are_refused_and_good_neighbours_kept(self):
        good = make_lines(200)
        bad = ["m,k=g1 v= 1\n", "m,k=g1\n", ",k=1 v=1\n", "m,k=g1 v=1 notatime\n", "m v=1e999 1\n", "m,k v=1 1\n",
               "m,k=g1 v=\"open\n", "m,k=g1 v=1i2 1\n", "\x00\n", "m,k=g1,k=g2 v=1 1\n", "m v=nan 1\n", "x" * 100000 + "\n"]
        rng = random.Random(3)
        mixed = list(good)
        for b in bad:
            mixed.insert(rng.randrange(len(mixed)), b)
        # An unclosed quote may swallow its neighbours up to a limit: it goes last.
        mixed.remove("m,k=g1 v=\"open\n")
        mixed.append("m,k=g1 v=\"open\n")
        future = f"m,k=g1 v=1 {time.time_ns() + 3600 * NS}\n"
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            c.start()
            send(c.tcp["edge-1"], mixed[:-1] + [future] + mixed[-1:])
            check_exact(self, c, good)
            wait_for("the last one, which has no end, to be refused", lambda: edge_ledger(c, "edge-1")["refused"] >= len(bad) + 1)
            ledger = edge_ledger(c, "edge-1")
            self.assertEqual(ledger["accepted"], len(good))
            self.assertEqual(ledger["refused"], len(bad) + 1)
            self.assertEqual(metric_sum(c.metrics("edge-1"), "weir_edge_readings_refused_total", reason="too_far_ahead"), 1)

    def test_unmatched_and_not_numeric(self):
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            c.start()
            good = make_lines(50)
            send(c.tcp["edge-1"], good + [f"other v=1 {T0}\n", f"m,k=a w=1 {T0}\n", f"m,k=a v=\"text\" {T0}\n"])
            check_exact(self, c, good)
            wait_for("all read", lambda: edge_ledger(c, "edge-1")["accepted"] == 53)
            ledger = edge_ledger(c, "edge-1")
            self.assertEqual((ledger["unmatched"], ledger["dropped"]), (2, 1))

    def test_garbage_on_every_port(self):
        """Random bytes, half frames, and real ZeroMQ frames of garbage: counted, nobody dies, the rest goes on."""
        good = make_lines(300)
        with Cluster(edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            c.start()
            rng = random.Random(7)
            ports = list(c.http.values()) + list(c.zmq.values())
            send(c.tcp["edge-1"], good[:100])
            for port in ports:
                for size in (1, 10, 1000, 100000):
                    try:
                        with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
                            s.sendall(rng.randbytes(size))
                    except OSError:
                        pass  # closed in our face: fine
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
                        s.sendall(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL" + bytes(48) + rng.randbytes(200))
                except OSError:
                    pass
            send(c.tcp["edge-1"], good[100:200])
            if zmq:
                context = zmq.Context()
                try:
                    for port in c.zmq.values():
                        s = context.socket(zmq.DEALER)
                        s.setsockopt(zmq.LINGER, 30000)
                        s.connect(f"tcp://127.0.0.1:{port}")
                        for _ in range(200):
                            s.send(rng.randbytes(rng.randrange(0, 300)))
                        s.send(b"\x08\x01" + rng.randbytes(100000))
                        s.send_multipart([b"a", b"b", b"c"])
                        s.send(b"")
                        s.close()
                finally:
                    context.term()
                for node in c.cloud_names:
                    wait_for("garbage is counted", lambda n=node: metric_sum(
                        c.metrics(n), "weir_cloud_frames_refused_total") +
                             metric_sum(c.metrics(n), "weir_cloud_zmq_dropped_total") >= 100)
            send(c.tcp["edge-1"], good[200:])
            check_exact(self, c, good)
            for d in list(c.clouds.values()) + list(c.edges.values()):
                self.assertTrue(d.running(), d.log_tail())
            edge_ledger(c, "edge-1")
            cloud_ledger(c)

    def test_bad_questions(self):
        with Cluster(clouds=1, edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            c.start()
            for params, status, code in [
                    ({"stream": "nope"}, 404, "unknown_stream"), ({}, 400, None),
                    ({"stream": "s", "select": "p99"}, 400, "not_computed"),
                    ({"stream": "s", "select": "nonsense"}, 400, None),
                    ({"stream": "s", "window": "7s"}, 400, None), ({"stream": "s", "by": "x"}, 400, None),
                    ({"stream": "s", "from": "yesterday"}, 400, None), ({"stream": "s", "limit": "-1"}, 400, None),
                    ({"stream": "s", "cursor": "%%%"}, 400, None), ({"stream": "s", "typo": "1"}, 400, None)]:
                with self.assertRaises(ApiError) as e:
                    c.api("cloud-1", "query", **params)
                self.assertEqual(e.exception.status, status, params)
                self.assertIsNotNone(e.exception.code)
                if code:
                    self.assertEqual(e.exception.code, code)
            with self.assertRaises(ApiError) as e:
                c.get("cloud-1", "/nowhere")
            self.assertEqual(e.exception.status, 404)


class Writer(threading.Thread):
    """Writes readings into a file that an edge follows, about 4,000 a second."""

    def __init__(self, path):
        super().__init__()
        self.path, self.lines, self.ended = path, [], threading.Event()

    def run(self):
        rng = random.Random(3)
        with open(self.path, "a") as f:
            while not self.ended.is_set():
                at = len(self.lines)
                more = [f"m,k=g{i % 5000} v={rng.uniform(-1e6, 1e6)!r} {T0 + i * (NS // 400)}\n" for i in range(at, at + 400)]
                self.lines.extend(more)
                f.writelines(more)
                f.flush()
                self.ended.wait(0.1)

    def stop(self):
        self.ended.set()
        if self.is_alive():
            self.join()
        return self.lines


class Disks(unittest.TestCase):
    def test_edge_disk_limit_pushes_back(self):
        """No cloud and a small disk limit: the edge compacts, then stops reading; nothing is lost or invented."""
        edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp"}], "tick": "50ms", "flush": "100ms",
                            "idle_after": "1s", "limits": {"disk": "1MiB", "memory": "1MiB"}}}
        lines = make_wide_lines(90000, 5000, NS // 400)
        sketched = stream(compute=["count", "sum", "min", "max", "first", "last", "mean", "stddev", "p50"])
        with Cluster(edges=edges, streams=[sketched]) as c:
            with open(os.path.join(c.dir, "in.lp"), "w") as f:
                f.writelines(lines)
            c.start_edges()
            wait_for("backpressure", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_backpressured") == 1)
            ledger = edge_ledger(c, "edge-1")
            self.assertLess(ledger["accepted"], len(lines))
            c.start(edges=False)
            check_exact(self, c, lines)
            self.assertEqual(edge_ledger(c, "edge-1")["accepted"], len(lines))

    def full_disk(self, who):
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        lines = make_wide_lines(90000, 5000, NS // 400)
        edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp"}], "tick": "50ms", "flush": "100ms",
                            "idle_after": "2s"}}
        with Cluster(edges=edges, streams=[stream()]) as c:
            with open(os.path.join(c.dir, "in.lp"), "w") as f:
                f.writelines(lines)
            small = os.path.join(c.dir, "run", who)
            os.makedirs(small)
            r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "weir-test", small], capture_output=True, text=True)
            if r.returncode != 0:
                self.skipTest(f"no tmpfs can be mounted here: {r.stderr.strip()}")
            try:
                # What fills the disk first is not Weir's: space returns when it goes.
                with open(os.path.join(small, "ballast"), "wb") as f:
                    f.write(bytes(2 << 20))
                c.start(edges=False)
                c.start_edges()
                full = {"edge-1": "weir_edge_checkpoints_full_total", "cloud-2": "weir_cloud_disk_full"}[who]
                wait_for(f"{who} says that its disk is full", lambda: metric_sum(c.metrics(who), full) >= 1)
                for d in list(c.clouds.values()) + list(c.edges.values()):
                    self.assertTrue(d.running(), d.log_tail())
                edge_ledger(c, "edge-1")
                cloud_ledger(c)
                stale = c.query("cloud-1", "s", stale="ok")["stale"]  # reads go on
                self.assertGreaterEqual(stale["behind_entries"], 0)
                os.unlink(os.path.join(small, "ballast"))
                r = subprocess.run(["mount", "-o", "remount,size=512m", small], capture_output=True, text=True)
                self.assertEqual(r.returncode, 0, r.stderr)
                check_exact(self, c, lines)
                self.assertEqual(edge_ledger(c, "edge-1")["accepted"], len(lines))
            finally:
                for d in list(c.clouds.values()) + list(c.edges.values()):
                    if d.process is not None:
                        d.kill()
                subprocess.run(["umount", small], check=True)

    def test_full_log_of_a_cloud(self):
        """The log alone on a disk where little more than one entry fits: it makes its own room, without any help."""
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        lines = make_wide_lines(90000, 5000, NS // 400)
        edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp"}], "tick": "50ms", "flush": "100ms",
                            "idle_after": "2s"}}
        with Cluster(edges=edges, streams=[stream()]) as c:
            with open(os.path.join(c.dir, "in.lp"), "w") as f:
                f.writelines(lines)
            log = os.path.join(c.dir, "run", "cloud-2", "log")
            os.makedirs(log)
            r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "weir-test", log], capture_output=True, text=True)
            if r.returncode != 0:
                self.skipTest(f"no tmpfs can be mounted here: {r.stderr.strip()}")
            try:
                # It starts last, to much that waits for it.
                for name in ("cloud-1", "cloud-3"):
                    c.clouds[name].start()
                c.start_edges()
                wait_for("all is in the spool", lambda: edge_ledger(c, "edge-1")["accepted"] == len(lines))
                c.clouds["cloud-2"].start()
                check_exact(self, c, lines)
                found = c.metrics("cloud-2")
                self.assertGreaterEqual(metric_sum(found, "weir_cloud_disk_full_total", environment="log"), 1)
                self.assertEqual(metric_sum(found, "weir_cloud_disk_full_total", environment="state"), 0)
                wait_for("room", lambda: metric_sum(c.metrics("cloud-2"), "weir_cloud_disk_full") == 0)
                self.assertTrue(c.clouds["cloud-2"].running())
                self.assertEqual(edge_ledger(c, "edge-1")["accepted"], len(lines))
                cloud_ledger(c)
            finally:
                for d in list(c.clouds.values()) + list(c.edges.values()):
                    if d.process is not None:
                        d.kill()
                subprocess.run(["umount", log], check=True)

    def fill(self, folder):
        """All that is left, as a file of somebody else's; a file system has no room a moment after this began to return."""
        with open(os.path.join(folder, "ballast"), "ab", buffering=0) as f:
            size = 1 << 20
            while size >= 512:
                try:
                    if f.write(bytes(size)) < size:
                        size //= 2
                except OSError:
                    size //= 2

    def bounds(self, who, refuses):
        """A disk that fills while readings come: refused within a second of the first write without room, reads go on, and
        acknowledged again within five seconds of the space's return, without help."""
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp", "follow": True}], "tick": "50ms", "flush": "100ms",
                            "idle_after": "2s"}}
        with Cluster(clouds=1, edges=edges, streams=[stream()], cluster={"replicas": 1}) as c, Awake() as clock:
            small = os.path.join(c.dir, "run", who)
            os.makedirs(small)
            r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "weir-test", small], capture_output=True, text=True)
            if r.returncode != 0:
                self.skipTest(f"no tmpfs can be mounted here: {r.stderr.strip()}")
            lines, ended = [], threading.Event()

            def write():
                rng = random.Random(3)
                with open(os.path.join(c.dir, "in.lp"), "a") as f:
                    while not ended.is_set():
                        at = len(lines)
                        more = [f"m,k=g{i % 5000} v={rng.uniform(-1e6, 1e6)!r} {T0 + i * (NS // 400)}\n" for i in range(at, at + 400)]
                        lines.extend(more)
                        f.writelines(more)
                        f.flush()
                        ended.wait(0.1)

            def merged():
                return metric_sum(c.metrics("cloud-1"), "weir_cloud_readings_total", stream="s", result="merged")

            def accepted():
                return metric_sum(c.metrics("edge-1"), "weir_edge_readings_accepted_total")

            writer = threading.Thread(target=write)
            try:
                c.start()
                writer.start()
                wait_for("readings are merged", lambda: merged() > 2000)
                failed, refused = refuses
                self.fill(small)
                # The daemon has room that it took before: from the first write that finds none it is to say so. An edge finds
                # room for ever where a cloud takes what it has.
                if who == "edge-1":
                    c.clouds["cloud-1"].signal(signal.SIGSTOP)
                wait_for("a write finds no room", lambda: metric_sum(c.metrics(who), failed) >= 1)
                began = clock.now()
                wait_for("it refuses", lambda: metric_sum(c.metrics(who), refused) == 1)
                took = clock.now() - began
                self.assertLess(took, 1.0)
                for _ in range(3 if who == "cloud-1" else 0):  # reads go on, linearizable ones too
                    self.assertTrue(c.query("cloud-1", "s", limit=10)["rows"])
                    time.sleep(0.3)
                if who == "cloud-1":  # and after a start
                    acknowledged = metric_sum(c.metrics("edge-1"), "weir_edge_stream_acknowledged_total", stream="s")
                    c.clouds[who].kill()
                    c.clouds[who].start()
                    count = wait_for("it answers again", lambda: c.total_count(who, "s", by=""))
                    self.assertGreaterEqual(count, acknowledged)
                taken = accepted if who == "edge-1" else merged
                stands = taken()
                time.sleep(2)
                stood = taken()
                if who == "edge-1":
                    self.assertEqual(stood, stands)
                os.unlink(os.path.join(small, "ballast"))
                back = clock.now()
                wait_for("readings are taken again", lambda: taken() > stood)
                resumed = clock.now() - back
                self.assertLess(resumed, 5.0)
                c.clouds["cloud-1"].signal(signal.SIGCONT)
                print(f"\n    {who}: refused {took:.2f} s after the first write without room, acknowledged {resumed:.2f} s after its return", end=" ")
                ended.set()
                writer.join()
                wait_for("all is read", lambda: edge_ledger(c, "edge-1")["accepted"] == len(lines))
                check_exact(self, c, lines)
            finally:
                ended.set()
                if writer.is_alive():
                    writer.join()
                for d in list(c.clouds.values()) + list(c.edges.values()):
                    if d.process is not None:
                        d.kill()
                subprocess.run(["umount", small], check=True)

    @alone
    def test_full_disks_of_a_cluster_within_bounds(self):
        """Three clouds. One is full: the others take what comes, and each answers. Two are: nothing new is taken, each still answers,
        and leadership stays where it is. All are, and the leader dies: each still answers. Two have room again: so has the cluster."""
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp", "follow": True}], "tick": "50ms", "flush": "100ms",
                            "idle_after": "2s"}}
        figures, mounted = [], []
        with Cluster(edges=edges, streams=[stream()]) as c, Awake() as clock:
            full = {name: os.path.join(c.dir, "run", name) for name in c.cloud_names}
            writer = Writer(os.path.join(c.dir, "in.lp"))

            def metric(node, name, **labels):
                return metric_sum(c.metrics(node), name, **labels)

            def merged():
                return metric("cloud-3", "weir_cloud_readings_total", stream="s", result="merged")

            def is_full(node):
                return metric(node, "weir_cloud_disk_full") == 1

            def fill(node):
                self.fill(full[node])
                wait_for("a write finds no room", lambda: metric(node, "weir_cloud_disk_full_total") >= 1)
                began = clock.now()
                wait_for("it refuses", lambda: is_full(node))
                return began

            def leaders():
                return {s["leader"] for s in c.api("cloud-3", "cluster")["shards"]}

            def asked(what, nodes=c.cloud_names):
                longest = 0
                for node in nodes:  # linearizable: what was acknowledged is there
                    began, least = time.monotonic(), acknowledged()
                    self.assertGreater(least, 0)
                    self.assertGreaterEqual(c.total_count(node, "s", by=""), least)
                    longest = max(longest, time.monotonic() - began)
                figures.append(f"{what}: answers within {longest:.2f} s")

            def acknowledged():
                return metric("edge-1", "weir_edge_stream_acknowledged_total", stream="s")

            try:
                for name, small in full.items():
                    os.makedirs(small)
                    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "weir-test", small], capture_output=True, text=True)
                    if r.returncode != 0:
                        self.skipTest(f"no tmpfs can be mounted here: {r.stderr.strip()}")
                    mounted.append(small)
                c.start()
                writer.start()
                wait_for("readings are merged", lambda: merged() > 2000)
                fill("cloud-1")
                began, pause, last, stood = clock.now(), 0, clock.now(), merged()
                while clock.now() - began < 2:
                    at = merged()
                    if at > stood:
                        pause, last, stood = max(pause, clock.now() - last), clock.now(), at
                    time.sleep(0.05)
                self.assertLess(max(pause, clock.now() - last), 2.5)
                figures.append(f"one of three full: longest pause of writes {pause:.2f} s")
                wait_for("it leads nothing", lambda: "cloud-1" not in leaders())
                asked("one full")
                began = fill("cloud-2")
                wait_for("the leader with room refuses", lambda: metric("cloud-3", "weir_cloud_proposals_without_room_total") >= 1)
                took = clock.now() - began
                self.assertLess(took, 1.0)
                figures.append(f"two full: refused within {took:.2f} s")
                wait_for("all is led where there is room", lambda: leaders() == {"cloud-3"})
                asked("two full")

                def stands():
                    at = merged()
                    time.sleep(1)
                    return merged() == at

                wait_for("what was on its way is there, and nothing new is taken", stands)
                stood = merged()
                asked("two full for a while")
                wait_for("it is still led where there is room", lambda: leaders() == {"cloud-3"})
                # All are, and the one that leads dies: one of the others, as full, leads and answers.
                self.fill(full["cloud-3"])
                asked("all full")
                c.clouds["cloud-3"].kill()
                died = time.monotonic()
                left = ["cloud-1", "cloud-2"]
                wait_for("each of the two answers", lambda: all(c.total_count(n, "s", by="") for n in left))
                figures.append(f"all full and the leader dead: {time.monotonic() - died:.2f} s to the next answers")
                asked("all full, two left", left)
                c.clouds["cloud-3"].start()
                c.wait_ready()
                stood = merged()
                os.unlink(os.path.join(full["cloud-3"], "ballast"))
                os.unlink(os.path.join(full["cloud-2"], "ballast"))
                back = clock.now()
                wait_for("readings are merged again", lambda: merged() > stood)
                resumed = clock.now() - back
                self.assertLess(resumed, 5.0)
                figures.append(f"acknowledged {resumed:.2f} s after two had room again")
                os.unlink(os.path.join(full["cloud-1"], "ballast"))
                wait_for("room", lambda: not is_full("cloud-1"))
                lines = writer.stop()
                wait_for("all is read", lambda: edge_ledger(c, "edge-1")["accepted"] == len(lines))
                c.wait_count("cloud-3", "s", len(lines), state="final", by="")
                for node in c.cloud_names:
                    assert_rows(c.query(node, "s", by="")["rows"], oracle_windows(parse_simple_lines("".join(lines)), [], 10 * NS),
                                [], 10 * NS, ["count", "sum", "min", "max", "first", "last", "mean"])
                cloud_ledger(c)
                print("\n    " + "; ".join(figures), end=" ")
            finally:
                writer.stop()
                for d in list(c.clouds.values()) + list(c.edges.values()):
                    if d.process is not None:
                        d.kill()
                for small in mounted:
                    subprocess.run(["umount", small], check=True)

    @alone
    def test_full_disk_of_an_edge_within_bounds(self):
        self.bounds("edge-1", ("weir_edge_checkpoints_full_total", "weir_edge_backpressured"))

    @alone
    def test_full_disk_of_a_cloud_within_bounds(self):
        self.bounds("cloud-1", ("weir_cloud_disk_full_total", "weir_cloud_disk_full"))

    def test_full_disk_of_an_edge(self):
        self.full_disk("edge-1")

    def test_full_disk_of_a_cloud(self):
        self.full_disk("cloud-2")


class Copies(unittest.TestCase):
    """semantics.md 1: a cloned gateway and a restored backup are fenced, and readmission is the way back."""

    def drain(self, c, count):
        c.wait_count("cloud-1", "s", count)

    def test_restored_backup_is_fenced_and_readmitted(self):
        lines = make_lines(400)
        with Cluster(edges={"edge-1": tcp_edge(flush="200ms")}, streams=[stream()]) as c:
            c.start()
            send(c.tcp["edge-1"], lines[:100])
            self.drain(c, 100)
            self.assertEqual(c.edges["edge-1"].stop(), 0)
            spool = os.path.join(c.dir, "run", "edge-1")
            backup = spool + ".backup"
            shutil.copytree(spool, backup)
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            send(c.tcp["edge-1"], lines[100:200])
            self.drain(c, 200)
            self.assertEqual(c.edges["edge-1"].stop(), 0)
            shutil.rmtree(spool)
            shutil.copytree(backup, spool)
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            wait_for("fenced", lambda: is_fenced(c))
            wait_for("it says so loudly", lambda: "FENCED" in c.edges["edge-1"].log())
            self.assertEqual(c.total_count("cloud-2", "s"), 200)
            c.ctl("edge", "readmit", "edge-1")
            wait_for("readmitted", lambda: is_fenced(c) == 0)
            edge_ledger(c, "edge-1")
            send(c.tcp["edge-1"], lines[200:])
            check_exact(self, c, lines)

    def test_cloned_gateway_is_fenced(self):
        lines = make_lines(300)
        with Cluster(edges={"edge-1": tcp_edge(flush="200ms")}, streams=[stream()]) as c:
            c.start()
            send(c.tcp["edge-1"], lines[:100])
            self.drain(c, 100)
            # A clone of the running gateway: same name, a copy of the spool, and its map with it: on this one machine the clone finds
            # its addresses taken, measures nothing, and is fenced all the same.
            self.assertEqual(c.edges["edge-1"].stop(), 0)
            clone = Cluster(clouds=0, edges={"edge-1": tcp_edge(flush="200ms")}, streams=[stream()])
            with clone:
                clone.spec["cloud"] = c.spec["cloud"]
                clone.write_config()
                shutil.copytree(os.path.join(c.dir, "run", "edge-1"), os.path.join(clone.dir, "run", "edge-1"))
                c.edges["edge-1"].start()
                c.wait_healthy("edge-1")
                send(c.tcp["edge-1"], lines[100:200])
                self.drain(c, 200)
                clone.edges["edge-1"].start()
                wait_for("the clone is fenced", lambda: "FENCED" in clone.edges["edge-1"].log())
                send(c.tcp["edge-1"], lines[200:])
                check_exact(self, c, lines)

    def test_empty_spool_under_a_known_name(self):
        lines = make_lines(200)
        with Cluster(edges={"edge-1": tcp_edge(flush="200ms")}, streams=[stream()],
                     cluster={"partitioned_after": "2s"}) as c:
            c.start()
            send(c.tcp["edge-1"], lines[:100])
            self.drain(c, 100)
            c.edges["edge-1"].kill()
            shutil.rmtree(os.path.join(c.dir, "run", "edge-1"))
            c.edges["edge-1"].start()
            c.wait_healthy("edge-1")
            send(c.tcp["edge-1"], lines[100:])
            check_exact(self, c, lines)


class Config(unittest.TestCase):
    def test_check_says_what_is_wrong(self):
        with Cluster(clouds=1, edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            for program, node in ((CLOUDD, "cloud-1"), (EDGED, "edge-1")):
                r = subprocess.run([program, "--config", c.config, "--node", node, "--check"], capture_output=True, text=True)
                self.assertEqual((r.returncode, r.stdout), (0, f"{c.config}: fine: 1 cloud nodes, 1 edges, 1 streams, 0 sinks\n"), r.stderr)
                r = subprocess.run([program, "--config", c.config, "--check"], capture_output=True, text=True)
                self.assertEqual((r.returncode, ": fine: " in r.stdout), (0, True), r.stderr)
                r = subprocess.run([program, "--config", c.config, "--node", "nobody"], capture_output=True, text=True)
                self.assertEqual(r.returncode, 2)
                self.assertIn("nobody", r.stderr)
            for program, node, other in ((CLOUDD, "edge-1", "edged"), (EDGED, "cloud-1", "cloudd")):
                r = subprocess.run([program, "--config", c.config, "--node", node], capture_output=True, text=True)
                self.assertEqual((r.returncode, f"start it with {other}." in r.stderr), (2, True), r.stderr)
            r = subprocess.run([CLOUDD, "--config", c.config, "--node", "cloud-1", "--data="], capture_output=True, text=True)
            self.assertEqual(r.returncode, 2)
            self.assertIn("--data", r.stderr)
            self.assertEqual(c.ctl("check", c.config).returncode, 0)
            c.spec["streams"][0]["windw"] = "5m"
            c.spec["cloud"][0]["listen"] = "tcp://192.0.2.1:7101"
            c.write_config()
            for command in ([CLOUDD, "--config", c.config, "--node", "cloud-1", "--check"], [WEIRCTL, "check", c.config]):
                r = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual(r.returncode, 2, r)
                text = r.stdout + r.stderr
                self.assertRegex(text, r"topology.yaml:\d+:\d+: .*windw.*window")
                self.assertRegex(text, r"topology.yaml:\d+:\d+: .*192\.0\.2\.1")


class Memory(unittest.TestCase):
    def test_idle_edge_is_light(self):
        with Cluster(clouds=1, edges={"edge-1": tcp_edge()}, streams=[stream()]) as c:
            c.start()
            if "asan" in os.environ.get("WEIR_BUILD", ""):
                self.skipTest("a sanitizer's shadow memory is not Weir's")
            wait_for("connected", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_uplink_state", state="ready") == 1)
            rss = c.edges["edge-1"].rss_bytes()
            print(f"\n    edged idle: {rss / 2**20:.1f} MiB resident")
            self.assertLess(rss, 20 * 2**20)
