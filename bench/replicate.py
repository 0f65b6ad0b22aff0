"""`./dev bench replicate`: writes that three nodes hold, of Weir and of two yardsticks, in one run on one machine and one disk."""

import os
import subprocess
import time

import yardsticks as y

PROBE_S, RUN_S, IDLE_S = 2, 5, 8
CONCURRENCIES = (1, 16, 128)


class Report:
    """Prints figures with the share of a core that the load generator took: near 1 it would be what is measured."""

    def __init__(self, say, servers_cpu):
        self.say, self.servers_cpu = say, servers_cpu

    def load(self, name, unit, run, note):
        """Runs a load; its rate (of what the generator counts, or of its requests) is printed and what the generator said is returned."""
        before = self.servers_cpu()
        r = run()
        cpu = self.servers_cpu() - before
        failed = f", {r['failed']} FAILED ({r['failure']})" if r["failed"] else ""
        self.say(name, f"{r['requests_per_s' if unit == 'proposals/s' else 'per_s']:.0f}", unit, f"{note}; p50 {r['p50_ms']:.1f} ms, p99 {r['p99_ms']:.1f} ms; servers used {cpu:.1f} "
                 f"core-s, the load generator {r['client_cpu_s']:.1f}{failed}")
        return r

    def latency(self, name, run, note):
        r = run()
        failed = f", {r['failed']} FAILED ({r['failure']})" if r["failed"] else ""
        self.say(name, f"{r['p50_ms']:.1f}", "ms (p50)", f"p99 {r['p99_ms']:.1f} ms, at {r['requests_per_s']:.0f} requests/s: {note}{failed}")
        return r


def best(candidates, probe):
    """The candidate whose short run did the most."""
    return max(candidates, key=lambda c: probe(c)["per_s"])


# ---- Weir ------------------------------------------------------------------------------------------------------------

SHARDS, IDLE_SHARDS = 8, 63
BATCH_BYTES, SINGLE_BYTES = 65536, 1024


class Weir:
    """Three clouds, and edges' names for the load generator, which is all the edges itself: each run needs names that are new."""

    def __init__(self, w, cluster):
        self.w, self.cluster, self.next_edge = w, cluster, 0

    def begin_at_leader(self, shard):
        """The next edge is one that speaks to the shard's leader first: edge n begins with cloud n modulo their number."""
        leader = next(s["leader"] for s in self.cluster.api("cloud-1", "cluster")["shards"] if s["shard"] == shard)
        while self.cluster.cloud_names[self.next_edge % y.NODES] != leader:
            self.next_edge += 1

    def cpu_seconds(self):
        return sum(d.cpu_seconds() for d in self.cluster.clouds.values())

    def load(self, edges, shards, window, size, seconds, rate=0, per_s_max=0, compressed=False):
        """per_s_max: batches/s that the generator is prepared for."""
        pool = int(per_s_max * (seconds + 0.5) / (edges * shards)) + 20
        first, self.next_edge = self.next_edge, self.next_edge + edges
        return y.run_load(self.w, "bench_cloud", "-f", self.cluster.config, "-a", first, "-e", edges, "-s", shards, "-n", window, "-b", size,
                          "-t", seconds, "-w", 0.5, "-r", rate, "-p", pool, *(["-1"] if compressed else []), timeout_s=120)


def weir_cluster(w, shards, edges):
    stream = {"name": "s", "from": {"measurement": "m", "field": "v"}, "by": ["k", "site"], "window": "10s", "lateness": "1s",
              "compute": ["count", "sum", "mean", "min", "max", "p50", "p99"], "retain": "forever", "max_groups": 1000000}
    return w.Cluster(clouds=y.NODES, edges={f"edge-{i}": {"sources": [{"type": "stdin"}]} for i in range(edges)}, streams=[stream],
                     cluster={"shards": shards, "replicas": y.NODES})


