#!/usr/bin/env python3
"""The fuzzers' corpora as text, and back as the files that libFuzzer reads.

corpus.py unpack TARGET FOLDER   what tests/fuzz/corpus/TARGET holds, as one file each
corpus.py pack TARGET FOLDER START   replaces corpus/TARGET/found.hex by FOLDER's files that are not in START, which was made
                                 for the run, by encoders or from here (./dev fuzz --keep merges them first)

corpus/TARGET holds inputs written by hand (NAME.txt, as they are) and *.hex: one input a line, in hexadecimal; lines that begin with
# are comments. A finding goes into findings.hex, with a comment that says what it was; found.hex is what fuzzing came across.
"""
import hashlib
import os
import sys

FOUND_BYTES_MAX = 20_000  # of one target's found.hex, before it is text, the shortest first: the tree stays small
INPUT_BYTES_MAX = 4_000


def inputs(folder):
    """Every input of a corpus folder, in a fixed order."""
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        if name.endswith(".txt"):
            with open(path, "rb") as f:
                yield f.read()
        elif name.endswith(".hex"):
            with open(path, encoding="ascii") as f:
                for line in f:
                    if line.strip() and not line.startswith("#"):
                        yield bytes.fromhex(line)


def unpack(corpus, out):
    os.makedirs(out, exist_ok=True)
    for data in inputs(corpus):
        with open(os.path.join(out, hashlib.sha1(data).hexdigest()), "wb") as f:
            f.write(data)


def files(folder):
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as f:
            yield f.read()


def pack(corpus, folder, start):
    os.makedirs(corpus, exist_ok=True)
    path = os.path.join(corpus, "found.hex")
    every = set(inputs(corpus))
    if os.path.exists(path):
        os.unlink(path)
    mine = every - set(inputs(corpus))  # were found before: they may stay
    known = set(files(start)) - mine | set(inputs(corpus))
    found = set(files(folder))
    room = FOUND_BYTES_MAX
    with open(path, "w", encoding="ascii") as out:
        for data in sorted(found - known, key=lambda d: (len(d), d)):
            if not data or len(data) > min(room, INPUT_BYTES_MAX):
                continue
            room -= len(data)
            out.write(data.hex() + "\n")


def main(argv):
    if len(argv) != {"unpack": 4, "pack": 5}.get(argv[1] if len(argv) > 1 else "", 0):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    here = os.path.dirname(os.path.abspath(__file__))
    {"pack": pack, "unpack": unpack}[argv[1]](os.path.join(here, "corpus", argv[2]), *argv[3:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
