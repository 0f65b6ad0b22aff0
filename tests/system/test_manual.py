"""The manual pages and completions that are made of the programs' own tables: nothing of a --help is missing in them, the pages are sound,
and real shells complete what they should."""

import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

from weirtest import BUILD, CLOUDD, DEADLINE_S, EDGED, ROOT, WEIRCTL

PROGRAMS = {"edged": (EDGED, "8"), "cloudd": (CLOUDD, "8"), "weirctl": (WEIRCTL, "1")}
PAGES = {"edged.8", "cloudd.8", "weirctl.1", "topology.yaml.5"}

TOPOLOGY = """version: 1
cluster: {name: plant, shards: 8}
cloud:
  - {name: cloud-1, listen: "tcp://127.0.0.1:7101", http: "127.0.0.1:8101", data: run/cloud-1}
  - {name: cloud-2, listen: "tcp://127.0.0.1:7102", http: "127.0.0.1:8102", data: run/cloud-2}
edges:
  - {name: edge-1, data: run/edge-1, sources: [{type: tcp, listen: "127.0.0.1:7201"}]}
streams:
  - {name: speed, from: {measurement: traffic, field: speed}, window: 1m}
  - {name: level, from: {measurement: tank, field: level}, window: 1m}
"""

# What is asked of every shell: a line up to the cursor, and all that may come next (None: anything with these among it).
NODES = ["cloud-1", "cloud-2", "edge-1"]
CASES = [
    ("weirctl no", ["node", "nodes"]),
    ("weirctl edge ", ["allow", "readmit", "revoke"]),
    ("weirctl edge readmit ", ["edge-1"]),
    ("weirctl node remove ", ["cloud-1", "cloud-2"]),
    ("weirctl check --no", ["--node"]),
    ("weirctl check --node ", NODES),
    ("weirctl check --node=cl", ["cloud-1", "cloud-2"]),
    ("weirctl check other.yaml --node ", ["other-cloud", "other-edge"]),
    ("weirctl keygen --config other.yaml --rotate ", ["other-cloud", "other-edge"]),
    ("weirctl keygen --config=other.yaml ", ["other-cloud", "other-edge"]),
    ("weirctl --url http://a:1 query s", ["speed"]),
    ("weirctl -o json watch ", ["level", "speed"]),
    ("weirctl alerts -s ", ["level", "speed"]),
    ("weirctl query speed --st", ["--stale", "--state"]),
    ("weirctl -o ", ["csv", "json", "table"]),
    ("weirctl --output=", ["csv", "json", "table"]),
    ("weirctl token add x --role ", ["admin", "read", "write"]),
    ("weirctl apply o", ["other.yaml"]),
    ("edged --no", ["--node"]),
    ("edged --node ", ["edge-1"]),
    ("edged --config other.yaml --node ", ["other-edge"]),
    ("edged --log-level=d", ["debug"]),
    ("cloudd --node ", ["cloud-1", "cloud-2"]),
    ("cloudd --config o", ["other.yaml"]),
]


def needs(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    return unittest.skipIf(missing, "not installed: " + ", ".join(missing))


def page(name):
    with open(os.path.join(BUILD, "man", name), encoding="ascii") as f:
        return f.read()


def completion(shell, program):
    return os.path.join(BUILD, "completions", shell, {"bash": "%s", "zsh": "_%s", "fish": "%s.fish"}[shell] % program)


def help_of(program, *command):
    return subprocess.run([PROGRAMS[program][0], *command, "--help"], capture_output=True, text=True, check=True).stdout


def options_in(text):
    """The options that a help has in its columns, long and short."""
    return set(re.findall(r"^ {6}(--[a-z-]+)", text, re.M)) | set(
        o for pair in re.findall(r"^  (-\w), (--[a-z-]+)", text, re.M) for o in pair)


def commands_of_weirctl():
    """Each command with the words that make it, as the help has them."""
    part = help_of("weirctl").split("\nCommands:\n")[1].split("\n\n")[0]
    rows = re.findall(r"^  ((?:[a-z]+ )*[a-z]+)\b", part, re.M)
    return sorted({re.match(r"((?:edge|node|token|store|tls) )?[a-z]+", r).group(0) for r in rows})


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, **more)


