"""The examples of the pages of sinks that need no other side."""
import contextlib
import os
import signal
import unittest

import docs_example


class SinkPages(unittest.TestCase):
    def test_file(self):
        with docs_example.Example("docs/sinks/file.md") as e:
            e.run()

    def test_webhook(self):
        with docs_example.Example("docs/sinks/webhook.md") as e:
            try:
                e.run()
            finally:
                with contextlib.suppress(OSError, ValueError), open(os.path.join(e.dir, "receiver.pid")) as f:
                    os.kill(int(f.read()), signal.SIGKILL)


if __name__ == "__main__":
    unittest.main()
