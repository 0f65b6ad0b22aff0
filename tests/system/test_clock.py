"""Clocks that are wrong: an hour back, ten days ahead and back, a boot in 1970, a suspend. Real daemons under libfaketime, which
fakes the wall clock by a file that the test moves and leaves the monotonic clock alone."""

import glob
import http.client
import os
import signal
import socket
import subprocess
import time
import unittest

from weirtest import (EDGED, NS, Cluster, Reading, assert_rows, edge_ledger, metric_sum, oracle_windows, parse_time,
                      wait_for, slow)

HOUR = 3600
DAY = 24 * HOUR
SIZE_S = 2


def preload():
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        raise unittest.SkipTest("libfaketime is not here (apt-get install faketime)")
    env = {**os.environ, "LD_PRELOAD": found[0], "FAKETIME": "+0"}
    if subprocess.run([EDGED, "--version"], env=env, capture_output=True).returncode:
        raise unittest.SkipTest("libfaketime does not work with this build (sanitizers?)")
    return found[0]


class Clock:
    """The wall clock of a daemon: the true time and an offset in seconds."""

    def __init__(self, daemon):
        self.path = os.path.join(daemon.cluster.dir, daemon.name + ".clock")
        self.set(0)
        daemon.env = {"LD_PRELOAD": preload(), "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                      "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
                      "FAKETIME_FORCE_MONOTONIC_FIX": "0"}  # with it waits of monotonic conditions end at once

    def set(self, offset_s):
        with open(self.path + ".new", "w") as f:
            f.write(f"{offset_s:+d}\n")
        os.rename(self.path + ".new", self.path)


