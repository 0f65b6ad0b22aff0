"""A real MQTT broker (mosquitto) of the test's own, publishers, and a link to it that breaks."""

import contextlib
import os
import random
import select
import shutil
import socket
import subprocess
import threading
import unittest

import weirtest
from weirtest import wait_for

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def needs_broker(test):
    try:
        import paho.mqtt.client  # noqa: F401
        paho = True
    except ImportError:
        paho = False
    missing = [p for p, have in (("mosquitto", MOSQUITTO), ("python3-paho-mqtt", paho)) if not have]
    return unittest.skipIf(missing, "not installed: " + ", ".join(missing))(test)


class Broker:
    """extra: lines for mosquitto.conf; without a listener of its own it listens on self.port of 127.0.0.1, for everybody. config: a file that
    is there, to which only the user is added (as root it would become another, who may not write here)."""

    def __init__(self, folder, extra="", port=None, config=None):
        self.folder, self.port = folder, port or weirtest.free_port()
        self.process = None
        os.makedirs(os.path.join(folder, "broker"), exist_ok=True)
        if config:
            self.config = config
            with open(config, "a") as f:
                f.write("user root\n")
            return
        self.config = os.path.join(folder, "broker", "mosquitto.conf")
        listen = "" if "listener" in extra else f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
        with open(self.config, "w") as f:
            f.write(f"user root\npersistence true\npersistence_location {folder}/broker/\nautosave_interval 1\n"
                    f"max_queued_messages 0\nlog_dest file {folder}/broker/log\n{listen}{extra}\n")

    def start(self):
        with open(os.path.join(self.folder, "broker", "out"), "ab") as out:
            self.process = subprocess.Popen([MOSQUITTO, "-c", self.config], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out)
        wait_for("the broker", self._listens)
        return self

    def _listens(self):
        if self.process.poll() is not None:
            raise AssertionError("mosquitto ended: " + self.log())
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def stop(self):
        """SIGTERM: it keeps its sessions."""
        self.process.terminate()
        assert self.process.wait(weirtest.DEADLINE_S) == 0

    def log(self):
        text = ""
        for name in ("out", "log"):
            with contextlib.suppress(OSError), open(os.path.join(self.folder, "broker", name), errors="replace") as f:
                text += f.read()
        return text

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if kind is not None:
            print("--- mosquitto\n" + "\n".join(self.log().splitlines()[-10:]))


class Publisher:
    """publish() returns at once; flush() when the broker has acknowledged all."""

    def __init__(self, port, **options):
        import paho.mqtt.client as mqtt
        self.client = mqtt.Client(**options)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.waiting = []

    def publish(self, topic, payload, qos=1, retain=False):
        self.waiting.append(self.client.publish(topic, payload, qos, retain))

    def flush(self):
        for info in self.waiting:
            info.wait_for_publish(weirtest.DEADLINE_S)
            assert info.is_published(), "the broker did not take a message"
        self.waiting = []

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()


class BreakingLink:
    """Forwards connections to a port and breaks each, in both directions, after a random number of bytes: first what goes up is swallowed
    (acknowledgements that the edge believes to have sent), then both ends are closed. breaks False: it does not; swallows: what goes up is
    lost while that is set."""

    def __init__(self, target, seed, most_bytes):
        self.target, self.random, self.most_bytes = target, random.Random(seed), most_bytes
        self.broken = 0
        self.breaks, self.swallows = True, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.closing, self.wake = socket.socketpair()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while True:
            ready, _, _ = select.select([self.listener, self.closing], [], [])
            if self.closing in ready:
                return
            down, _ = self.listener.accept()
            try:
                up = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                down.close()
                continue
            with up, down:
                self._forward(up, down)

    def _forward(self, up, down):
        """One connection at a time: an edge has one."""
        limit = self.random.randrange(200, self.most_bytes)
        swallow, passed = limit - self.random.randrange(0, 200), 0
        while True:
            ready, _, _ = select.select([up, down, self.closing], [], [], None if passed < swallow else 0.05)
            if self.closing in ready or not ready:
                break
            for s, other in ((up, down), (down, up)):
                if s not in ready:
                    continue
                try:
                    data = s.recv(64)
                except OSError:
                    data = b""
                if not data:
                    return
                passed += len(data)
                if self.breaks and passed > limit:
                    self.broken += 1
                    return
                if s is down and (self.swallows or (self.breaks and passed > swallow)):
                    continue
                other.sendall(data)
            if not self.breaks:
                passed = 0

    def close(self):
        self.wake.send(b"x")
        self.thread.join()
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()
