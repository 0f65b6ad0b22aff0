"""The systems that `./dev bench replicate` measures beside Weir: three nodes each, on loopback, in a temporary folder on the same disk,
under the load generators bench_http and bench_nats. Everything started here is stopped by process id when its cluster is closed."""

import base64
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request

NODES = 3


class Missing(Exception):
    """A yardstick's program is not to be had."""


def find_program(name, folders):
    for folder in folders + os.environ.get("PATH", "").split(":") + ["/usr/bin", "/usr/sbin"]:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise Missing(f"{name} is not installed and could not be downloaded")


def run_load(w, program, *args, timeout_s=60):
    """What a load generator printed, as a dict; also when it got nothing done."""
    r = subprocess.run([os.path.join(w.BUILD, "bench", program), *map(str, args)], capture_output=True, text=True, timeout=timeout_s)
    if not r.stdout.strip():
        raise AssertionError(f"{program} {' '.join(map(str, args))}: exit {r.returncode}: {r.stderr.strip()}")
    return {k: v for line in r.stdout.splitlines() for k, v in json.loads(line).items()}


class Servers:
    """Processes with a folder of their own."""

    def __init__(self, w, prefix):
        self.w, self.processes = w, []
        self.dir = tempfile.mkdtemp(prefix=prefix)

    def spawn(self, name, argv):
        with open(os.path.join(self.dir, name + ".log"), "ab") as log:
            self.processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir))

    def check_running(self):
        for i, p in enumerate(self.processes):
            if p.poll() is not None:
                raise AssertionError(f"node {i + 1} ended with {p.returncode}: {self.log_tail()}")

    def log_tail(self):
        out = []
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                with open(os.path.join(self.dir, name), errors="replace") as f:
                    out += [f"{name}: {line}" for line in f.read().splitlines()[-5:]]
        return "\n".join(out)

    def cpu_seconds(self):
        total = 0
        for p in self.processes:
            with open(f"/proc/{p.pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for p in self.processes:
            p.kill()
        for p in self.processes:
            p.wait()
        if kind is not None and issubclass(kind, Exception):
            print(self.log_tail())
        if not os.environ.get("WEIR_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)


# ---- etcd ------------------------------------------------------------------------------------------------------------


class Etcd(Servers):
    """Debian's etcd with its defaults (a proposal is acknowledged when a majority has fsynced it), but for two: a wider election timeout,
    because load generator and nodes share the machine's cores, and room for what the runs write."""

    def __init__(self, w, program):
        super().__init__(w, "weir-bench-etcd-")
        try:
            peers = [w.free_port() for _ in range(NODES)]
            self.ports = [w.free_port() for _ in range(NODES)]
            cluster = ",".join(f"n{i}=http://127.0.0.1:{peers[i]}" for i in range(NODES))
            for i in range(NODES):
                client, peer = f"http://127.0.0.1:{self.ports[i]}", f"http://127.0.0.1:{peers[i]}"
                self.spawn(f"etcd-{i + 1}", [
                    program, "--name", f"n{i}", "--data-dir", os.path.join(self.dir, f"n{i}"),
                    "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                    "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, "--initial-cluster-state", "new",
                    "--initial-cluster-token", "weir-bench", "--heartbeat-interval", "300", "--election-timeout", "3000",
                    "--quota-backend-bytes", str(8 << 30), "--log-level", "error"])
            w.wait_for("etcd's leader", self.find_leader, 60)
        except BaseException:
            self.__exit__(*[None] * 3)
            raise

    def find_leader(self):
        self.check_running()
        for port in self.ports:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/maintenance/status", data=b"{}")
            with urllib.request.urlopen(request, timeout=5) as r:
                status = json.load(r)
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return port
        return None

    def bodies(self, name, count, make):
        """A file of request bodies for bench_http."""
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            for i in range(count):
                body = json.dumps(make(i)).encode()
                f.write(struct.pack("<I", len(body)) + body)
        return path

    def load(self, path, bodies, connections, seconds, every_node, units=1, rate=0, warmup=0.5):
        """To the leader alone, or to every node in turn. The leader may have moved since the last run."""
        ports = self.ports if every_node else [self.w.wait_for("etcd's leader", self.find_leader, 30)]
        return run_load(self.w, "bench_http", "-c", connections, "-t", seconds, "-w", warmup, "-r", rate, "-u", units, "-p", path,
                        "-b", bodies, *[f"127.0.0.1:{p}" for p in ports])


def _put(rng, key):
    return {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(rng.randbytes(1024)).decode()}


def etcd_txn(ops):
    """The i-th transaction of so many puts of 1 KiB."""
    rng = random.Random(1)
    return lambda i: {"success": [{"requestPut": _put(rng, f"bench/{i:05d}/{n:03d}")} for n in range(ops)]}


def etcd_put():
    rng = random.Random(2)
    return lambda i: _put(rng, f"single/{i:06d}")


# ---- NATS JetStream --------------------------------------------------------------------------------------------------


class NatsClient:
    """One request at a time, for what is set up before a run."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")
        self.info = json.loads(self.file.readline().split(b" ", 1)[1])
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB _R 1\r\n')

    def request(self, subject, body):
        data = json.dumps(body).encode() if body is not None else b""
        self.socket.sendall(b"PUB %s _R %d\r\n%s\r\n" % (subject.encode(), len(data), data))
        while True:
            line = self.file.readline()
            if line.startswith(b"MSG "):
                return json.loads(self.file.read(int(line.split()[-1]) + 2))
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
            elif not line or line.startswith(b"-ERR"):
                raise OSError(f"NATS: {line!r}")

    def close(self):
        self.file.close()
        self.socket.close()


class Nats(Servers):
    """Debian's nats-server with JetStream: streams of three replicas in files, defaults else."""

    def __init__(self, w, program):
        super().__init__(w, "weir-bench-nats-")
        try:
            routes = [w.free_port() for _ in range(NODES)]
            self.ports = [w.free_port() for _ in range(NODES)]
            for i in range(NODES):
                path = os.path.join(self.dir, f"n{i}.conf")
                others = ", ".join(f'"nats://127.0.0.1:{p}"' for p in routes)
                with open(path, "w") as f:
                    f.write(f'server_name: n{i}\nlisten: "127.0.0.1:{self.ports[i]}"\n'
                            f'jetstream {{ store_dir: "{self.dir}/n{i}", max_memory_store: 64MB, max_file_store: 16GB }}\n'
                            f'cluster {{ name: bench, listen: "127.0.0.1:{routes[i]}", routes: [{others}] }}\n')
                self.spawn(f"nats-{i + 1}", [program, "-c", path])
            self.client = w.wait_for("JetStream", self.connect, 60)
        except BaseException:
            self.__exit__(*[None] * 3)
            raise

    def connect(self):
        self.check_running()
        client = NatsClient(self.ports[0])
        try:
            client.socket.settimeout(3)
            if "error" not in client.request("$JS.API.INFO", None):
                return client
        except OSError:
            pass
        client.close()
        return None

    def create_stream(self, name):
        """HOST:PORT/SUBJECT of its leader."""
        def create():
            answer = self.client.request(f"$JS.API.STREAM.CREATE.{name}", {
                "name": name, "subjects": [f"bench.{name}"], "retention": "limits", "storage": "file", "num_replicas": NODES,
                "discard": "old", "max_bytes": 1 << 30, "max_msgs": -1, "max_consumers": -1})
            return None if "error" in answer else answer

        def leader():
            info = self.client.request(f"$JS.API.STREAM.INFO.{name}", None)
            cluster = info.get("cluster", {})
            return cluster.get("leader") if all(r["current"] for r in cluster.get("replicas", [{"current": False}])) else None
        self.w.wait_for(f"stream {name}", create, 30)
        node = self.w.wait_for(f"leader of stream {name}", leader, 30)
        return f"127.0.0.1:{self.ports[int(node[1:])]}/bench.{name}"

    def load(self, targets, connections, window, size, seconds, rate=0, warmup=0.5):
        return run_load(self.w, "bench_nats", "-c", connections, "-n", window, "-s", size, "-t", seconds, "-w", warmup, "-r", rate, *targets)
