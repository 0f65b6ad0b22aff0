"""udp, unix and statsd sources with senders that are not ours: collectd, socat, nc, Debian's StatsD clients. Senders and edge are
restarted in the middle; what the edge says it took is what the clouds have, to the reading."""

import asyncio
import csv
import glob
import importlib.util
import io
import math
import os
import shutil
import signal
import socket
import subprocess
import unittest

import docs_example
from weirtest import DEADLINE_S, EDGED, NS, Cluster, edge_ledger, free_port, http_get, metric_sum, wait_for

T0 = 1_700_000_000 * NS


def needs(*programs):
    missing = [p for p in programs if not shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin")]
    return unittest.skipIf(missing, f"{', '.join(missing)} not installed (./dev deps)")


def needs_module(name):
    return unittest.skipUnless(importlib.util.find_spec(name), f"Debian's python3-{name} is not installed (./dev deps)")


def stream(name, measurement, field, by=(), compute=("count", "sum"), window="1m"):
    return {"name": name, "from": {"measurement": measurement, "field": field}, "by": list(by), "window": window,
            "compute": list(compute), "retain": "forever"}


def cluster(sources, streams):
    edge = {"sources": sources, "tick": "100ms", "flush": "300ms", "idle_after": "1s"}
    return Cluster(clouds=1, edges={"edge-1": edge}, streams=streams, cluster={"shards": 2})


def lines_of(c, name):
    """What the source has taken and what it has refused since the edge was started."""
    m = c.metrics("edge-1")
    return (metric_sum(m, "weir_edge_source_lines_total", source=name), metric_sum(m, "weir_edge_source_bad_lines_total", source=name))


def restart(c, kill=False):
    edge = c.edges["edge-1"]
    if kill:
        edge.kill()
    else:
        assert edge.stop() == 0
    edge.start()
    c.wait_healthy("edge-1")


class Udp(unittest.TestCase):
    @needs("collectd")
    def test_page_and_collectd(self):
        """What collectd writes to its own files is what comes out, though it and the edge are restarted."""
        with docs_example.Example("docs/sources/udp.md") as e:
            e.run()
            self.collect(e)
            self.collect(e)  # it is restarted
            wait_for("all is counted", lambda: self.counted(e) == self.written(e))
            name, edge = e.daemons.pop()
            edge.terminate()
            self.assertEqual(edge.wait(30), 0)
            e.start_daemon(EDGED, name)
            wait_for("the edge", lambda: http_get("http://" + e.here("127.0.0.1:8201") + "/healthz"))
            self.collect(e)
            wait_for("all is counted", lambda: self.counted(e) == self.written(e))

    def collect(self, e):
        folder = os.path.join(e.dir, "collectd")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "main.conf"), "w") as f:
            f.write(f'Hostname "gw-1"\nBaseDir "{folder}"\nPIDFile "{folder}/pid"\nPluginDir "/usr/lib/collectd"\n'
                    f'TypesDB "/usr/share/collectd/types.db"\nInterval 0.1\nLoadPlugin csv\n'
                    f'<Plugin csv>\n  DataDir "{folder}/csv"\n</Plugin>\nInclude "{e.dir}/collectd.conf"\n')
        before = self.written(e)[0]
        with open(os.path.join(folder, "log"), "ab") as log:
            p = subprocess.Popen(["/usr/sbin/collectd", "-f", "-C", os.path.join(folder, "main.conf")], stdout=log, stderr=log)
        try:
            wait_for("collectd to write", lambda: self.written(e)[0] >= before + 3)
        finally:
            p.terminate()
            p.wait(30)

    def written(self, e):
        """(values, their sum) of collectd's own files."""
        values = []
        for path in glob.glob(os.path.join(e.dir, "collectd", "csv", "gw-1", "load", "*")):
            with open(path) as f:
                values += [float(row["shortterm"]) for row in csv.DictReader(f)]
        return len(values), round(math.fsum(values), 6)

    def counted(self, e):
        out = e.command("weirctl query load --select count,sum -o csv").stdout
        rows = list(csv.DictReader(io.StringIO(out)))
        return sum(int(r["count"]) for r in rows), round(math.fsum(float(r["sum"]) for r in rows), 6)

    def test_accepted_and_refused_and_dropped_is_sent(self):
        with cluster([{"type": "udp", "listen": f"127.0.0.1:{free_port()}", "buffer": "64KiB"}], [stream("s", "m", "v")]) as c:
            c.start()
            port = int(c.spec["edges"][0]["sources"][0]["listen"].split(":")[1])
            sent = Datagrams(port)
            taken = []

            def all_told():
                lines, refused = lines_of(c, "udp-1")
                dropped = metric_sum(c.metrics("edge-1"), "weir_edge_source_dropped_datagrams_total")
                taken[:] = [lines, refused, dropped]
                return lines + refused + dropped * Datagrams.LINES == sent.lines
            sent.send(2000)
            wait_for("every line is told of", all_told)
            first = taken[0]
            self.assertGreater(first, 0)
            self.assertEqual(taken[0], taken[1] * (Datagrams.LINES - 1))
            restart(c)
            c.wait_count("cloud-1", "s", first)

            # The sender is another one, and the edge is killed once all is committed, which the cloud's count tells.
            sent = Datagrams(port)
            sent.send(200)
            wait_for("every line is told of", all_told)
            second = first + taken[0]
            c.wait_count("cloud-1", "s", second)
            restart(c, kill=True)
            self.assertEqual(edge_ledger(c, "edge-1")["accepted"], second)

            # What is under way when it is killed may be lost; what it says it took is what is there.
            sent = Datagrams(port)
            sent.send(200)
            wait_for("some came", lambda: lines_of(c, "udp-1")[0] > 0)
            restart(c, kill=True)
            third = edge_ledger(c, "edge-1")["accepted"]
            self.assertTrue(second <= third <= second + sent.lines)
            c.wait_count("cloud-1", "s", third)
            c.stop()


    def test_what_the_kernel_holds_at_a_clean_stop_counts(self):
        """More than a turn of the loop takes, and a connection's bytes, all of which came while it could not read."""
        with cluster([{"type": "udp", "listen": f"127.0.0.1:{free_port()}"}, {"type": "tcp"}], [stream("s", "m", "v")]) as c:
            c.start()
            edge, port = c.edges["edge-1"], int(c.spec["edges"][0]["sources"][0]["listen"].split(":")[1])
            with socket.create_connection(("127.0.0.1", c.tcp["edge-1"])) as connection:
                connection.sendall(f"m v=1 {T0}\n".encode())
                wait_for("the connection is taken", lambda: lines_of(c, "tcp-1")[0] == 1)
                edge.signal(signal.SIGSTOP)
                sent = Datagrams(port)
                sent.send(3000)
                connection.sendall(b"".join(f"m v={i} {T0}\n".encode() for i in range(1000)))
                edge.signal(signal.SIGTERM)
                edge.signal(signal.SIGCONT)
                self.assertEqual(edge.stop(), 0)
            edge.start()
            c.wait_healthy("edge-1")
            self.assertEqual(edge_ledger(c, "edge-1")["accepted"], 1001 + sent.lines // Datagrams.LINES * (Datagrams.LINES - 1))
            c.stop()


class Datagrams:
    """A sender of datagrams of some lines, one of which is bad."""
    LINES = 10

    def __init__(self, port):
        self.socket, self.address, self.lines = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", port), 0

    def send(self, datagrams):
        for i in range(datagrams):
            text = "".join(f"m v={k} {T0 + i * 1000 + k}\n" for k in range(self.LINES - 1)) + "m v= 1"
            self.socket.sendto(text.encode(), self.address)
            self.lines += self.LINES


class Unix(unittest.TestCase):
    @needs("socat")
    def test_page(self):
        with docs_example.Example("docs/sources/unix.md") as e:
            e.run()

    @needs("socat", "nc")
    def test_socat_and_nc_through_restarts(self):
        sources = [{"type": "unix", "path": "in.sock"}, {"type": "unix", "path": "in.dgram", "socket": "datagram", "mode": "0600"}]
        with cluster(sources, [stream("s", "m", "v")]) as c:
            c.start()
            stream_path, dgram_path = os.path.join(c.dir, "in.sock"), os.path.join(c.dir, "in.dgram")
            self.assertEqual(os.stat(stream_path).st_mode & 0o7777, 0o660)
            self.assertEqual(os.stat(dgram_path).st_mode & 0o7777, 0o600)
            sent = 0

            def send(how, count):
                nonlocal sent
                text = "".join(f"m v={i} {T0 + (sent + i) * 1000}\n" for i in range(count))
                subprocess.run(how, input=text.encode(), check=True, timeout=DEADLINE_S)
                sent += count

            def counted():
                # A sender that has ended may leave what it sent with the kernel; the edge's stop does not wait for that.
                wait_for("all is taken", lambda: sum(lines_of(c, n)[0] for n in ("unix-1", "unix-2")) + before == sent)
                c.wait_count("cloud-1", "s", sent)
            before = 0
            send(["nc", "-NU", stream_path], 5000)
            send(["socat", "-u", "STDIN", f"UNIX-CONNECT:{stream_path}"], 5000)
            send(["socat", "-u", "-b", "8192", "STDIN", f"UNIX-SENDTO:{dgram_path}"], 100)
            counted()
            restart(c)
            before = sent
            send(["nc", "-NU", stream_path], 100)
            counted()
            restart(c, kill=True)  # both files are still there
            before = sent
            send(["socat", "-u", "STDIN", f"UNIX-CONNECT:{stream_path}"], 100)
            send(["socat", "-u", "-b", "8192", "STDIN", f"UNIX-SENDTO:{dgram_path}"], 100)
            counted()
            self.assertEqual(edge_ledger(c, "edge-1")["accepted"], sent)
            c.stop()
            self.assertFalse(os.path.exists(stream_path) or os.path.exists(dgram_path))


class Statsd(unittest.TestCase):
    TAGGED = {("tagged.hits", "/cart"): [50, 50], ("tagged.get", "/cart"): [50, 1225], ("tagged.size", "/"): [50, 50 * 512]}

    def test_page(self):
        with docs_example.Example("docs/sources/statsd.md") as e:
            e.run()

    @needs_module("statsd")
    @needs_module("aiodogstatsd")
    def test_clients_through_restarts(self):
        import statsd
        udp, tcp = free_port(), free_port()
        sources = [{"type": "statsd", "name": "udp", "listen": f"127.0.0.1:{udp}"},
                   {"type": "statsd", "name": "tcp", "listen": f"127.0.0.1:{tcp}", "socket": "stream"},
                   {"type": "statsd", "name": "unix", "path": "statsd.sock", "socket": "stream"}]
        streams = [stream("hits", "app.hits", "counter", compute=["count", "sum"], window="1h"),
                   stream("tagged", "tagged.*", "*", by=["metric", "endpoint"], compute=["count", "sum", "max"], window="1h"),
                   stream("timers", "*", "timer", by=["metric"], compute=["count", "p50", "max"], window="1h"),
                   stream("fuel", "app.fuel", "gauge", compute=["count", "last"], window="1h"),
                   stream("users", "app.users", "set", compute=["count", "distinct(member)"], window="1h")]
        with cluster(sources, streams) as c:
            c.start()
            taken = 0

            def all_taken(more):
                nonlocal taken
                taken += more
                wait_for("all is taken", lambda: sum(lines_of(c, s["name"])[0] for s in sources) + before == taken)
            before = 0
            client = statsd.StatsClient("127.0.0.1", udp, prefix="app")
            for i in range(100):
                client.incr("hits", 2)
                client.timing("get", i)
                client.set("users", f"user-{i % 7}")
            client.gauge("fuel", 50)
            client.gauge("fuel", -8, delta=True)
            all_taken(302)
            over_tcp = statsd.TCPStatsClient("127.0.0.1", tcp, prefix="app")
            over_unix = statsd.UnixSocketStatsClient(os.path.join(c.dir, "statsd.sock"), prefix="app")
            for other in (over_tcp, over_unix):
                with other.pipeline() as p:
                    for i in range(100):
                        p.incr("hits")
                other.close()
            all_taken(200)
            asyncio.run(self.dogstatsd(udp))
            all_taken(150)
            self.eventually(c, "hits", {(): [300, 400]})
            self.eventually(c, "tagged", self.TAGGED)
            restart(c, kill=True)  # all of it is in the cloud, so all is committed; the gauge goes on from where it stood

            before = taken
            client = statsd.StatsClient("127.0.0.1", udp, prefix="app")
            client.gauge("fuel", 3, delta=True)
            client.incr("hits", 5)
            all_taken(2)
            self.eventually(c, "hits", {(): [301, 405]})
            self.eventually(c, "fuel", {(): [3, 45]}, "count", "last")
            self.eventually(c, "timers", {("app.get",): [100, 99], ("tagged.get",): [50, 49]}, "count", "max")
            self.eventually(c, "users", {(): [100, 7]}, "count", "distinct(member)")
            self.eventually(c, "tagged", self.TAGGED)
            self.assertEqual(edge_ledger(c, "edge-1")["accepted"], taken)
            self.assertEqual(edge_ledger(c, "edge-1")["refused"], 0)
            c.stop()

    async def dogstatsd(self, port):
        import aiodogstatsd
        async with aiodogstatsd.Client(host="127.0.0.1", port=port, namespace="tagged", constant_tags={"endpoint": "/cart"},
                                       read_timeout=0.05) as client:
            for i in range(50):
                client.increment("hits")
                client.timing("get", value=i)
                client.distribution("size", value=512, tags={"endpoint": "/"})

    def eventually(self, c, name, expected, *functions):
        functions = functions or ("count", "sum")

        # The clients say no time, so it is that of the edge: one long window holds all of it.
        rows = lambda: c.query("cloud-1", name, select=",".join(functions), window="1000h")["rows"]  # noqa: E731
        wait_for(f"{name} to be {expected}",
                 lambda: {tuple(r["group"].values()): [r["values"][f] for f in functions] for r in rows()} == expected)


if __name__ == "__main__":
    unittest.main()
