"""librdkafka's own mock cluster beside a test (kafka_mock.c), started and stopped by process id: Debian has no Kafka broker."""

import collections
import json
import os
import subprocess
import threading
import unittest

import weirtest
from weirtest import wait_for

PROGRAM = os.path.join(weirtest.BUILD, "tests", "system", "kafka_mock")
needed = unittest.skipUnless(os.path.exists(PROGRAM), "tests/system/kafka_mock is not built (make tests/system/kafka_mock; not --without-kafka)")

Record = collections.namedtuple("Record", "topic partition offset key value headers")


class Mock:
    """with Mock() as k: k.bootstrap; k.command("down 1"); k.records of what k.command("consume TOPIC 4") has it read."""

    def __init__(self, brokers=2):
        self.brokers = brokers
        self.records, self.received, self.figures, self.done = [], 0, 0, []
        self.bootstrap = None

    def __enter__(self):
        self.process = subprocess.Popen([PROGRAM, str(self.brokers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        wait_for("the mock cluster", lambda: self.bootstrap)
        return self

    def __exit__(self, kind, value, trace):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "key" in said:
                headers = {name: bytes.fromhex(v).decode() for name, v in said["headers"].items()}
                self.records.append(Record(said["topic"], said["partition"], said["offset"], bytes.fromhex(said["key"]).decode(),
                                           bytes.fromhex(said["value"]), headers))
            elif "received" in said:
                self.received, self.figures = said["received"], said["figures"]
            elif "bootstrap" in said:
                self.bootstrap = said["bootstrap"].split(",")
            else:
                self.done.append(said["done"])

    def command(self, line):
        before = len(self.done)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        wait_for(line, lambda: len(self.done) > before)
        assert self.done[-1] == line

    def wire_bytes(self):
        """That the consumer has had from brokers, with all that it has told of."""
        self.command("received")
        before = self.figures

        def newer():
            self.command("received")
            return self.figures > before + 1
        wait_for("figures", newer)
        return self.received

    def of(self, topic):
        return [r for r in list(self.records) if r.topic == topic]

    def rows(self, topic):
        return [json.loads(r.value) for r in self.of(topic)]
