"""`./dev bench replicate`: writes that three nodes hold, of Weir and of two yardsticks, in one run on one machine and one disk."""

import os

import yardsticks as y

PROBE_S, RUN_S = 2, 5
CONCURRENCIES = (1, 16, 128)


class Report:
    """Prints figures with the share of a core that the load generator took: near 1 it would be what is measured."""

    def __init__(self, say, servers_cpu):
        self.say, self.servers_cpu = say, servers_cpu

    def load(self, name, unit, run, note):
        """Runs a load; its rate is printed and what the generator said is returned."""
        before = self.servers_cpu()
        r = run()
        cpu = self.servers_cpu() - before
        failed = f", {r['failed']} FAILED ({r['failure']})" if r["failed"] else ""
        self.say(name, f"{r['per_s']:.0f}", unit, f"{note}; p50 {r['p50_ms']:.1f} ms, p99 {r['p99_ms']:.1f} ms; servers used {cpu:.1f} "
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


def ratio(say, name, ours, theirs, aim, note):
    if ours and theirs:
        say(name, f"{ours / theirs:.1f}", f"times (aim {aim})", note)


def bench(w, say):
    folders = [os.path.join(w.BUILD, "yardsticks", "usr", d) for d in ("bin", "sbin")]
    etcd, nats = None, None
    print("etcd 3.4: acknowledged when a majority has fsynced (its default); through its JSON gateway")
    try:
        etcd = measure_etcd(w, say, folders)
    except y.Missing as e:
        print(f"skipped: {e}")
    print("NATS JetStream 2.9, R3, file storage: acknowledged when a majority has written, NOT fsynced (its default; files are fsynced every "
          "2 minutes, and this version has no setting for it)")
    try:
        nats = measure_nats(w, say, folders)
    except y.Missing as e:
        print(f"skipped: {e}")
    return etcd, nats
