"""A real Prometheus beside a test: Debian's, with a configuration of its own, started and stopped by process id."""

import json
import os
import shutil
import subprocess
import unittest
import urllib.parse

import weirtest
from weirtest import NS, parse_time, wait_for

PROGRAM, TOOL = shutil.which("prometheus"), shutil.which("promtool")
needed = unittest.skipUnless(PROGRAM and TOOL, "prometheus and promtool are not installed")


class Prometheus:
    """with Prometheus(folder, config) as p. config: the text of prometheus.yml. lookback: how far behind the time asked for a sample may
    be, in seconds; below the length of a window, answers are those of exactly that window."""

    def __init__(self, folder, config, lookback="9s", flags=(), port=None):
        self.dir = os.path.join(folder, "prometheus")
        self.port = port or weirtest.free_port()
        self.lookback, self.flags = lookback, list(flags)
        self.process = None
        os.makedirs(self.dir, exist_ok=True)
        self.config = os.path.join(self.dir, "prometheus.yml")
        self.log = os.path.join(self.dir, "prometheus.log")
        with open(self.config, "w") as f:
            f.write(config)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.kill()
        if kind is not None:
            with open(self.log, errors="replace") as f:
                print("--- prometheus\n" + "".join(f.readlines()[-15:]))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def get(self, path):
        return weirtest.http_get(self.url + path)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, f"--config.file={self.config}", f"--storage.tsdb.path={self.dir}/data", "--log.level=warn",
                 f"--web.listen-address=127.0.0.1:{self.port}", f"--query.lookback-delta={self.lookback}", *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir)
        wait_for("prometheus", lambda: self.get("/-/ready"))
        return self

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.kill()
        return self.start()

    def api(self, path, **params):
        """(data, warnings)"""
        answer = json.loads(self.get(f"/api/v1/{path}?" + urllib.parse.urlencode(params)))
        return answer["data"], answer.get("warnings", [])

    def instant(self, expression, t_s):
        """{labels: value} at that time; raises where Prometheus was warned that something is missing."""
        data, warnings = self.api("query", query=expression, time=repr(t_s))
        assert not warnings, warnings
        return {labels_of(x): float(x["value"][1]) if "value" in x else x["histogram"][1] for x in data["result"]}

    def range(self, expression, start_s, end_s, step_s):
        """{labels: {time: value}}, by promtool, as a person would ask."""
        r = subprocess.run([TOOL, "query", "range", f"--start={start_s}", f"--end={end_s}", f"--step={step_s}s", "-o", "json", self.url,
                            expression], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stdout + r.stderr
        assert not r.stderr.strip(), r.stderr
        return {labels_of(x): {float(t): float(v) for t, v in x["values"]} for x in json.loads(r.stdout)}


def wanted(rows, function, labels=(), stream="s"):
    """What a range query of weir:STREAM:FUNCTION should give, of rows of weirctl query that are grouped by k."""
    out = {}
    for row in rows:
        of = tuple(sorted([("__name__", f"weir:{stream}:{function}"), ("k", row["group"]["k"]), *labels]))
        out.setdefault(of, {})[parse_time(row["end"]) / NS] = row["values"][function]
    return out


def labels_of(result):
    return tuple(sorted(result["metric"].items()))
