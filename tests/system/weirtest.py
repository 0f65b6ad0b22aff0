"""What the system tests share: a cluster of real daemons on loopback, questions to it, and an independent oracle.

Everything a test starts is stopped by process id when its cluster is closed. Nothing sleeps for a fixed time where
something can be awaited: wait_for() polls a condition until a generous deadline, and says what it last saw.
"""

import collections
import contextlib
import fcntl
import http.client
import json
import math
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build"))
SHARED_DATA = os.path.join(os.environ.get("WEIR_SHARED", os.path.join(ROOT, "..", "shared")), "data")
LONG = os.environ.get("WEIR_LONG") == "1"
DEADLINE_S = float(os.environ.get("WEIR_DEADLINE_S", "120"))
NS = 1_000_000_000

SECURITY = os.environ.get("WEIR_SECURITY") == "1"  # clusters have keys unless a test says otherwise

EDGED = os.path.join(BUILD, "edged", "edged")
CLOUDD = os.path.join(BUILD, "cloudd", "cloudd")
WEIRCTL = os.path.join(BUILD, "ctl", "weirctl")


def wait_for(what, condition, deadline_s=None):
    """Polls condition() until it gives something true, and returns that."""
    end = time.monotonic() + (deadline_s or DEADLINE_S)
    last = None
    pause = 0.02
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, urllib.error.URLError, ValueError, ApiError) as e:
            last = e
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}; last: {last!r}")
        time.sleep(pause)
        pause = min(0.25, pause * 1.5)


class Awake:
    """A clock for bounds that daemons are held to: it stands while the machine does, which nobody on it can help, and which a busy
    host makes it do for seconds. with Awake() as clock: clock.now()"""
    STEP_S = 0.02
    STILL_S = 0.2  # so much later than it asked for is woken who shares a machine that runs

    def __enter__(self):
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.stood, self.last, self.still_at = 0.0, time.monotonic(), None  # still_at: when it last went on after seconds
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _late(self, now):
        late = now - self.last - self.STEP_S
        return late if late > self.STILL_S else 0.0

    def _look(self):
        while not self.ended.wait(self.STEP_S):
            with self.lock:
                now = time.monotonic()
                late = self._late(now)
                self.stood += late
                self.still_at = now if late > 1 else self.still_at
                self.last = now

    def stood_lately(self):
        """Whether who waits for a daemon, or for another one's leader, may have waited in vain: in the last seconds it was for seconds."""
        with self.lock:
            now = time.monotonic()
            return self._late(now) > 1 or (self.still_at is not None and now - self.still_at < 10)

    def now(self):
        """In seconds, from any beginning."""
        with self.lock:
            now = time.monotonic()
            return now - self.stood - self._late(now)


class ApiError(Exception):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body[:500]}")
        self.status = status
        try:
            self.code = json.loads(body)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            self.code = None


class BrokenOff(OSError):
    """An answer that had begun well, and was not to be had to its end."""


def http_get(url, timeout=30, token=None, context=None):
    try:
        request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token} if token else {})
        with urllib.request.urlopen(request, timeout=timeout, context=context) as r:
            return r.read().decode()
    except urllib.error.HTTPError as e:
        raise ApiError(e.code, e.read().decode(errors="replace")) from None
    except http.client.HTTPException as e:
        raise BrokenOff(f"{url}: the answer broke off: {e!r}") from None


_port_locks = []
PORTS = 12000  # from 20000: below those that the kernel gives to connections, which would take a port between test and use
_next_port = 20000 + (os.getpid() * 37) % PORTS


def spread_ports():
    """A process that was forked looks elsewhere than its parent."""
    global _next_port
    _next_port = 20000 + (os.getpid() * 37) % PORTS


def alone(test):
    """Marks a test, or a class of them, that holds a daemon to a time or a measure: nothing else runs beside it."""
    test.alone = True
    return test


def slow(test):
    """Marks one of the longest: begun first, so that it does not end long after all others."""
    test.slow = True
    return test


