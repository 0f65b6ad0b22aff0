"""The images that deploy/docker/ is about: Weir's own, of its Dockerfile and the packages that are there; and, as no registry need be
reached, a broker and a Prometheus of Debian's, in the place of their makers'."""

import os
import shutil
import tempfile

import engine
import packages

WEIR = "weir-test/weir"
OTHERS = "weir-test/others"
DEPLOY = os.path.join(engine.ROOT, "deploy", "docker")


def weir(eng):
    """The image of the Dockerfile, out of the packages. Skips where there are none."""
    debs = packages.find()
    with engine.locked("image"), tempfile.TemporaryDirectory(prefix="weir-test-image-") as context:
        shutil.copytree(DEPLOY, os.path.join(context, "deploy", "docker"))
        shutil.copy(os.path.join(engine.ROOT, ".dockerignore"), context)
        os.mkdir(os.path.join(context, "build-package"))
        for path in debs.values():
            shutil.copy2(path, os.path.join(context, "build-package"))  # with their times, so that what was built of them stands
        eng.build(WEIR, context, os.path.join(context, "deploy", "docker", "Dockerfile"), {"BASE": eng.base()})
    return WEIR


def others(eng):
    """mosquitto and Prometheus, their folders as in eclipse-mosquitto and prom/prometheus."""
    text = f"""FROM {eng.base()}
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends mosquitto mosquitto-clients prometheus \\
 && rm -rf /var/lib/apt/lists/* \\
 && install -d -o 1883 -g 1883 /mosquitto/data /mosquitto/log && install -d -o 65534 -g 65534 /prometheus
VOLUME ["/mosquitto/data", "/mosquitto/log"]
"""
    with engine.locked("others"):
        eng.build(OTHERS, None, text)
    return OTHERS


def prepare(eng):
    weir(eng)
    others(eng)