def measure_weir(w, say):
    out = {"single": {}}
    with weir_cluster(w, SHARDS, 100) as c:
        c.start(edges=False)
        out["replicas"] = min(len(s["replicas"]) for s in c.api("cloud-1", "cluster")["shards"])
        weir = Weir(w, c)
        report = Report(say, weir.cpu_seconds)
        note = "acknowledged when a majority of %d has fsynced, and applied" % out["replicas"] if out["replicas"] > 1 else \
            "ONE replica of each shard: not comparable; acknowledged when fsynced and applied"
        print(f"Weir, {out['replicas']} replica(s) of each of {SHARDS} shards on three nodes: {note}")

        def batches(choice, seconds, rate=0, per_s_max=2000):
            return weir.load(choice[0], SHARDS, choice[1], BATCH_BYTES, seconds, rate, per_s_max)
        probes = {choice: batches(choice, PROBE_S) for choice in ((3, 1), (3, 4), (6, 1))}
        chosen = max(probes, key=lambda choice: probes[choice]["per_s"])
        ready_for = probes[chosen]["requests_per_s"] * 1.5 + 100
        r = report.load("Weir: partials, in batches of 64 KiB", "partials/s", lambda: batches(chosen, RUN_S, 0, ready_for),
                        f"{chosen[0]} edges x {SHARDS} shards, {chosen[1]} batch(es) under way on each")
        print(f"    {r['batch_partials']:.0f} partials a batch, {r['partial_bytes']:.0f} bytes each; {r['body_bytes']:.0f} bytes a batch after zstd")
        out["partials"] = r["per_s"]
        half = r["requests_per_s"] / 2
        report.latency("Weir: such a batch at half that load", lambda: batches(chosen, RUN_S, half, half * 1.2), "from due to acknowledged")

        def singles(concurrency, seconds, rate=0, per_s_max=0):
            shards = min(concurrency, SHARDS)
            if concurrency == 1:
                weir.begin_at_leader(0)
            return weir.load(concurrency // shards, shards, 1, SINGLE_BYTES, seconds, rate, per_s_max, compressed=True)
        for n, ready_for in zip(CONCURRENCIES, (5000, 15000, 25000)):
            r = report.load(f"Weir: single 1 KiB batches, concurrency {n}", "proposals/s", lambda: singles(n, RUN_S, 0, ready_for),
                            "each edge waits for its shard's answer before its next one")
            out["single"][n] = r["requests_per_s"]
        print(f"    {r['batch_partials']:.0f} partials a batch; {r['body_bytes']:.0f} bytes after zstd; the rates of these rows count batches")
        half = r["requests_per_s"] / 2
        report.latency("Weir: single batches at half the load of 128", lambda: singles(128, RUN_S, half, half * 1.2), "from due to acknowledged")
    with weir_cluster(w, IDLE_SHARDS, 0) as c:
        c.start(edges=False)
        time.sleep(3)  # elections and first leaders' moves are over; this measures the time after them
        weir = Weir(w, c)
        before, began = weir.cpu_seconds(), time.monotonic()
        time.sleep(IDLE_S)
        cpu = (weir.cpu_seconds() - before) / (time.monotonic() - began)
        say(f"Weir: {IDLE_SHARDS + 1} idle groups on three nodes, processor", f"{cpu * 100:.1f}", "% of one core", "sum of the three")
        rss = [d.rss_bytes() / 2**20 for d in c.clouds.values()]
        say(f"Weir: {IDLE_SHARDS + 1} idle groups, resident memory", f"{sum(rss):.1f}", "MiB", "sum; each: " + ", ".join(f"{x:.1f}" for x in rss))
    return out


# ---- yardsticks ------------------------------------------------------------------------------------------------------


def measure_etcd(w, say, folders):
    with y.Etcd(w, y.find_program("etcd", folders)) as e:
        report = Report(say, e.cpu_seconds)
        txns, puts = e.bodies("txns", 200, y.etcd_txn(100)), e.bodies("puts", 5000, y.etcd_put())

        def txn(choice, seconds, rate=0):
            return e.load("/v3/kv/txn", txns, choice[1], seconds, choice[0], units=100, rate=rate)

        def put(choice, seconds, rate=0):
            return e.load("/v3/kv/put", puts, choice[1], seconds, choice[0], rate=rate)

        where = {False: "all to the leader", True: "over all three nodes"}
        chosen = best([(False, 16), (False, 64), (True, 64)], lambda c: txn(c, PROBE_S))
        batched = report.load("etcd: 1 KiB puts, 100 a transaction", "puts/s", lambda: txn(chosen, RUN_S),
                              f"{chosen[1]} connections, {where[chosen[0]]}")
        report.latency("etcd: such a transaction at half that load", lambda: txn(chosen, RUN_S, batched["requests_per_s"] / 2), "100 puts each")
        single, spread = {}, best([False, True], lambda a: put((a, 128), PROBE_S))
        for c in CONCURRENCIES:
            every = c > 1 and spread
            single[c] = report.load(f"etcd: single 1 KiB puts, concurrency {c}", "puts/s", lambda: put((every, c), RUN_S), where[every])
        report.latency("etcd: single puts at half the load of 128", lambda: put((every, 128), RUN_S, single[128]["per_s"] / 2), where[every])
        return {"batched": batched["per_s"], "single": {c: r["per_s"] for c, r in single.items()}}


def measure_nats(w, say, folders):
    out = {}
    with y.Nats(w, y.find_program("nats-server", folders)) as n:
        report = Report(say, n.cpu_seconds)
        targets = [n.create_stream(f"s{i}") for i in range(3)]

        def publish(choice, size, seconds, rate=0):
            streams, window = choice
            return n.load(targets[:streams], streams, window, size, seconds, rate)
        chosen = best([(1, 512), (3, 256), (3, 512), (3, 1024)], lambda c: publish(c, 211, PROBE_S))
        note = f"{chosen[0]} stream{'s' if chosen[0] > 1 else ''}, a connection to the leader of each, {chosen[1]} under way on each"
        for size in (211, 1024):
            r = report.load(f"JetStream: messages of {size} bytes, acknowledged", "messages/s", lambda: publish(chosen, size, RUN_S), note)
            report.latency("JetStream: such a message at half that load", lambda: publish(chosen, size, RUN_S, r["per_s"] / 2), note)
            out[size] = r["per_s"]
    return out


def bench(w, say):
    began = time.monotonic()
    folders = [os.path.join(w.BUILD, "yardsticks", "usr", d) for d in ("bin", "sbin")]
    weir = measure_weir(w, say)
    failed = []

    def yardstick(measure, what):
        print(what)
        try:
            return measure(w, say, folders)
        except y.Missing as e:
            print(f"skipped: {e}")
        except (AssertionError, OSError, subprocess.SubprocessError) as e:  # the others are still worth having
            print(f"FAILED: {e}")
            failed.append(what)
        return None
    etcd = yardstick(measure_etcd, "etcd 3.4: acknowledged when a majority has fsynced (its default); through its JSON gateway")
    nats = yardstick(measure_nats, "NATS JetStream 2.9, R3, file storage: acknowledged when a majority has written, NOT fsynced (its default; "
                     "files are fsynced every 2 minutes, and this version has no setting for it)")
    weir_is = f"Weir: fsynced, {weir['replicas']} replica(s)"
    if etcd:
        say("Weir partials/s : etcd batched puts/s", f"{weir['partials'] / etcd['batched']:.1f}", "times (aim 10)", f"{weir_is}; etcd: fsynced, 3")
        for n in CONCURRENCIES:
            say(f"Weir proposals/s : etcd puts/s, concurrency {n}", f"{weir['single'][n] / etcd['single'][n]:.1f}", "times (aim 2)",
                f"{weir_is}; etcd: fsynced, 3")
    if nats:
        say("Weir partials/s : JetStream messages/s of 211 bytes", f"{weir['partials'] / nats[211]:.1f}", "times (aim 5)",
            f"{weir_is}; JetStream: not fsynced, 3")
    print(f"took {time.monotonic() - began:.0f} s")
    if failed:
        raise SystemExit(1)