def free_port():
    """A port nobody listens on, kept from other test processes on this machine by a lock file."""
    global _next_port
    while True:
        _next_port = 20000 + (_next_port - 20000 + 1) % PORTS
        lock = open(os.path.join(tempfile.gettempdir(), f"weir-test-port-{_next_port}.lock"), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", _next_port))
            except OSError:
                lock.close()
                continue
        _port_locks.append(lock)
        return _next_port


_awake = None


def awake():
    """This process's own, while it lives."""
    global _awake
    _awake = _awake or Awake().__enter__()
    return _awake


class Daemon:
    def __init__(self, cluster, program, name):
        self.cluster, self.program, self.name = cluster, program, name
        self.process = None
        self.config = None  # one of its own; else the cluster's
        self.env = {}       # beside what this process has
        self.log_path = os.path.join(cluster.dir, name + ".log")

    def start(self, stdin=None):
        assert not self.running(), self.name
        self.cluster.prepare_http()
        with open(self.log_path, "ab") as log, self.cluster.inside(self.name):
            self.process = subprocess.Popen(
                [self.program, "--config", self.config or self.cluster.config, "--node", self.name],
                stdin=stdin if stdin is not None else subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.cluster.dir,
                env={**os.environ, **self.env})
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.running():
            self.process.kill()
        self.process.wait()

    def stop(self, deadline_s=60):
        """SIGTERM, and the exit code."""
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.name} did not stop on SIGTERM:\n{self.log_tail()}") from None
        return self.process.returncode

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def log_tail(self, lines=30):
        return "\n".join(self.log().splitlines()[-lines:])

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise OSError("no VmRSS")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Cluster:
    """clouds: how many; edges: {name: dict of edge keys} with "sources" as a list of dicts; streams: list of dicts.
    Values that are not strings are written as JSON, which YAML reads. security: every link has keys (those of `weirctl
    keygen`, in DIR/keys). addresses: {cloud: host} where its ZeroMQ listens, when not on 127.0.0.1 (needs security)."""

    def __init__(self, clouds=3, edges=None, streams=(), cluster=None, dir=None, security=SECURITY, addresses=None):
        awake()
        self.own_dir = dir is None
        self.dir = dir or tempfile.mkdtemp(prefix="weir-test-")
        self.config = os.path.join(self.dir, "topology.yaml")
        self.cloud_names = [f"cloud-{i + 1}" for i in range(clouds)]
        self.clouds = {}
        self.http = {}
        self.zmq = {}
        spec = {"version": 1,
                "cluster": dict({"name": "test", "shards": 8, "security": {"keys": "keys"} if security else "none"},
                                **(cluster or {})),
                "cloud": [], "edges": [], "streams": list(streams)}
        for name in self.cloud_names:
            self.http[name], self.zmq[name] = free_port(), free_port()
            spec["cloud"].append({"name": name, "listen": f"tcp://{(addresses or {}).get(name, '127.0.0.1')}:{self.zmq[name]}",
                                  "http": f"127.0.0.1:{self.http[name]}", "data": f"run/{name}"})
            self.clouds[name] = Daemon(self, CLOUDD, name)
        self.edges = {}
        self.tcp = {}
        for name, keys in (edges or {}).items():
            keys = dict({"name": name, "data": f"run/{name}"}, **keys)
            self.http[name] = free_port()
            keys.setdefault("http", f"127.0.0.1:{self.http[name]}")
            for source in keys.setdefault("sources", []):
                if source["type"] == "tcp" and "listen" not in source:
                    self.tcp[name] = free_port()
                    source["listen"] = f"127.0.0.1:{self.tcp[name]}"
            spec["edges"].append(keys)
            self.edges[name] = Daemon(self, EDGED, name)
        self.spec = spec
        self.token, self.context = None, None  # of HTTP, where there are keys
        self.keys = os.path.join(self.dir, spec["cluster"]["security"]["keys"]) if self.is_secure() else None
        self.write_config()
        if security and "security" not in (cluster or {}):
            self.keygen()

    def inside(self, name):
        """Where that daemon is started and asked: here. Clusters whose daemons have a network of their own say otherwise."""
        return contextlib.nullcontext()

    def write_config(self):
        with open(self.config + ".new", "w") as f:
            json.dump(self.spec, f, indent=1)  # JSON is YAML
        os.replace(self.config + ".new", self.config)  # a daemon that starts reads one or the other

    def keygen(self, *args):
        """weirctl keygen, for all or as args say."""
        r = subprocess.run([WEIRCTL, "keygen", "--config", self.config, *args], capture_output=True, text=True)
        assert r.returncode == 0, r.stdout + r.stderr
        return r.stdout

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for d in list(self.edges.values()) + list(self.clouds.values()):
            if d.process is not None:
                d.kill()
        if kind is not None:
            for d in list(self.edges.values()) + list(self.clouds.values()):
                if d.process is not None:
                    print(f"--- {d.name} (exit {d.process.returncode})\n{d.log_tail(15)}")
        if self.own_dir and not os.environ.get("WEIR_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, edges=True):
        for c in self.clouds.values():
            c.start()
        self.wait_ready()
        if edges:
            self.start_edges()

    def start_edges(self):
        for e in self.edges.values():
            e.start()
        for name in self.edges:
            self.wait_healthy(name)

    def wait_ready(self, names=None):
        for name in names or self.cloud_names:
            wait_for(f"{name} ready", lambda n=name: self.get(n, "/readyz") is not None)

    def wait_healthy(self, name):
        daemon = self.edges.get(name) or self.clouds[name]

        def healthy():
            if not daemon.running():
                raise AssertionError(f"{name} ended with {daemon.process.returncode}:\n{daemon.log_tail()}")
            return self.get(name, "/healthz") is not None
        wait_for(f"{name} healthy", healthy)

    def stop(self):
        for d in list(self.edges.values()) + list(self.clouds.values()):
            if d.process is not None:
                code = d.stop()
                assert code == 0, f"{d.name} ended with {code}:\n{d.log_tail()}"

    def is_secure(self):
        return self.spec["cluster"]["security"] != "none"

    def prepare_http(self):
        """With keys, HTTP needs certificates and a token: makes those that are missing."""
        if not self.is_secure() or self.token:
            return
        folder = os.path.join(self.dir, self.spec["cluster"]["security"]["keys"])

        def weirctl(*args):
            r = subprocess.run([WEIRCTL, *args, "--config", self.config], capture_output=True, text=True, cwd=self.dir)
            assert r.returncode == 0, r.stdout + r.stderr
            return r.stdout.strip()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not os.path.exists(os.path.join(folder, "ca.crt")):
            weirctl("tls", "renew")
        self.token_file = os.path.join(self.dir, "test.token")
        if not os.path.exists(self.token_file):
            weirctl("token", "add", "test", "--role", "admin", "--out", self.token_file)
        self.ca_file = os.path.join(folder, "ca.crt")
        self.context = ssl.create_default_context(cafile=self.ca_file)
        with open(self.token_file) as f:
            self.token = f.read().strip()

    def url(self, name):
        return f"http{'s' if self.is_secure() else ''}://127.0.0.1:{self.http[name]}"

    # ---- asking ---------------------------------------------------------------------------------------------

    def get(self, name, path, **params):
        query = urllib.parse.urlencode([(k, v) for k, vs in params.items()
                                        for v in (vs if isinstance(vs, list) else [vs])])
        with self.inside(name):
            return http_get(self.url(name) + path + ("?" + query if query else ""), token=self.token, context=self.context)

    def api(self, name, path, **params):
        """Asked again where a 503, or an answer that breaks off, is of a machine that stood still, over the time that answers may take, or
        leaders that it cost."""
        for last in (False, False, True):
            try:
                return json.loads(self.get(name, "/api/v1/" + path, **params))
            except (ApiError, BrokenOff) as e:
                if last or getattr(e, "status", 503) != 503 or not awake().stood_lately():
                    raise
                time.sleep(0.5)

    def query(self, node, stream, **params):
        """All rows of all pages; also checks the order and the shape that the contract promises."""
        rows, cursor = [], None
        while True:
            if cursor:
                params["cursor"] = cursor
            answer = self.api(node, "query", stream=stream, **params)
            rows += answer["rows"]
            cursor = answer["next"]
            if not cursor:
                answer["rows"] = rows
                return answer

    def metrics(self, name):
        """{(metric, ((label, value), ...)): number}"""
        return parse_metrics(self.get(name, "/metrics"))

    def ctl(self, *args, node=None, check=True, stdin=None, timeout=120):
        """weirctl, asking that node. check: it must succeed; where who serves it is away for the moment, it is asked again, as a person does."""
        end = time.monotonic() + DEADLINE_S
        while True:
            r = self.ctl_once(*args, node=node, stdin=stdin, timeout=timeout)
            if not check or r.returncode == 0:
                return r
            if "weirctl: unavailable: " not in r.stderr or time.monotonic() > end:
                raise AssertionError(f"weirctl {' '.join(args)}: exit {r.returncode}\n{r.stdout}{r.stderr}")
            time.sleep(0.25)

    def ctl_once(self, *args, node, stdin, timeout):
        node = node or self.cloud_names[0]
        where = ["--url", self.url(node)]
        if self.is_secure():
            where += ["--ca-file", self.ca_file, "--token-file", self.token_file]
        with self.inside(node):
            return subprocess.run([WEIRCTL, *where, *args], capture_output=True, text=True, input=stdin, timeout=timeout,
                                  cwd=self.dir)

    def total_count(self, node, stream, **params):
        return sum(r["values"]["count"] for r in self.query(node, stream, select="count", **params)["rows"])

    def wait_count(self, node, stream, count, state=None, **params):
        """Waits until the stream's rows (of its own window, of that state) hold `count` readings in all."""
        if state:
            params["state"] = state
        seen = []

        def enough():
            seen.append(self.total_count(node, stream, **params))
            assert seen[-1] <= count, f"{stream}: {seen[-1]} readings counted, {count} sent"
            return seen[-1] == count
        try:
            wait_for(f"{count} readings of {stream} ({state or 'any state'})", enough)
        except AssertionError as e:
            raise AssertionError(f"{e}; counts seen: {seen[-5:]}; streams: {self.api(node, 'streams')}; "
                                 f"edges: {self.api(node, 'edges')}") from None


def parse_metrics(text):
    out = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, value = line.rsplit(" ", 1)
        labels = ()
        if "{" in name:
            name, rest = name.split("{", 1)
            labels = tuple(sorted((p.split("=", 1)[0], p.split("=", 1)[1].strip('"'))
                                  for p in rest.rstrip("}").split('",') if p))
        out[(name, labels)] = float(value)
    return out


def metric_sum(metrics, name, **labels):
    return sum(v for (n, ls), v in metrics.items() if n == name and set(labels.items()) <= set(ls))


def edge_ledger(cluster, edge):
    """The two sums of semantics.md 6, as one edge's /metrics shows them; asserts that they balance."""
    m = cluster.metrics(edge)
    out = {k: metric_sum(m, f"weir_edge_readings_{k}_total") for k in ("read", "accepted", "refused", "unmatched")}
    assert out["read"] == out["accepted"] + out["refused"], out
    out.update(matched=0, aggregated=0, dropped=0)
    for s in sorted({dict(ls)["stream"] for (n, ls) in m if n == "weir_edge_stream_matched_total"}):
        matched = metric_sum(m, "weir_edge_stream_matched_total", stream=s)
        aggregated = metric_sum(m, "weir_edge_stream_aggregated", stream=s)
        dropped = metric_sum(m, "weir_edge_stream_dropped_total", stream=s)
        assert matched == aggregated + dropped, (s, matched, aggregated, dropped)
        out["matched"] += matched
        out["aggregated"] += aggregated
        out["dropped"] += dropped
    return out


def cloud_ledger(cluster):
    """Per stream: received = merged + dropped, in each node's own metrics (of every replica that it holds) and over all shards,
    each counted once; returns the latter: {stream: {...}}."""
    def check(counts, where):
        for s, c in counts.items():
            assert c["received"] == c["merged"] + c["dropped"], (where, s, dict(c))
        return counts
    for name in cluster.cloud_names:
        own = collections.defaultdict(collections.Counter)
        for (metric, labels), v in cluster.metrics(name).items():
            if metric == "weir_cloud_readings_total":
                labels = dict(labels)
                key = labels["result"] if labels["result"] in ("received", "merged") else "dropped"
                own[labels["stream"]][key] += v
        check(own, name)
    streams = cluster.api(cluster.cloud_names[0], "streams")["streams"]
    return check({s["name"]: collections.Counter(received=s["received"], merged=s["merged"], dropped=sum(s["dropped"].values()))
                  for s in streams}, "all")


# ---- oracle: a straightforward computation in other words than Weir's ---------------------------------------------

Reading = collections.namedtuple("Reading", "measurement tags field value time")


def parse_simple_lines(text):
    """Readings of line protocol without escapes: what traffic.lp and the tests' own generators hold."""
    out = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        head, fields, stamp = line.split(" ")
        measurement, *tags = head.split(",")
        for f in fields.split(","):
            key, value = f.split("=")
            out.append(Reading(measurement, dict(t.split("=") for t in tags), key, float(value.rstrip("iu")), int(stamp)))
    return out


def oracle_windows(readings, by, size_ns, advance_ns=None, offset_ns=0):
    """{(start, group tuple): [readings in (time, value) order]} of every window that holds a reading."""
    advance_ns = advance_ns or size_ns
    out = collections.defaultdict(list)
    for r in readings:
        group = tuple(r.tags.get(t, "") for t in by)
        start = (r.time - offset_ns) // advance_ns * advance_ns + offset_ns
        while start > r.time - size_ns:
            out[(start, group)].append((r.time, r.value))
            start -= advance_ns
    for values in out.values():
        values.sort()
    return out


def oracle_values(values):
    """values: sorted (time, value). First takes the smaller value of equal times, last the larger."""
    xs = [v for _, v in values]
    ordered = sorted(xs)
    n = len(xs)
    total = math.fsum(xs)
    out = {"count": n, "sum": total, "mean": total / n, "min": ordered[0], "max": ordered[-1],
           "first": values[0][1], "last": values[-1][1], "stddev": None}
    if n > 1:
        mean = total / n
        out["stddev"] = math.sqrt(math.fsum((x - mean) ** 2 for x in xs) / (n - 1))
    for p in (0, 1, 50, 90, 95, 99, 100):
        out[f"p{p}"] = ordered[max(1, math.ceil(p / 100 * n)) - 1]
    return out


def parse_time(text):
    """RFC 3339 UTC to ns."""
    base, _, frac = text.rstrip("Z").partition(".")
    import calendar
    secs = calendar.timegm(time.strptime(base, "%Y-%m-%dT%H:%M:%S"))
    return secs * NS + int((frac + "000000000")[:9])


def close_to(a, b, relative):
    return a == b or abs(a - b) <= relative * max(abs(a), abs(b))


def assert_rows(rows, expected, by, size_ns, select):
    """rows of an answer against oracle_windows(): the same windows and groups, in order, and every value right."""
    got = {}
    previous = None
    for row in rows:
        start = parse_time(row["start"])
        group = tuple(row["group"].get(t) for t in by)
        assert set(row["group"]) == set(by), row
        assert parse_time(row["end"]) == start + size_ns, row
        key = (start, group)
        assert key not in got, f"twice: {row}"
        assert previous is None or previous[0] <= start, f"out of order: {row}"
        previous = key
        got[key] = row
    missing = sorted(set(expected) - set(got))
    extra = sorted(set(got) - set(expected))
    assert not missing and not extra, f"missing {missing[:3]} ({len(missing)}), extra {extra[:3]} ({len(extra)})"
    for key, values in expected.items():
        want, row = oracle_values(values), got[key]
        for fn in select:
            have = row["values"][fn]
            if fn in ("count", "min", "max", "first", "last"):
                assert have == want[fn], (key, fn, have, want[fn], row)
            elif fn in ("sum", "mean"):
                assert close_to(have, want[fn], 1e-12), (key, fn, have, want[fn])
            elif fn == "stddev":
                assert (have is None) == (want[fn] is None), (key, fn, have, want[fn])
                assert have is None or abs(have - want[fn]) <= 1e-9 * max(1.0, abs(want["mean"])), (key, have, want[fn])
            else:
                assert close_to(have, want[fn], row["error"][fn] + 1e-12), (key, fn, have, want[fn], row)


def traffic_lines():
    path = os.path.join(SHARED_DATA, "traffic.lp")
    if not os.path.exists(path):
        raise unittest.SkipTest(f"the real readings are not here ({path})")
    with open(path) as f:
        return f.read().splitlines(keepends=True)
