#!/usr/bin/env python3
"""Three clouds and two edges with simulated sensors on loopback, and their merged results as they arrive.

Run by ./dev demo. Everything lives in a fresh folder, is stopped by process id at the end, and is then removed
(--keep: kept)."""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
CLOUDS = ["cloud-1", "cloud-2", "cloud-3"]
EDGES = ["edge-north", "edge-south"]
START_S = 60


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def write_topology(folder, once):
    """The demo's topology with free ports, and, for --once, with sensors that end so that every window is final."""
    with open(os.path.join(HERE, "topology.yaml")) as f:
        text = f.read()
    taken = set()

    def pick(match):
        port = int(match.group(1))
        while port in taken or not is_free(port):
            port += 10
        taken.add(port)
        return f"127.0.0.1:{port}"
    text = re.sub(r"127\.0\.0\.1:(\d+)", pick, text)
    if once:
        # A minute of readings, made at once, at a fixed event time.
        text = text.replace("duplicates: 0.01}",
                            "duplicates: 0.01,\n         count: 600, fast: true, start: \"2026-01-01T00:00:00Z\"}")
    path = os.path.join(folder, "topology.yaml")
    with open(path, "w") as f:
        f.write(text)
    ports = dict(re.findall(r"- {?name: ([\w-]+).*?http: \"127\.0\.0\.1:(\d+)\"", text, re.S))
    return path, {name: int(port) for name, port in ports.items()}


class Demo:
    def __init__(self, build, folder, once):
        self.build, self.folder = build, folder
        self.config, self.http = write_topology(folder, once)
        self.running = []

    def start(self, program, name):
        with open(os.path.join(self.folder, name + ".log"), "ab") as log:
            p = subprocess.Popen([os.path.join(self.build, program, program), "--config", self.config, "--node", name],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running.append((name, p))

    def stop(self):
        for _, p in reversed(self.running):
            p.terminate()
        for _, p in self.running:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def check_alive(self):
        for name, p in self.running:
            if p.poll() is not None:
                with open(os.path.join(self.folder, name + ".log"), errors="replace") as f:
                    sys.exit(f"{name} ended with {p.returncode}:\n{f.read()[-2000:]}")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http['cloud-1']}{path}", timeout=10) as r:
            return r.read().decode()

    def wait(self, what, condition):
        end = time.monotonic() + START_S
        while True:
            self.check_alive()
            try:
                if condition():
                    return
            except (urllib.error.URLError, OSError):
                pass
            if time.monotonic() > end:
                sys.exit(f"the demo waited {START_S} s for {what} in vain; logs are in {self.folder}")
            time.sleep(0.1)

    def weirctl(self, *args, **more):
        return subprocess.Popen([os.path.join(self.build, "ctl", "weirctl"), "--url",
                                 f"http://127.0.0.1:{self.http['cloud-1']}", *args], **more)


def main():
    p = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    p.add_argument("--build", required=True, help=argparse.SUPPRESS)
    p.add_argument("--once", action="store_true", help="print one table of final results and end")
    p.add_argument("--keep", action="store_true", help="keep the folder with logs and data")
    args = p.parse_args()
    folder = tempfile.mkdtemp(prefix="weir-demo-")
    demo = Demo(args.build, folder, args.once)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ok = False
    try:
        for name in CLOUDS:
            demo.start("cloudd", name)
        for name in EDGES:
            demo.start("edged", name)
        demo.wait("the clouds", lambda: demo.get("/readyz") is not None)
        if args.once:
            def all_final():
                answer = json.loads(demo.get("/api/v1/query?stream=temperature"))
                edges = json.loads(demo.get("/api/v1/edges"))["edges"]
                return (answer["rows"] and all(r["state"] == "final" for r in answer["rows"]) and
                        len({r["group"]["site"] for r in answer["rows"]}) == 2 and
                        all(e["state"] == "idle" for e in edges) and len(edges) == 2)
            demo.wait("final results", all_final)
            print("Final results of simulated sensors, from two edges through three clouds:\n", flush=True)
            code = demo.weirctl("query", "temperature", "--window", "15s").wait()
            if code:
                sys.exit(code)
        else:
            print(f"""Three clouds and two edges are running; their folder is {folder}

  web page   http://127.0.0.1:{demo.http['cloud-1']}/
  query      build/ctl/weirctl --url http://127.0.0.1:{demo.http['cloud-1']} query temperature --from=-1m
  status     build/ctl/weirctl --url http://127.0.0.1:{demo.http['cloud-1']} status

Windows of 5 s as they close (Ctrl-C ends):
""", flush=True)
            watch = demo.weirctl("watch", "temperature")
            while watch.poll() is None:
                demo.check_alive()
                time.sleep(0.5)
        ok = True
    except KeyboardInterrupt:
        ok = True
    finally:
        demo.stop()
        if ok and not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"kept: {folder}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
