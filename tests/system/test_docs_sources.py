"""The examples of the pages of sources that need no other side."""
import unittest

import docs_example


class SourcePages(unittest.TestCase):
    def test_tcp(self):
        with docs_example.Example("docs/sources/tcp.md") as e:
            e.run()

    def test_file(self):
        with docs_example.Example("docs/sources/file.md") as e:
            e.run()

    def test_stdin(self):
        with docs_example.Example("docs/sources/stdin.md") as e:
            e.start(edges=False)  # the page starts it, at the end of a pipe
            e.run_blocks()

    def test_simulate(self):
        with docs_example.Example("docs/sources/simulate.md") as e:
            e.run()