class Sensors:
    """Readings with right timestamps, some a second, over one TCP connection; and the same for the oracle."""

    def __init__(self, cluster, edge):
        self.cluster, self.edge, self.sent, self.socket = cluster, edge, [], None

    def write(self, text):
        for again in (True, False):
            try:
                if not self.socket:
                    self.socket = socket.create_connection(("127.0.0.1", self.cluster.tcp[self.edge]), timeout=10)
                self.socket.sendall(text.encode())
                return
            except OSError:
                self.close()
                if not again:
                    raise

    def send(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            t, value = time.time_ns(), len(self.sent)
            self.write(f"load,sensor={self.edge} v={value} {t}\n")
            self.sent.append(Reading("load", {"sensor": self.edge}, "v", float(value), t))
            time.sleep(0.05)

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None


def streams():
    window = {"window": f"{SIZE_S}s", "lateness": "1s", "compute": ["count", "sum", "min", "max", "first", "last"],
              "retain": "forever", "by": ["sensor"]}
    return [dict(window, name="load", **{"from": {"measurement": "load", "field": "v"}}),
            dict(window, name="stamped", **{"from": {"measurement": "stamped", "field": "v"}})]


def cluster():
    edges = {f"edge-{i}": {"sources": [{"type": "tcp"}], "idle_after": "2s", "tick": "200ms", "heartbeat": "500ms"}
             for i in (1, 2)}
    return Cluster(edges=edges, streams=streams(), cluster={"shards": 4, "partitioned_after": "4s"})


def state_of(c, edge):
    return next(e for e in c.api("cloud-1", "edges")["edges"] if e["name"] == edge)


def wait_suspect(c, edge, suspect):
    """Where an operator looks: the edge's own metrics, the cloud's list, weirctl."""
    wait_for(f"{edge}: suspect {suspect}", lambda: metric_sum(c.metrics(edge), "weir_edge_clock_suspect") == suspect)
    wait_for(f"{edge} in the cloud: suspect {suspect}", lambda: state_of(c, edge)["clock_suspect"] == suspect)
    wait_for(f"{edge} in weirctl: suspect {suspect}",
             lambda: ("suspect" if suspect else "fine") in
             next(line for line in c.ctl("edges").stdout.splitlines() if line.startswith(edge)).split())


def watermarks_s(c):
    """How far ahead of the true time each stream's close and final are, in seconds; the ones that are there."""
    times = [s[k] for s in c.api("cloud-1", "streams")["streams"] for k in ("watermark", "final") if s[k]]
    return [(parse_time(t) - time.time_ns()) / NS for t in times]


def check_exact(c, sensors):
    sent = [r for s in sensors for r in s.sent]
    c.wait_count("cloud-1", "load", len(sent), state="final")
    for node in c.cloud_names:
        assert_rows(c.query(node, "load")["rows"], oracle_windows(sent, ["sensor"], SIZE_S * NS), ["sensor"], SIZE_S * NS,
                    ["count", "sum", "min", "max", "first", "last"])


class EdgeClock(unittest.TestCase):
    def setUp(self):
        self.c = cluster()
        self.addCleanup(lambda: self.c.__exit__(None, None, None))
        self.clock = Clock(self.c.edges["edge-1"])
        self.c.start()
        self.bad, self.good = Sensors(self.c, "edge-1"), Sensors(self.c, "edge-2")
        self.addCleanup(self.bad.close)
        self.addCleanup(self.good.close)
        self.both(3)

    def both(self, seconds):
        for _ in range(round(2 * seconds)):
            self.bad.send(0.25)
            self.good.send(0.25)

    def stamp(self):
        """A reading without a time, which the edge has taken, and given its own, before this returns."""
        self.bad.write("stamped,sensor=a v=1\n")
        wait_for("the reading to be taken", lambda: metric_sum(self.c.metrics("edge-1"), "weir_edge_stream_matched_total", stream="stamped") == 1)

    def stamped(self):
        return wait_for("the stamped reading", lambda: self.c.query("cloud-1", "stamped")["rows"])

    def refused(self):
        return metric_sum(self.c.metrics("edge-1"), "weir_edge_readings_refused_total", reason="too_far_ahead")

    def finish(self, stamped):
        self.both(2)
        check_exact(self.c, [self.bad, self.good])
        self.assertEqual(self.c.total_count("cloud-1", "stamped"), stamped)
        ledger = edge_ledger(self.c, "edge-1")
        self.assertEqual(ledger["accepted"], len(self.bad.sent) + stamped)
        self.c.stop()

    def test_an_hour_back(self):
        self.clock.set(-HOUR)
        self.both(3)
        self.stamp()
        wait_suspect(self.c, "edge-1", True)
        self.assertEqual(self.refused(), 0)
        self.clock.set(0)
        wait_suspect(self.c, "edge-1", False)
        self.bad.write(f"load,sensor=a v=1 {time.time_ns() + HOUR * NS}\n")
        wait_for("one reading refused", lambda: self.refused() == 1)
        row, = self.stamped()
        self.assertLess(parse_time(row["end"]), time.time_ns() - HOUR / 2 * NS)  # where the clock put it
        self.finish(1)

    @slow
    def test_ten_days_ahead_and_back(self):
        self.clock.set(10 * DAY)
        self.both(2)
        self.stamp()
        wait_for("the stamped reading", lambda: self.c.total_count("cloud-1", "stamped") == 1)
        self.bad.send(4)  # the other one is idle: nobody else holds close
        wait_for("edge-2 idle", lambda: state_of(self.c, "edge-2")["state"] == "idle")
        self.bad.send(2)
        self.assertLess(max(watermarks_s(self.c)), 1)
        wait_for("edge-1 to be suspect", lambda: state_of(self.c, "edge-1")["clock_suspect"] and state_of(self.c, "edge-1")["clock_ahead_ms"] > 9 * DAY * 1000)
        self.clock.set(0)
        wait_for("edge-1's clock is right", lambda: abs(state_of(self.c, "edge-1")["clock_ahead_ms"]) < 60000)
        wait_for("edge-1 to know", lambda: metric_sum(self.c.metrics("edge-1"), "weir_edge_clock_suspect") == 0)
        refused = self.refused()
        self.bad.write(f"load,sensor=a v=1 {time.time_ns() + DAY * NS}\n")
        wait_for("the rule holds again", lambda: self.refused() == refused + 1)
        wait_for("all idle", lambda: {state_of(self.c, e)["state"] for e in self.c.edges} == {"idle"})
        time.sleep(3)  # an idle fleet stays where it is
        self.assertLess(max(watermarks_s(self.c)), 1 + SIZE_S)
        self.finish(1)

    def test_boot_in_1970(self):
        self.c.edges["edge-1"].kill()
        self.bad.close()
        self.clock.set(60 - int(time.time()))
        self.c.edges["edge-1"].start()
        self.c.wait_healthy("edge-1")
        before = len(self.bad.sent)
        self.both(2)
        self.stamp()
        wait_suspect(self.c, "edge-1", True)
        self.assertEqual(self.refused(), 0)
        self.clock.set(0)
        wait_suspect(self.c, "edge-1", False)
        row, = self.stamped()
        self.assertTrue(row["start"].startswith("1970-01-01"))
        # The kill may have cost what the last tick had not committed (tcp): those readings are not expected.
        accepted = edge_ledger(self.c, "edge-1")["accepted"]
        lost = len(self.bad.sent) + 1 - int(accepted)
        self.assertTrue(0 <= lost <= before)
        del self.bad.sent[before - lost:before]
        self.finish(1)

    def test_suspend_and_resume(self):
        edge = self.c.edges["edge-1"]
        edge.signal(signal.SIGSTOP)
        try:
            wait_for("edge-1 partitioned", lambda: self.good.send(0.5) or state_of(self.c, "edge-1")["state"] == "partitioned")
            rows = wait_for("provisional windows that name it", lambda: [
                r for r in self.c.query("cloud-1", "load")["rows"]
                if r["state"] == "provisional" and r["edges"]["missing"] == ["edge-1"]])
            self.assertEqual(rows[0]["edges"]["partitioned"], 1)
            self.clock.set(5 * HOUR)  # as it shows after hours of sleep
        finally:
            edge.signal(signal.SIGCONT)
        self.both(2)
        self.assertEqual(self.refused(), 0)
        wait_for("edge-1 is back", lambda: self.both(0.5) or state_of(self.c, "edge-1")["state"] == "live")
        self.clock.set(0)
        wait_suspect(self.c, "edge-1", False)
        self.finish(0)


class CloudClock(unittest.TestCase):
    def watch(self, c, node, last_id, done):
        """Events of a watch until done(events)."""
        connection = http.client.HTTPConnection("127.0.0.1", c.http[node], timeout=60)
        try:
            connection.request("GET", "/api/v1/watch?stream=load", headers={"Last-Event-ID": last_id} if last_id else {})
            answer, events, event = connection.getresponse(), [], {}
            while not done(events):
                line = answer.readline().decode().rstrip("\n")
                key, _, value = line.partition(": ")
                if line and key:
                    event[key] = value
                elif event:
                    events.append(event)
                    event = {}
            return events
        finally:
            connection.close()

    @slow
    def test_jumps_move_nothing(self):
        with cluster() as c:
            clocks = {name: Clock(d) for name, d in c.clouds.items()}
            c.start()
            sensors = [Sensors(c, e) for e in c.edges]

            def send(seconds):
                for _ in range(round(2 * seconds)):
                    for s in sensors:
                        s.send(0.25)
            send(4)
            first = self.watch(c, "cloud-1", None, lambda events: send(1) or any("id" in e for e in events))[-1]["id"]
            start_ns = time.time_ns() + 2 * SIZE_S * NS
            for offset in (10 * DAY, -HOUR, 60 - int(time.time())):
                for name in c.cloud_names:
                    clocks[name].set(offset)
                    send(2)
                    self.assertLess(max(watermarks_s(c)), 1)
                    wait_for("windows to go on closing", lambda: max(watermarks_s(c)) > -8 or send(0.5))
                    clocks[name].set(0)
            clocks["cloud-2"].set(10 * DAY)  # a node that starts with a clock that is wrong
            c.clouds["cloud-2"].kill()
            c.clouds["cloud-2"].start()
            c.wait_ready()
            send(3)
            check_exact(c, sensors)
            expected = {w for w, _ in oracle_windows([r for s in sensors for r in s.sent], ["sensor"], SIZE_S * NS)
                        if w >= start_ns}

            def all_told(events):
                told = {parse_time(e["data"].split('"start":')[1].split('"')[1]) for e in events if '"start":' in e.get("data", "")}
                return expected <= told
            events = self.watch(c, "cloud-3", first, all_told)
            self.assertNotIn("reset", {e.get("event") for e in events})
            for s in sensors:
                s.close()
            c.stop()


if __name__ == "__main__":
    unittest.main()
