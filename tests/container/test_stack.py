"""deploy/docker/stack.yaml: that it says of each node what the topology asks for, and with --long that a swarm of one machine runs it."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

import engine
import images
from weirtest import LONG, wait_for

NODES = ("cloud-1", "cloud-2", "cloud-3", "edge-1", "edge-2")
HARD = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def folder():
    """deploy/docker, and beside it the keys that the page has one make."""
    at = tempfile.TemporaryDirectory(prefix="weir-test-")
    shutil.copytree(images.DEPLOY, at.name, dirs_exist_ok=True)
    os.chmod(at.name, 0o755)
    engine.current.docker("run", "--rm", *HARD, "--user", f"{os.getuid()}:{os.getgid()}", "-v", f"{at.name}:/etc/weir", "--entrypoint", "weir-keys",
                          images.weir(engine.current))
    return at


class Stack(unittest.TestCase):
    def test_each_node_has_what_it_starts_with(self):
        """weirctl check --node, in a container that has the files that the stack gives the node and no others."""
        eng = engine.current
        with folder() as at:
            services = services_of(eng.compose("-f", "stack.yaml", "config", cwd=at).stdout)
            self.assertEqual(sorted(services), sorted([*NODES, "broker"]))
            files = {"topology": "topology.yaml"}
            for node in NODES:
                with self.subTest(node):
                    mounts = []
                    for source, target in services[node]:
                        mounts += ["-v", f"{at}/{files.get(source, 'keys/' + source)}:{target}:ro"]
                    r = eng.docker("run", "--rm", *HARD, "--user", f"{os.getuid()}:{os.getgid()}", "--tmpfs", "/etc/weir/keys:mode=0755", *mounts,
                                   "-e", f"WEIR_NODE={node}", images.WEIR, "--check", check=False)
                    self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
                    self.assertNotIn("ca.key", [source for source, _ in services[node]])

    @unittest.skipUnless(LONG, "--long: a swarm of its own")
    def test_a_swarm_of_one_machine_runs_it(self):
        eng = engine.current
        if not eng.own:
            self.skipTest("only in an engine of our own: others' is not ours to make a swarm of")
        eng.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        self.addCleanup(eng.docker, "swarm", "leave", "--force", check=False)
        machine = eng.docker("node", "ls", "--format", "{{.ID}}").stdout.strip()
        eng.docker("node", "update", *[w for n in NODES for w in ("--label-add", f"weir-{n}=yes")], machine)
        with folder() as at:
            env = {**eng.env, "WEIR_IMAGE": images.WEIR, "MOSQUITTO_IMAGE": images.others(eng)}
            subprocess.run([engine.program("docker"), "stack", "deploy", "-c", "stack.yaml", "weir-test"], cwd=at, env=env, check=True)
            self.addCleanup(eng.docker, "stack", "rm", "weir-test", check=False)

            def container(node):
                return eng.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name=weir-test_{node}", "--filter", "health=healthy").stdout.split()
            try:
                for node in NODES:
                    wait_for(f"{node} healthy", lambda node=node: container(node))
                wait_for("a whole cluster", lambda: "3 of 3 nodes answer" in self.ctl(container("cloud-1")[0], "status"))
                wait_for("its edges", lambda: {e["state"] for e in json.loads(self.ctl(container("cloud-1")[0], "-o", "json", "edges"))["edges"]} <= {"live", "idle"})
            except Exception:
                print(eng.docker("stack", "ps", "--no-trunc", "weir-test", check=False).stdout)
                for node in NODES:
                    r = eng.docker("service", "logs", "--tail", "5", f"weir-test_{node}", check=False)
                    print(node, r.stdout, r.stderr)
                raise
            lines = "".join(f"machine,sensor=s{i} temperature={i} 1700000000000000000\n" for i in range(500))
            eng.docker("exec", "-i", container("cloud-1")[0], "weirctl", "--token-file", "/etc/weir/keys/admin.token", "load", "-", "--to",
                       "https://edge-2:8201", input=lines)
            wait_for("500 readings", lambda: "500" in self.ctl(container("cloud-1")[0], "-o", "csv", "query", "temperature", "--by", "", "--select", "count"))

    def ctl(self, container, *words):
        return engine.current.docker("exec", container, "weirctl", *words, check=False).stdout


def services_of(config):
    """{service: [(source, target) of its configs and secrets]} of what `docker-compose config` prints; without a YAML library."""
    services, service, source, inside = {}, None, None, False
    for line in config.splitlines():
        if not line.startswith(" "):
            inside = line == "services:"
        elif inside and line.startswith("  ") and line[2] != " ":
            service = line.strip(" :")
            services[service] = []
        elif inside and line.strip().lstrip("- ").startswith("source:"):
            source = line.split("source:")[1].strip()
        elif inside and line.strip().lstrip("- ").startswith("target: /etc/weir"):
            services[service].append((source, line.split("target:")[1].strip()))
    return services