class Manual(unittest.TestCase):
    def test_nothing_of_a_help_is_missing_in_a_page(self):
        for name, (_, section) in PROGRAMS.items():
            text = page(f"{name}.{section}").replace("\\-", "-")
            said = help_of(name)
            for option in options_in(said):
                self.assertRegex(text, r"\\fB" + option + r"\\fR", f"{name}.{section} lacks {option}")
            variables = re.findall(r"^  ([A-Z][A-Z_]+)\b", said.split("\nEnvironment:\n")[1], re.M)
            self.assertIn("WEIR_CONFIG", variables)
            for variable in variables:
                self.assertIn(f"\\fB{variable}\\fR", text)
            for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "FILES", "SIGNALS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
                self.assertIn(f'.SH "{heading}"' if heading != "NAME" else ".SH NAME", text)
        text = page("weirctl.1").replace("\\-", "-")
        for command in commands_of_weirctl():
            section = re.search(rf'^\.SS "{command}\b.*?(?=^\.S[HS] )', text, re.M | re.S)
            self.assertTrue(section, f"weirctl.1 lacks {command}")
            for option in options_in(help_of("weirctl", *command.split())) - options_in(help_of("weirctl")):
                self.assertIn(f"\\fB{option}\\fR", section.group(0), command)

    def test_every_variable_of_the_environment_is_in_a_page(self):
        read = set()
        for folder in ("common", "edged", "cloudd", "ctl"):
            for name in os.listdir(os.path.join(ROOT, folder)):
                if name.endswith(".c"):
                    with open(os.path.join(ROOT, folder, name), encoding="utf-8") as f:
                        read |= set(re.findall(r'(?:getenv|_variable|ctl_option)\([^;]*?"([A-Z][A-Z_]+)"', f.read()))
        self.assertLessEqual({"WEIR_CONFIG", "WEIR_NODE", "WEIR_DATA", "WEIR_URL", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"}, read)
        pages = "".join(page(p) for p in PAGES)
        ours = {v for v in read if not re.match(r"LC_|LANG$|JOURNAL_STREAM$|TERM$|WATCHDOG_PID$", v)}
        self.assertEqual([], sorted(v for v in ours if f"\\fB{v}\\fR" not in pages))

    @needs("groff")
    def test_pages_are_sound_and_fit(self):
        """No word of groff's, and no line over 80 columns, also where the terminal is narrow nothing but examples."""
        for name in PAGES:
            path = os.path.join(BUILD, "man", name)
            for columns in (80, 60):
                r = run(["groff", "-ww", "-mandoc", "-Tascii", "-P-cbou", f"-rLL={columns}n", path])
                self.assertEqual("", r.stderr, name)
                limit = 80 if columns == 80 else 200
                self.assertEqual([], [line for line in r.stdout.splitlines() if len(line) > limit], name)
                self.assertEqual([], [line for line in r.stdout.splitlines() if re.search(r"\\f|\\\(|\*\*|`|\]\(|\{\{", line)
                                      and not line.startswith("           ")], name)

    @needs("mandoc")
    def test_mandoc_finds_nothing(self):
        for name in PAGES:
            r = run(["mandoc", "-Tlint", "-Wwarning", os.path.join(BUILD, "man", name)])
            told = [line for line in r.stdout.splitlines() + r.stderr.splitlines() if "missing date" not in line]  # the same text, the same page
            self.assertEqual([], told, name)


class Completions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="weir-test-")
        for name, text in (("topology.yaml", TOPOLOGY),
                           ("other.yaml", TOPOLOGY.replace("cloud-1", "other-cloud").replace("edge-1", "other-edge"))):
            text = re.sub(r"(?m)^.*cloud-2.*\n", "", text) if name == "other.yaml" else text
            with open(os.path.join(cls.folder.name, name), "w", encoding="ascii") as f:
                f.write(text)
        cls.path = os.path.dirname(WEIRCTL) + os.pathsep + os.environ["PATH"]
        cls.env = {"PATH": cls.path, "HOME": cls.folder.name, "WEIR_CONFIG": os.path.join(cls.folder.name, "topology.yaml"),
                   "TERM": "dumb", "LC_ALL": "C.UTF-8"}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def shell(self, command, text):
        r = run(command, input=text, env=self.env, cwd=self.folder.name)
        self.assertEqual((0, ""), (r.returncode, r.stderr))
        return r.stdout

    def answers(self, text):
        """{line: what was offered} of lines "> LINE", each followed by one line for each offer."""
        found = {}
        for line in text.splitlines():
            if line.startswith("> "):
                at = found.setdefault(line[2:], [])
            else:
                at.append(line)
        return {line: sorted(set(offers)) for line, offers in found.items()}

    def every_option(self):
        """Lines that end where an option may come, with all that their help has."""
        for program in PROGRAMS:
            yield f"{program} --", options_in(help_of(program))
        for command in commands_of_weirctl():
            yield f"weirctl {command} --", options_in(help_of("weirctl", *command.split()))

    # ---- bash

    def bash(self, lines):
        script = "".join(f". {completion('bash', p)}\n" for p in PROGRAMS) + r"""
ask() # LINE: as bash asks, with the line cut at blanks, and at = and :
{
    local rest=$1 word
    COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=()
    while [[ -n $rest ]]; do
        word=${rest%%[[:space:]=:]*}
        [[ -n $word || $rest != [=:]* ]] || word=${rest%%[!=:]*}
        [[ -z $word ]] || COMP_WORDS+=("$word")
        rest=${rest#"$word"}
        [[ $rest != [[:space:]] ]] || COMP_WORDS+=("")
        rest=${rest#"${rest%%[![:space:]]*}"}
    done
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _${COMP_WORDS[0]}
    printf '> %s\n' "$1"
    [[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\n' "${COMPREPLY[@]}"
}
while IFS= read -r line; do ask "$line"; done <<'LINES'
""" + "\n".join(lines) + "\nLINES\n"
        return self.answers(self.shell(["bash", "--norc"], script))

    def test_bash_offers_what_may_come(self):
        for program in PROGRAMS:
            self.assertEqual("", run(["bash", "-n", completion("bash", program)]).stderr)
        answers = self.bash([line for line, _ in CASES])
        for line, offers in CASES:
            self.assertEqual(offers, answers[line], line)

    def test_bash_offers_every_command_and_option(self):
        options = dict(self.every_option())
        answers = self.bash(list(options) + ["weirctl "])
        for line, wanted in options.items():
            self.assertEqual({o for o in wanted if o.startswith("--")}, set(answers[line]), line)
        self.assertEqual({c.split()[0] for c in commands_of_weirctl()}, set(answers["weirctl "]))

    def test_bash_completes_in_a_terminal(self):
        """Through readline, which cuts words in its own way."""
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.folder.name)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], dict(self.env, PS1="", INPUTRC="/dev/null"))
        try:
            self.type(fd, f". {completion('bash', 'weirctl')}; bind 'set enable-bracketed-paste off'; weirctl() {{ printf '<%s>' \"$@\"; echo; }}\n")
            for typed, given in (("weirctl --output=j\t\n", "<--output=json>"),
                                 ("weirctl check --node=e\t\n", "<check><--node=edge-1>"),
                                 ("weirctl --url http://a:1 query s\t\n", "<--url><http://a:1><query><speed>"),
                                 ("weirctl apply o\t\n", "<apply><other.yaml>")):
                self.type(fd, typed)
                self.read_until(fd, given)
        finally:
            os.close(fd)  # bash ends with its terminal
            os.waitpid(pid, 0)

    def type(self, fd, text):
        os.write(fd, text.encode())

    def read_until(self, fd, wanted):
        seen, end = "", time.monotonic() + DEADLINE_S
        while wanted not in seen:
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            self.assertTrue(ready, f"waited in vain for {wanted} in {seen!r}")
            seen += os.read(fd, 65536).decode()

    # ---- fish

    def fish(self, lines):
        script = "".join(f"source {completion('fish', p)}\n" for p in PROGRAMS)
        for line in lines:
            script += f"echo '> {line}'\ncomplete -C '{line}' | string replace -r '\\t.*' ''\n"
        script += "true\n"
        return self.answers(self.shell(["fish", "--no-config"], script))

    @needs("fish")
    def test_fish_offers_what_may_come(self):
        for program in PROGRAMS:
            r = run(["fish", "--no-execute", completion("fish", program)], env=self.env)
            self.assertEqual((0, ""), (r.returncode, r.stderr))
        answers = self.fish([line for line, _ in CASES])
        for line, offers in CASES:
            got = [re.sub(r"^--[a-z-]+=", "", o) for o in answers[line]]
            self.assertEqual(offers, [o for o in got if o not in ("adir/",)], line)

    @needs("fish")
    def test_fish_offers_every_command_and_option(self):
        options = dict(self.every_option())
        answers = self.fish(list(options) + ["weirctl "])
        for line, wanted in options.items():
            self.assertEqual({o for o in wanted if o.startswith("--")}, set(o.rstrip("=") for o in answers[line]), line)
        self.assertEqual({c.split()[0] for c in commands_of_weirctl()}, set(answers["weirctl "]))

    # ---- zsh

    def zsh(self, lines):
        """Asked in a terminal, where compadd tells what it is given to offer."""
        script = r"""
zmodload zsh/zpty
zpty asked zsh -f -i
until_said() { local some all; while [[ $all != *$1* ]] && zpty -r asked some; do all+=$some; done; REPLY=$all }
zpty -w asked "PROMPT='' PS2=''; stty -echo; unset zle_bracketed_paste; fpath=(FOLDER \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w asked 'compadd() { local -a offers; builtin compadd -O offers "$@"; print -rl -- "<"$^offers">"; builtin compadd "$@" }'
zpty -w asked "bindkey '^I' complete-word; finish() { zle kill-whole-line; print -r -- '@@end' }; zle -N finish; bindkey '^T' finish; LISTMAX=1000"
zpty -w asked "print @@'ready'"
until_said @@ready
while IFS= read -r line; do
    zpty -n -w asked "$line"$'\t\x14'
    until_said @@end
    print -r -- "> $line"
    print -r -- "$REPLY" | grep -ao '<[^<>]*>' | tr -d '<>'
done <<'LINES'
""".replace("FOLDER", os.path.join(BUILD, "completions", "zsh")) + "\n".join(lines) + "\nLINES\nzpty -d asked\n"
        return self.answers(self.shell(["zsh", "-f"], script))

    @needs("zsh")
    def test_zsh_offers_what_may_come(self):
        for program in PROGRAMS:
            self.assertEqual("", run(["zsh", "-n", completion("zsh", program)]).stderr)
        answers = self.zsh([line for line, _ in CASES])
        for line, offers in CASES:
            self.assertEqual(offers, answers[line], line)

    @needs("zsh")
    def test_zsh_offers_every_command_and_option(self):
        options = dict(self.every_option())
        answers = self.zsh(list(options) + ["weirctl "])
        for line, wanted in options.items():
            self.assertEqual({o for o in wanted if o.startswith("--")}, {o for o in answers[line] if o.startswith("--")}, line)
        self.assertEqual({c.split()[0] for c in commands_of_weirctl()}, set(answers["weirctl "]))


if __name__ == "__main__":
    unittest.main()
