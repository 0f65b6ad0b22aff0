"""weirctl healthy: what a container's health check asks of the daemon beside it, with keys and without a token."""

import signal
import subprocess
import unittest

from weirtest import WEIRCTL, Cluster, wait_for


def edge(**keys):
    return {"sources": [{"type": "simulate", "sensors": 1, "every": "1s"}], **keys}


class Healthy(unittest.TestCase):
    STREAMS = [{"name": "s", "from": {"measurement": "traffic", "field": "speed"}, "window": "10s"}]

    def healthy(self, cluster, name):
        r = subprocess.run([WEIRCTL, "healthy", "--node", name, cluster.config], capture_output=True, text=True)
        self.assertIn(r.returncode, (0, 1), r.stderr)
        self.assertEqual(len((r.stdout + r.stderr).splitlines()), 1, r.stdout + r.stderr)
        return r.returncode == 0

    def test_of_daemons_with_keys(self):
        with Cluster(clouds=1, edges={"edge-1": edge(), "edge-2": edge()}, streams=self.STREAMS, security=True) as c:
            del c.spec["edges"][1]["http"]
            c.write_config()
            self.assertFalse(self.healthy(c, "cloud-1"))  # nothing runs yet
            self.assertFalse(self.healthy(c, "edge-2"))
            for d in (*c.clouds.values(), *c.edges.values()):
                d.start()
            for name in ("cloud-1", "edge-1", "edge-2"):
                wait_for(f"{name} to be healthy", lambda name=name: self.healthy(c, name))
            c.clouds["cloud-1"].signal(signal.SIGSTOP)  # hangs: takes connections, and says nothing
            self.assertFalse(self.healthy(c, "cloud-1"))
            c.clouds["cloud-1"].signal(signal.SIGCONT)
            wait_for("cloud-1 to be healthy again", lambda: self.healthy(c, "cloud-1"))
            c.edges["edge-2"].kill()
            self.assertFalse(self.healthy(c, "edge-2"))
            self.assertEqual(c.clouds["cloud-1"].stop(), 0)
            self.assertFalse(self.healthy(c, "cloud-1"))


if __name__ == "__main__":
    unittest.main()
