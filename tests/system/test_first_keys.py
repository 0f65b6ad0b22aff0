"""deploy/docker/weir-keys: what makes a cluster's keys at its first start. Killed anywhere, or with a file lost, the next run leaves it whole."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import unittest

from weirtest import WEIRCTL

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", "docker")
NODES = ("cloud-1", "cloud-2", "cloud-3", "edge-1", "edge-2")
ROLES = ("read", "write", "admin")
MADE = {"ca.key", "ca.crt", "tokens", *(n + tail for n in NODES for tail in (".key", ".pub", ".tls.key", ".tls.crt")), *(r + ".token" for r in ROLES)}


class FirstKeys(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="weir-test-")
        self.addCleanup(folder.cleanup)
        self.config = os.path.join(folder.name, "topology.yaml")
        self.keys, self.access = os.path.join(folder.name, "keys"), os.path.join(folder.name, "access")
        shutil.copy(os.path.join(FOLDER, "topology.yaml"), self.config)
        os.mkdir(self.access)
        self.make()

    def call(self):
        env = dict(os.environ, WEIR_CONFIG=self.config, PATH=os.path.dirname(WEIRCTL) + ":" + os.environ["PATH"])
        return subprocess.run(["sh", os.path.join(FOLDER, "weir-keys")], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)

    def make(self):
        r = self.call()
        self.assertEqual(0, r.returncode, r.stdout)
        self.check_whole()

    def read(self, name, folder=None):
        with open(os.path.join(folder or self.keys, name), "rb") as f:
            return f.read()

    def check_whole(self):
        self.assertEqual(MADE, set(os.listdir(self.keys)))
        self.assertEqual({"ca.crt", "read.token", "write.token"}, set(os.listdir(self.access)))
        known = {line.split()[0].decode(): line.split()[1:] for line in self.read("tokens").splitlines()}
        self.assertEqual(set(ROLES), set(known))
        for role in ROLES:
            text = self.read(role + ".token").strip()
            self.assertEqual([role, hashlib.blake2b(text, digest_size=32).hexdigest()], [w.decode() for w in known[role]])
        for name in os.listdir(self.access):
            self.assertEqual(self.read(name), self.read(name, self.access))
        for name in MADE:
            mode = os.stat(os.path.join(self.keys, name)).st_mode & 0o777
            self.assertEqual(0o644 if name.endswith((".pub", ".crt")) else 0o600, mode, name)
        for node in NODES:
            subprocess.run([WEIRCTL, "check", "--node", node, self.config], check=True, capture_output=True)
        certificates = [os.path.join(self.keys, node + ".tls.crt") for node in NODES]
        subprocess.run(["openssl", "verify", "-CAfile", os.path.join(self.keys, "ca.crt"), *certificates], check=True, capture_output=True)

    def test_a_second_time_it_changes_nothing(self):
        before = {name: self.read(name) for name in MADE}
        self.make()
        self.assertEqual(before, {name: self.read(name) for name in MADE})

    def test_what_is_made_first_of_two_is_of_use_without_the_other(self):
        for lost in (["ca.crt"], ["cloud-2.pub", "cloud-2.tls.crt", "edge-1.tls.crt", "read.token"], ["tokens"]):
            with self.subTest(lost=lost):
                for name in lost:
                    os.remove(os.path.join(self.keys, name))
                self.make()

    def test_a_token_that_no_daemon_knows_is_made_anew(self):
        subprocess.run([WEIRCTL, "token", "remove", "write", "--config", self.config], check=True, capture_output=True)
        self.make()

    def test_what_it_does_not_understand_it_leaves(self):
        with open(os.path.join(self.keys, "tokens"), "a", encoding="ascii") as f:
            f.write("read nonsense\n")
        before = {name: self.read(name) for name in MADE}
        self.assertNotEqual(0, self.call().returncode)
        self.assertEqual(before, {name: self.read(name) for name in MADE})


if __name__ == "__main__":
    unittest.main()
