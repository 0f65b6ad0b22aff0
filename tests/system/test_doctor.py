"""`weirctl doctor`: nothing wrong with a healthy cluster; what is wrong is named, with what to do."""

import json
import os
import shutil
import time
import unittest

from weirtest import NS, ApiError, Cluster, metric_sum, slow, wait_for

T0 = 1_700_000_000 * NS


def cluster(**more):
    edges = {"edge-1": {"sources": [{"type": "file", "path": "in.lp", "follow": True}], "heartbeat": "300ms", "tick": "100ms",
                        "flush": "500ms"}}
    streams = [{"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k"], "window": "10s", "lateness": "1s",
                "compute": ["count"]}]
    return Cluster(edges=edges, streams=streams, **more)


def feed(c, at=0, count=100):
    with open(os.path.join(c.dir, "in.lp"), "a") as f:
        f.writelines(f"m,k=a v={i} {T0 + (at + i) * NS}\n" for i in range(count))


def doctor(c, node="cloud-1"):
    r = c.ctl("-o", "json", "doctor", node=node, check=False)
    found = json.loads(r.stdout)
    assert (r.returncode == 0) == found["fine"], (r.returncode, r.stdout)
    for x in found["findings"]:
        assert x["remedy"], x
    return r.returncode, found["findings"]


class Doctor(unittest.TestCase):
    def find(self, findings, check, about):
        for x in findings:
            if x["check"] == check and about in x["about"]:
                return x
        self.fail(f"no {check} about {about}: {findings}")

    @slow
    def test_what_is_wrong_is_named(self):
        with cluster() as c:
            feed(c)
            c.start()
            wait_for("nothing wrong", lambda: doctor(c)[0] == 0)
            wait_for("the same from another one", lambda: "nothing wrong: 3 cloud nodes were asked" in c.ctl("doctor", node="cloud-2", check=False).stdout)

            c.clouds["cloud-3"].kill()
            wait_for("a node is missed", lambda: doctor(c)[0] == 1)

            def named():  # once what it led has other leaders
                code, findings = doctor(c)
                return any(x["check"] == "node_unreachable" and x["about"] == "cloud-3" for x in findings) and \
                    not any(x["severity"] == "critical" for x in findings) and findings
            findings = wait_for("the others miss it too", named)
            x = self.find(findings, "node_unreachable", "cloud-3")
            self.assertEqual(x["severity"], "warning")
            self.assertIn("cloudd --config FILE --node cloud-3", x["remedy"])

            c.clouds["cloud-2"].kill()

            def stopped():
                code, findings = doctor(c)
                return any("shard" in x["about"] for x in findings) and findings[0]["severity"] == "critical" and \
                    "cloud-2, cloud-3" in findings[0]["remedy"]
            wait_for("no quorum, and who lacks", stopped)

            c.clouds["cloud-1"].kill()
            code, findings = doctor(c)
            self.assertEqual(code, 1)
            self.find(findings, "no_answer", "cluster")
            for name in c.cloud_names:
                c.clouds[name].start()
            wait_for("nothing wrong", lambda: doctor(c)[0] == 0)

    def test_fenced_edge(self):
        with cluster() as c:
            feed(c)
            c.start()
            wait_for("all is taken", lambda: c.total_count("cloud-1", "s") >= 90)
            wait_for("nothing wrong", lambda: doctor(c)[0] == 0)
            # A backup that is restored after another holder of the name was let in.
            edge, data = c.edges["edge-1"], os.path.join(c.dir, "run", "edge-1")
            edge.stop()
            shutil.copytree(data, data + ".backup")
            edge.start()
            c.wait_healthy("edge-1")
            feed(c, 100)
            wait_for("more is taken", lambda: c.total_count("cloud-1", "s") >= 190)
            edge.stop()
            shutil.rmtree(data)
            shutil.copytree(data + ".backup", data)
            edge.start()

            def fenced():
                code, findings = doctor(c)
                return code == 1 and [x for x in findings if x["check"] == "edge_fenced"]
            x = wait_for("the fenced edge is named", fenced)[0]
            self.assertIn("edge-1", x["about"])
            self.assertIn("weirctl edge readmit", x["remedy"])
            c.ctl("edge", "readmit", "edge-1", node="cloud-1")
            wait_for("it is let in", lambda: metric_sum(c.metrics("edge-1"), "weir_edge_uplink_state", state="fenced") == 0)


    def test_the_only_disk_of_a_shard_is_lost(self):
        """It is not begun again without what was acknowledged: that is said, and nothing is answered without it."""
        with cluster(cluster={"shards": 4, "replicas": 1}) as c:
            with open(os.path.join(c.dir, "in.lp"), "a") as f:
                f.writelines(f"m,k=k{i % 16} v={i} {T0 + i * NS}\n" for i in range(100))
            c.start()
            wait_for("all is taken", lambda: c.total_count("cloud-1", "s") >= 90)
            wait_for("nothing wrong", lambda: doctor(c)[0] == 0)
            c.clouds["cloud-2"].kill()
            shutil.rmtree(os.path.join(c.dir, "run", "cloud-2"))
            c.clouds["cloud-2"].start()

            def named():
                code, findings = doctor(c)
                return [x for x in findings if x["check"] == "group_stopped" and "data folders" in x["remedy"]]
            self.assertIn("shard 1", wait_for("the shard is named", named)[0]["about"])
            time.sleep(3)

            def told():
                with self.assertRaises(ApiError) as e:
                    c.get("cloud-2", "/readyz")
                return "shard 1 is empty here, and no node is known that leads it" in str(e.exception)
            wait_for("readiness to say so", told)
            with self.assertRaises(ApiError):
                c.total_count("cloud-1", "s")


if __name__ == "__main__":
    unittest.main()
