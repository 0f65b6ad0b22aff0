"""The example of docs/alerts.md."""
import unittest

import docs_example


class AlertsPage(unittest.TestCase):
    def test_example(self):
        with docs_example.Example("docs/alerts.md") as e:
            e.run()


if __name__ == "__main__":
    unittest.main()
