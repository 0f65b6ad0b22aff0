"""What is in the packages, taken apart on this machine: pages of the manual, completions, examples, and links that lead somewhere."""

import glob
import gzip
import os
import re
import subprocess
import tempfile
import unittest

import packages

PAGES = {"weirctl": "man1/weirctl.1", "edged": "man8/edged.8", "cloudd": "man8/cloudd.8", "topology.yaml": "man5/topology.yaml.5"}
COMPLETIONS = ("bash-completion/completions/%s", "zsh/vendor-completions/_%s", "fish/vendor_completions.d/%s.fish")
LINK = re.compile(r"\]\(([^)\s#]*)(?:#[^)\s]*)?\)")


class Contents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="weir-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.root = folder.name
        for path in packages.find().values():
            subprocess.run(["dpkg-deb", "-x", path, cls.root], check=True)

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def test_pages_of_the_manual(self):
        for name, page in PAGES.items():
            with gzip.open(self.path(f"/usr/share/man/{page}.gz"), "rt") as f:
                self.assertRegex(f.read(), rf"(?m)^{re.escape(name)} \\- \w")

    def test_completions(self):
        for program in ("weirctl", "edged", "cloudd"):
            for place in COMPLETIONS:
                self.assertGreater(os.path.getsize(self.path("/usr/share/" + place % program)), 100)

    def test_a_first_topology_and_examples(self):
        with open(self.path("/usr/share/weir/topology.yaml")) as first, open(self.path("/usr/share/doc/weirctl/examples/one-machine/topology.yaml")) as example:
            self.assertEqual(first.read(), example.read())
        self.assertTrue(os.access(self.path("/usr/share/doc/weirctl/examples/fleet/generate"), os.X_OK))
        for name in ("rules.yaml", "rules.test.yaml", "grafana.json"):
            self.assertTrue(os.path.exists(self.path("/usr/share/weir/observe/" + name)), name)

    def test_links_of_pages_lead_somewhere(self):
        pages = glob.glob(self.path("/usr/share/doc/**/*.md"), recursive=True)
        self.assertGreater(len(pages), 30)
        dead = []
        for page in pages:
            with open(page) as f:
                text = re.sub(r"^ *```.*?^ *```", "", f.read(), flags=re.M | re.S)
            for to in LINK.findall(text):
                if to and ":" not in to and not os.path.exists(self.path(to) if to.startswith("/") else os.path.join(os.path.dirname(page), to)):
                    dead.append((os.path.relpath(page, self.root), to))
        self.assertEqual(dead, [])
