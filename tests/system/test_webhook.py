"""A webhook's receiver behind TLS, one that is not what it should be, and one that answers without end."""

import os
import shutil
import ssl
import subprocess
import unittest

from test_sinks import Receiver, cluster, feed, hook, sink_sum, wait_equal
from weirtest import wait_for


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_ca(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out",
            name + ".crt", "-subj", "/CN=CA " + name, "-days", "2")


def make_server(folder, name, ca, host):
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".csr",
            "-subj", "/CN=" + name)
    with open(os.path.join(folder, name + ".ext"), "w") as f:
        f.write(f"subjectAltName={host}\n")
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", ca + ".crt", "-CAkey", ca + ".key", "-CAcreateserial", "-out", name + ".crt",
            "-days", "2", "-extfile", name + ".ext")


class TlsReceiver(Receiver):
    """As an HTTPS server with the certificate of that name; another one at its next start, if that is changed."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        super().__init__()

    def start(self):
        super().start()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(self.folder, self.name + ".crt"), os.path.join(self.folder, self.name + ".key"))
        # The handshake is its connection's thread's, or who does not finish it holds up the others.
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)

    def restart(self, name):
        self.stop()
        self.name = name
        self.start()


def log_has(c, text):
    wait_for(text, lambda: text in c.clouds["cloud-1"].log_tail(500))


def fails_again(c, sink):
    """Twice: the first may have been under way."""
    before = sink_sum(c, "failures_total", sink)
    wait_for("it fails again", lambda: sink_sum(c, "failures_total", sink) >= before + 2)


class Webhooks(unittest.TestCase):
    @unittest.skipIf(not shutil.which("openssl"), "not installed: openssl")
    def test_only_who_ca_file_vouches_for_gets_rows(self):
        with cluster([], clouds=1, cluster={"replicas": 1}) as c:
            for name in ("ca", "other"):
                make_ca(c.dir, name)
            make_server(c.dir, "right", "ca", "IP:127.0.0.1")
            make_server(c.dir, "strange", "other", "IP:127.0.0.1")
            make_server(c.dir, "elsewhere", "ca", "DNS:elsewhere.example")
            r = TlsReceiver(c.dir, "strange")
            c.spec["sinks"] = [hook(r, url=f"https://127.0.0.1:{r.port}/weir", ca_file="ca.crt"),
                               hook(r, name="system", url=f"https://127.0.0.1:{r.port}/weir")]
            c.write_config()
            feed(c, 0, 61)
            c.start()
            log_has(c, "sink hook: cannot deliver, which is tried again: https://127.0.0.1:")
            log_has(c, "certificate")
            r.restart("elsewhere")  # known, but not for this address
            fails_again(c, "hook")
            self.assertEqual(r.rows, [])
            r.restart("right")
            wait_equal(c, "cloud-1", lambda: r.rows, 7 * 20)
            wait_for("they count as delivered", lambda: sink_sum(c, "rows_total", "hook") == len(r.rows))
            self.assertEqual(sink_sum(c, "rows_total", "system"), 0)  # the system trusts no such CA
            self.assertEqual(sink_sum(c, "up", "system"), 0)
            r.restart("strange")  # somebody else takes its place while it runs
            have = len(r.rows)
            feed(c, 61, 30)
            wait_for("nobody gets anything", lambda: sink_sum(c, "up", "hook") == 0)
            self.assertEqual(len(r.rows), have)
            r.restart("right")
            wait_equal(c, "cloud-1", lambda: r.rows, 10 * 20)
            r.stop()

    def test_who_refuses_everything_is_not_the_receiver(self):
        """A 400 to all is a wrong address, not wrong rows: nothing is passed over."""
        r = Receiver()
        r.status = 400
        with cluster([hook(r)], clouds=1, cluster={"replicas": 1}) as c:
            feed(c, 0, 61)
            c.start()
            log_has(c, "all is refused, so it may not be what it should be: it answers 400")
            r.status = 415
            fails_again(c, "hook")
            self.assertEqual(sink_sum(c, "rejected_rows_total", "hook"), 0)
            r.status = 200
            wait_equal(c, "cloud-1", lambda: r.rows, 7 * 20)
            self.assertEqual(sink_sum(c, "rejected_rows_total", "hook"), 0)
            r.stop()

    def test_who_does_not_know_alerts_has_the_rows_all_the_same(self):
        r = Receiver()
        r.refuse_body = lambda body: 503 if "alerts" in body else None
        with cluster([hook(r)], clouds=1, cluster={"replicas": 1}) as c:
            c.spec["streams"][0]["alert"] = {"when": "count >= 1", "to": ["hook"]}
            c.write_config()
            feed(c, 0, 61)
            c.start()
            wait_equal(c, "cloud-1", lambda: r.rows, 7 * 20)
            failing = wait_for("alerts fail", lambda: sink_sum(c, "failing_seconds", "hook"))
            feed(c, 61, 60)
            wait_equal(c, "cloud-1", lambda: r.rows, 13 * 20)
            self.assertGreater(sink_sum(c, "failing_seconds", "hook"), failing)
            self.assertEqual(sink_sum(c, "up", "hook"), 0)
            r.refuse_body = lambda body: 400 if "alerts" in body else None
            # Known by then to be the receiver: what it refuses one by one is passed over.
            wait_for("the alerts are passed over", lambda: sink_sum(c, "rejected_rows_total", "hook") >= 20)
            wait_for("it is up", lambda: sink_sum(c, "up", "hook") == 1)
            r.stop()

    def test_an_answer_without_end_counts_by_its_status(self):
        """The rows are with it, as it said: else they would come again for ever."""
        r = Receiver()
        r.answer = b"x" * (3 << 20)
        with cluster([hook(r, batch_rows=50)], clouds=1, cluster={"replicas": 1}) as c:
            feed(c, 0, 61)
            c.start()
            wait_equal(c, "cloud-1", lambda: r.rows, 7 * 20)
            wait_for("they count as delivered", lambda: sink_sum(c, "rows_total", "hook") == len(r.rows))
            self.assertEqual(sink_sum(c, "failures_total", "hook"), 0)
            r.stop()


if __name__ == "__main__":
    unittest.main()
