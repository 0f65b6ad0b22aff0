"""A cluster of two versions side by side: this one, and one that says the next protocol's number and fields that this one does
not know (tests/system/codec_next.c). Seen from there, this version is the one before."""

import os
import subprocess
import unittest

from test_exact import check_everywhere, split_by_sensor, traffic_streams, wait_all_final
from weirtest import BUILD, WEIRCTL, Cluster, cloud_ledger, edge_ledger, metric_sum, traffic_lines, wait_for

CLOUDD_NEXT = os.path.join(BUILD, "tests", "system", "cloudd-next")
EDGED_NEXT = os.path.join(BUILD, "tests", "system", "edged-next")


def load(c, edge, path):
    return subprocess.Popen([WEIRCTL, "load", "--to", f"127.0.0.1:{c.tcp[edge]}", path], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


class TwoVersions(unittest.TestCase):
    def setUp(self):
        for program in (CLOUDD_NEXT, EDGED_NEXT):
            if not os.path.exists(program):
                self.skipTest(f"{program} is not built (make check TESTS=)")

    def cluster(self):
        edges = {f"edge-{i}": {"sources": [{"type": "tcp"}], "idle_after": "2s", "tick": "100ms", "heartbeat": "500ms"}
                 for i in (1, 2)}
        return Cluster(edges=edges, streams=traffic_streams("5m"), cluster={"replicas": 3})

    def load_part(self, c, parts, name):
        loads = []
        for i, lines in enumerate(parts):
            path = os.path.join(c.dir, f"{name}-{i}.lp")
            with open(path, "w") as f:
                f.writelines(lines)
            loads.append(load(c, f"edge-{i + 1}", path))
        for p in loads:
            out, _ = p.communicate(timeout=120)
            self.assertEqual(p.returncode, 0, out)

    def check(self, c, lines):
        wait_all_final(c, lines)
        for field in ("speed", "occupancy", "travel_time"):
            check_everywhere(c, lines, field, field, 300)
        self.assertEqual(sum(edge_ledger(c, e)["accepted"] for e in c.edges), len(lines))
        self.assertEqual(sum(v["merged"] for v in cloud_ledger(c).values()), len(lines))

    def no_frame_was_bad(self, c):
        for name in c.cloud_names:
            for reason in ("bad", "version"):
                self.assertEqual(metric_sum(c.metrics(name), "weir_cloud_frames_refused_total", reason=reason), 0, (name, reason))

    def test_mixed(self):
        """One cloud and one edge of the next version among those of this one."""
        lines = traffic_lines()
        with self.cluster() as c:
            c.clouds["cloud-2"].program = CLOUDD_NEXT
            c.edges["edge-1"].program = EDGED_NEXT
            c.start()
            self.load_part(c, split_by_sensor(lines, 2), "all")
            self.check(c, lines)
            self.no_frame_was_bad(c)
            c.stop()

    def test_rolling_upgrade_and_back(self):
        """One daemon after the other is replaced by the next version, and then by this one again: on the same disks, with what the
        other version stored, and each step with both in the cluster."""
        lines = traffic_lines()
        halves = [lines[:len(lines) // 2], lines[len(lines) // 2:]]
        with self.cluster() as c:
            c.start()
            for number, (half, cloudd, edged) in enumerate(
                    zip(halves, (CLOUDD_NEXT, c.clouds["cloud-1"].program), (EDGED_NEXT, c.edges["edge-1"].program))):
                parts = split_by_sensor(half, 2)
                self.load_part(c, parts, f"half-{number}")
                for d, program in [(d, cloudd) for d in c.clouds.values()] + [(d, edged) for d in c.edges.values()]:
                    d.stop()
                    d.program = program
                    d.start()
                    (c.wait_ready if d.name in c.clouds else c.wait_healthy)([d.name] if d.name in c.clouds else d.name)
            self.check(c, lines)
            c.stop()

    def test_unknown_message_is_answered_and_the_rest_goes_on(self):
        import zmq
        with Cluster(edges={"edge-1": {"sources": [{"type": "tcp"}]}}, streams=traffic_streams("5m")) as c:
            c.start()
            context = zmq.Context()
            s = context.socket(zmq.DEALER)
            s.setsockopt(zmq.LINGER, 0)
            s.setsockopt(zmq.RCVTIMEO, 60000)
            s.connect(f"tcp://127.0.0.1:{c.zmq['cloud-1']}")
            try:
                s.send(b"\x08\x02\x10\x07\xd2\x3f\x01x")  # protocol 2, request 7, body 1018
                answer = s.recv()
                self.assertIn(b"a message that this node does not know", answer)
                self.assertIn(b"\x10\x07", answer)
                s.send(b"\x08\x63\x10\x08\xd2\x3f\x01x")  # protocol 99
                self.assertIn(b"a protocol version that this node does not speak", s.recv())
            finally:
                s.close()
                context.term()
            wait_for("both are counted", lambda: metric_sum(
                c.metrics("cloud-1"), "weir_cloud_frames_refused_total", reason="version") == 2)
            self.assertTrue(c.clouds["cloud-1"].running())
            c.stop()
