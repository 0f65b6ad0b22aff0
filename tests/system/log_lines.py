"""What the daemons can say in their logs at the levels warn and error, taken from the source: for the page that explains each."""
import os
import re

import weirtest

CALL = re.compile(r"\b(?:log_warn|log_error)\(|\blog_write\((?:LOG_LEVEL_ERROR|LOG_LEVEL_WARN|warn|ok)\b")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Texts that another function logs as they are: (file, what begins such a call). An information among them is as good as a warning here.
TEXTS = [("cloudd/notices.c", re.compile(r"\bsay_marked\(n, true, |xasprintf\(|buf_printf\(&text, (?=\"OUTDATED)")),
         ("cloudd/sinks.c", re.compile(r"\bsink_say\([^,]+, true, |\bxasprintf\((?=\"(?:%llu|cannot))")),
         ("common/keys.c", re.compile(r"\breport_broken\(k, xasprintf\(|\breport_broken\(k, ")),
         ("common/http_auth.c", re.compile(r"xasprintf\((?=\"[^\"]*cannot be read again)"))]
FOLDERS = ("cloudd", "common", "edged")


def arguments(text, at):
    """What stands between a call's bracket, which is before `at`, and the one that ends it."""
    depth, i = 1, at
    while depth:
        m = LITERAL.match(text, i)
        if m:
            i = m.end()
            continue
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        i += 1
    return text[at:i - 1]


def message(call):
    """The format that a call's arguments begin with, behind the module: its literals, joined."""
    module = re.match(r"\s*\"[a-z]+\",", call)
    out, i = "", module.end() if module else 0
    while i < len(call):
        m = LITERAL.match(call, i)
        pri = re.compile(r"\s*PRI([a-zA-Z])\d+\s*|\s+").match(call, i)
        if m:
            out += m.group(1)
        elif pri:
            out += pri.group(1) or ""
        else:
            break
        i = (m or pri).end()
    return out.replace('\\"', '"')


CONVERSION = re.compile(r"%[-+ 0#]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j)?[a-zA-Z]")


def essence(fmt):
    """What of a message tells it from others and is always there, without the fields behind `;`: the first part of some length between
    its conversions, of one sentence; "" where all of it comes from elsewhere."""
    for text in (fmt.split("; ")[0], fmt):
        text = re.sub(r"[ ;]+\w+=%.*", "", text)
        parts = [p.strip(" :,.;()") for piece in CONVERSION.split(text) for p in re.split(r"(?<=[a-z}])\. ", piece)]
        best = next((p for p in parts if len(p) > 9), max(parts, key=len))
        if len(best) > 5:
            return best
    return ""


def all_messages():
    """[(file, line, format)]"""
    out = []
    for folder in FOLDERS:
        for name in sorted(os.listdir(os.path.join(weirtest.ROOT, folder))):
            path = folder + "/" + name
            if not name.endswith(".c"):
                continue
            with open(os.path.join(weirtest.ROOT, path)) as f:
                text = f.read()
            for pattern in [CALL] + [p for other, p in TEXTS if other == path]:
                for m in pattern.finditer(text):
                    opens = m.end() if pattern is not CALL else text.index("(", m.start()) + 1
                    call = arguments(text, opens)
                    if pattern is CALL and call.startswith(("LOG_LEVEL", "warn", "ok", "level")):
                        call = call.split(",", 1)[1]
                    out.append((path, text.count("\n", 0, m.start()) + 1, message(call)))
    return out


if __name__ == "__main__":
    for path, line, fmt in all_messages():
        print(f"{path}:{line}: {fmt!r} [{essence(fmt)}]")
