"""docs/sources.md shows how to add a type of source: it is taken from the page, compiled and run, beside the tree that it is of."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import docs_example
import weirtest
from weirtest import http_get, metric_sum, parse_metrics, wait_for

PAGE = "docs/sources.md"
LINES_MAX = 100


class Adding(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-test-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.blocks = {info[2:]: text for info, text in docs_example.blocks(PAGE) if info.startswith("c ")}

    def put(self, path, text):
        place = os.path.join(self.dir, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w") as f:
            f.write(text)
        return place

    def changed(self, path, pattern, replacement):
        """A copy of a file of the tree with one place changed, there or in the copy that is there already."""
        copy = os.path.join(self.dir, path)
        with open(copy if os.path.exists(copy) else os.path.join(weirtest.ROOT, path)) as f:
            text, n = re.subn(pattern, lambda m: replacement(m), f.read(), count=1, flags=re.S)
        self.assertEqual(n, 1, f"{path}: no place for it")
        return self.put(path, text)

    def make_variables(self):
        """Compiler, flags and libraries of the build, as its Makefile has them."""
        names = {"compile": "$(CC) $(DEFS) -I. $(AM_CPPFLAGS) $(CPPFLAGS) $(libweircommon_a_CFLAGS) $(libweiredge_a_CFLAGS) $(CFLAGS)",
                 "flags": "$(AM_LDFLAGS) $(LDFLAGS)", "libraries": "$(edged_edged_LDADD) $(LIBS)"}
        mk = self.put("ask.mk", "include Makefile\n" + "".join(f"ask-{k}:\n\t@echo {v}\n" for k, v in names.items()))
        return {k: subprocess.run(["make", "-s", "-f", mk, "ask-" + k], cwd=weirtest.BUILD, text=True, check=True,
                                  stdout=subprocess.PIPE).stdout.splitlines()[-1].split() for k in names}

    def run_all(self, commands):
        """Two at a time: compilers."""
        running = []
        for c in commands + [None, None]:
            if len(running) == 2 or c is None:
                p = running.pop(0) if running else None
                if p:
                    out = p.communicate()[0]
                    self.assertEqual(p.returncode, 0, out)
            if c:
                running.append(subprocess.Popen(c, cwd=weirtest.BUILD, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))

    def build(self):
        """Compiles what knows how many types there are, and links it before the build's libraries."""
        make = self.make_variables()
        sources = [os.path.join(self.dir, "edged/source_loadavg.c")]
        for path in sorted(glob.glob(weirtest.ROOT + "/common/*.c") + glob.glob(weirtest.ROOT + "/edged/*.c")):
            name = os.path.relpath(path, weirtest.ROOT)
            with open(path) as f:
                if re.search(r"SOURCE_TYPE(S|_COUNT)\b", f.read()):
                    copy = os.path.join(self.dir, name)
                    sources.append(copy if os.path.exists(copy) else path)
        objects = [os.path.join(self.dir, os.path.basename(s)[:-2] + ".o") for s in sources]
        self.run_all([[*make["compile"], f"-iquote{self.dir}", "-c", s, "-o", o]
                      for s, o in zip(sources, objects)])
        edged = os.path.join(self.dir, "edged-loadavg")
        self.run_all([[*make["compile"], *make["flags"], "-o", edged, "edged/main.o", *objects, *make["libraries"]]])
        return edged

    def test_what_the_page_shows_works(self):
        source = self.blocks["edged/source_loadavg.c"]
        fields, entry = self.blocks["common/topology_source.c fields"], self.blocks["common/topology_source.c source_schemas"]
        lines = sum(b.count("\n") for b in (source, fields, entry, self.blocks["common/model.h"]))
        self.assertLess(lines, LINES_MAX)
        self.put("edged/source_loadavg.c", source)
        self.changed("common/model.h", r"(#define SOURCE_TYPES\(X\).*?\))\n(?=enum)",
                     lambda m: m.group(1) + " \\\n" + self.blocks["common/model.h"])
        self.changed("common/topology_source.c", r"(?=static void source_defaults\()", lambda m: fields + "\n")
        self.changed("common/topology_source.c", r"(?<=\n)\};\n\nstatic const char \*const type_names", lambda m: entry + m.group(0))
        edged = self.build()
        with docs_example.Example(PAGE) as e:
            edge = f"http://127.0.0.1:{e.port['8201']}"
            daemon = e.start_daemon(edged, "edge-1")
            wait_for("readings", lambda: metric_sum(parse_metrics(http_get(edge + "/metrics")), "weir_edge_source_lines_total",
                                                    source="loadavg-1") >= 3)
            m = parse_metrics(http_get(edge + "/metrics"))
            self.assertEqual(metric_sum(m, "weir_edge_readings_refused_total"), 0)
            self.assertGreaterEqual(metric_sum(m, "weir_edge_stream_matched_total", stream="load"), 9)
            daemon.terminate()
            self.assertEqual(daemon.wait(30), 0)
            with open(e.topology) as f:
                text = f.read()
            with open(e.topology, "w") as f:
                f.write(text.replace("every: 100ms", "evry: 100ms"))
            r = subprocess.run([edged, "--config", e.topology, "--check"], text=True, capture_output=True)
            self.assertEqual(r.returncode, 2)
            self.assertIn("did you mean `every`", r.stderr)
