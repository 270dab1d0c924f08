#!/usr/bin/env python3
"""What scripts/book does with the pages: see there. Nothing but the standard library."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
DOCS = HERE / "docs"
REPOSITORY = "https://github.com/pipelight/virshle/blob/master/"
LINK = re.compile(r"(?<!\\)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^)]*\))?)\)")
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<text>.*?)^ *```$", re.M | re.S)


def pages():
    """The pages of the book, in its order, and the README, which comes first."""
    summary = (DOCS / "SUMMARY.md").read_text()
    named = [DOCS / target for target in re.findall(r"\]\(([^)]+\.md)\)", summary)]
    return [HERE / "README.md", *named]


def without_code(text):
    return re.sub(r"`[^`\n]+`", "`code`", FENCE.sub("", text))


# --- links


def anchors(path):
    """The anchors of a page's headings, as GitHub and mdBook make them."""
    seen, found = {}, set()
    for heading in re.findall(r"^#{1,6} +(.+?)#*$", FENCE.sub("", path.read_text()), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def links():
    wrong = []
    every = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=HERE, capture_output=True, text=True, check=True,
    ).stdout.split()
    in_book = set(pages())
    for name in every:
        page = HERE / name
        if not page.exists():
            continue
        listed = page in in_book or page.parent == DOCS / "decisions"
        if DOCS in page.parents and page.name != "SUMMARY.md" and not listed:
            wrong.append(f"{name}: docs/SUMMARY.md does not have it")
        text = page.read_text()
        body = without_code(text)
        targets = LINK.findall(body) + re.findall(r'(?:src|href)="([^"]+)"', body)
        for target in targets + re.findall(r"^\[[^\]]+\]: +(\S+)", body, re.M):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            if not there.exists():
                wrong.append(f"{name}: {target}: there is no such file")
            elif anchor and there.suffix == ".md" and anchor not in anchors(there):
                wrong.append(f"{name}: {target}: no such heading")
    finish("links", wrong, f"the links of {len(every)} pages lead somewhere")


def repository(arguments):
    """The preprocessor: links that leave docs/ lead to the repository."""
    if arguments[:1] == ["supports"]:
        sys.exit(0)
    _context, book = json.load(sys.stdin)

    def each(items):
        for item in items:
            chapter = item.get("Chapter") if isinstance(item, dict) else None
            if not chapter:
                continue
            if chapter.get("path"):
                page = DOCS / chapter["path"]

                def lead(match):
                    target = match.group(1)
                    if re.match(r"[a-z][a-z0-9+.-]*:|#", target):
                        return match.group(0)
                    there = (page.parent / target.partition("#")[0]).resolve()
                    if DOCS in there.parents or there == DOCS or HERE not in there.parents:
                        return match.group(0)
                    away = REPOSITORY + target_path(there, target)
                    return match.group(0).replace(f"({target})", f"({away})")

                chapter["content"] = LINK.sub(lead, chapter["content"])
            each(chapter.get("sub_items", []))

    def target_path(there, target):
        anchor = target.partition("#")[2]
        return str(there.relative_to(HERE)) + (f"#{anchor}" if anchor else "")

    items = book.get("items") or book.get("sections") or []
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter and chapter.get("path") == "decisions/README.md":
            chapter["sub_items"] = [decision(path) for path in sorted((DOCS / "decisions").glob("[0-9]*.md"))]
    each(items)
    json.dump(book, sys.stdout)


def decision(path):
    """A decision as a chapter: they are in the book without being listed one by one."""
    text, name = path.read_text(), str(path.relative_to(DOCS))
    return {"Chapter": {
        "name": text.split("\n", 1)[0].lstrip("# ").strip(), "content": text, "number": None, "sub_items": [],
        "path": name, "source_path": name, "parent_names": ["Decisions"],
    }}


# --- what is generated


def schema_keys():
    """docs/reference/keys.md, from the schema."""
    schema = json.loads((HERE / "virshle-template/schema/config.schema.json").read_text())
    parts = schema["definitions"]
    lines = [
        "# Each key",
        "",
        "All keys of the configuration, from its schema, which editors read as well: the line",
        "`#:schema /usr/share/virshle/config.schema.json` at the top of the file gives them completion and help. What they",
        "mean together, and their defaults, is in [configuration](configuration.md). This page is generated by",
        "`scripts/book generate`.",
    ]

    def resolve(part):
        for option in part.get("allOf", []):
            if "$ref" in option:
                return {**parts[option["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in part.items() if k != "allOf"}}
        if "$ref" in part:
            return {**parts[part["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in part.items() if k != "$ref"}}
        return part

    def kind(part, deep=0):
        part = resolve(part)
        for word in ("anyOf", "oneOf"):
            if word in part:
                kinds = []
                for option in part[word]:
                    text = kind(option, deep + 1)
                    if text and text not in kinds:
                        kinds.append(text)
                return " or ".join(kinds)
        if "enum" in part:
            return ", ".join(f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`" for value in part["enum"])
        if "const" in part:
            return f"`{part['const']}`"
        name = part.get("type")
        if isinstance(name, list):
            return " or ".join(name)
        if name == "array":
            inner = kind(part.get("items", {}), deep + 1) or "values"
            return "a list of " + {"a text": "texts", "a table": "tables", "a whole number": "whole numbers"}.get(inner, inner)
        if name == "object":
            return "a table"
        if name == "integer" and "minimum" in part and "maximum" in part:
            return f"{part['minimum']} to {part['maximum']}"
        return {"string": "a text", "integer": "a whole number", "number": "a number", "boolean": "`true` or `false`"}.get(name, "")

    def table(title, part):
        part = resolve(part)
        properties = part.get("properties", {})
        if not properties:
            return
        required = set(part.get("required", []))
        lines.extend(["", f"## `{title}`", "", "| key | value | |", "| --- | --- | --- |"])
        below = []
        for name, value in properties.items():
            value = resolve(value)
            text = value.get("description", "").replace("\n", " ").replace("|", "\\|").strip()
            must = " Required." if name in required else ""
            lines.append(f"| `{name}` | {kind(value).replace('|', chr(92) + '|')} | {text}{'.' if text and must and not text.endswith('.') else ''}{must} |")
            inner = resolve(value)
            if inner.get("type") == "object" and inner.get("properties"):
                below.append((f"{title.rstrip(']')}.{name}]" if title.startswith("[") else name, inner))
            items = resolve(inner.get("items", {})) if inner.get("type") == "array" else {}
            if items.get("properties"):
                below.append((f"{title.rstrip(']')}.{name}]]" if title.startswith("[[") else f"[[{name}]]", items))
        for inner_title, inner in below:
            table(inner_title, inner)

    for name, part in schema["properties"].items():
        if name == "template":
            table("[[template.vm]]", part["properties"]["vm"]["items"])
        elif resolve(part).get("type") == "array":
            table(f"[[{name}]]", resolve(part)["items"])
        else:
            table(f"[{name}]", part)
    return "\n".join(lines) + "\n"


def error_codes():
    """The codes in the sources: each a short text beside what sort of failure it is."""
    codes = set()
    for source in HERE.glob("virshle-*/src/**/*.rs"):
        text = source.read_text().split("#[cfg(test)]")[0]
        codes.update(re.findall(r'Verdict::(?:new\([^"()]*(?:\([^()]*\))?,\s*|failed\(\s*)"([a-z0-9-]+)"', text))
        codes.update(re.findall(r'\(ErrorKind::\w+,\s*"([a-z0-9-]+)"\)', text))
        codes.update(re.findall(r'(?:\bhost\(|=> \()"([a-z]+(?:-[a-z0-9]+)+)"(?:\)|, source\))', text))
        for body in re.findall(r"fn code\(&?self[^{]*\{(.*?)\n    \}\n", text, re.S):
            codes.update(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)*)"', body))
    return codes


def check_error_codes():
    page = DOCS / "reference/errors.md"
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", page.read_text(), re.M)
    wrong = [f"docs/reference/errors.md: {code} is there twice" for code in set(listed) if listed.count(code) > 1]
    wrong += [f"docs/reference/errors.md lacks {code}" for code in sorted(error_codes() - set(listed))]
    wrong += [f"docs/reference/errors.md: nothing fails with {code}" for code in sorted(set(listed) - error_codes())]
    return wrong


def generate(check):
    made = {DOCS / "reference/keys.md": schema_keys()}
    for drawing in sorted((DOCS / "pictures").glob("*.txt")):
        made[drawing.with_suffix(".svg")] = draw(drawing.read_text(), str(drawing))
    wrong = check_error_codes()
    for path, text in made.items():
        if check:
            if not path.exists() or path.read_text() != text:
                wrong.append(f"{path.relative_to(HERE)} is not what it is generated from: scripts/book generate")
        else:
            path.write_text(text)
    finish("generated pages", wrong, f"{len(made)} generated files, {len(error_codes())} error codes")


# --- pictures

FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
STYLE = """<style>
  .paper { fill: #ffffff } .box { fill: #eef3fa; stroke: #48617f; stroke-width: 1.5 }
  .soft { fill: #f7f3e8; stroke: #8a7440; stroke-width: 1.5 } .line { stroke: #48617f; stroke-width: 1.5; fill: none }
  text { font-family: sans-serif; font-size: 13px; fill: #1d2733 } .small { font-size: 11px; fill: #46566a }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14191f } .box { fill: #1f2b3a; stroke: #7f9dc0 } .soft { fill: #2b271b; stroke: #c0a668 }
    .line { stroke: #7f9dc0 } text { fill: #e3eaf2 } .small { fill: #aab8c8 }
  }
</style>"""


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def draw(text, name):
    """A drawing from lines: `size W H`, `box ID X Y W H LABEL`, `soft …`, `text X Y LABEL`, `arrow A B LABEL`,
    `line A B LABEL`. A `|` in a label begins a smaller second line. An arrow's ends are at the boxes' edges."""
    boxes, shapes, size = {}, [], (640, 320)
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        verb, rest = words[0], words[1] if len(words) > 1 else ""
        if verb == "title":
            title = rest
        elif verb == "size":
            size = tuple(int(part) for part in rest.split())
        elif verb in ("box", "soft"):
            ident, x, y, w, h, *label = rest.split(None, 5)
            x, y, w, h = (int(part) for part in (x, y, w, h))
            boxes[ident] = (x, y, w, h)
            shapes.append(f'<rect class="{verb}" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>')
            first, _, second = (label[0] if label else "").partition("|")
            # A large box is a frame, whose name is at its top.
            top = y + 18 if h > 80 else y + h / 2 + (0 if second else 4)
            shapes.append(f'<text x="{x + w / 2}" y="{top}" text-anchor="middle">{escape(first.strip())}</text>')
            if second:
                shapes.append(f'<text class="small" x="{x + w / 2}" y="{top + 15}" text-anchor="middle">{escape(second.strip())}</text>')
        elif verb == "text":
            x, y, label = rest.split(None, 2)
            shapes.append(f'<text class="small" x="{x}" y="{y}">{escape(label)}</text>')
        elif verb in ("arrow", "line", "both"):
            a, b, *label = rest.split(None, 2)
            (ax, ay), (bx, by) = ends(boxes[a], boxes[b])
            marks = {"arrow": ' marker-end="url(#tip)"', "line": "", "both": ' marker-end="url(#tip)" marker-start="url(#tip)"'}[verb]
            shapes.append(f'<path class="line" d="M {ax} {ay} L {bx} {by}"{marks}/>')
            if label:
                upright = abs(bx - ax) < abs(by - ay)
                x, y = ((ax + bx) / 2 + 6, (ay + by) / 2 + 4) if upright else ((ax + bx) / 2, (ay + by) / 2 - 6)
                anchor = "start" if upright else "middle"
                shapes.append(f'<text class="small" x="{x}" y="{y}" text-anchor="{anchor}">{escape(label[0])}</text>')
        else:
            sys.exit(f"{name}:{number}: {verb}: no such thing to draw")
    tip = ('<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
           '<path class="line" d="M 1 1 L 7 4 L 1 7"/></marker></defs>')
    width, height = size
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>", STYLE, tip,
        f'<rect class="paper" width="{width}" height="{height}"/>', *shapes, "</svg>", ""])


def ends(a, b):
    """Where a straight line between two boxes leaves the one and reaches the other: straight up or across if it can."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    left, right = max(ax, bx), min(ax + aw, bx + bw)
    top, bottom = max(ay, by), min(ay + ah, by + bh)
    if left < right:
        x = (left + right) / 2
        return ((x, ay + ah), (x, by)) if ay < by else ((x, ay), (x, by + bh))
    if top < bottom:
        y = (top + bottom) / 2
        return ((ax + aw, y), (bx, y)) if ax < bx else ((ax, y), (bx + bw, y))
    start = (ax + aw if ax < bx else ax, ay + ah / 2)
    return start, (bx + bw / 2, by if ay < by else by + bh)


def terminal(session):
    """A picture of a terminal: lines, of which those that begin with `$ ` were typed."""
    lines = session.rstrip("\n").split("\n")
    width = max(640, max(len(line) for line in lines) * 8 + 40)
    height = len(lines) * 18 + 62
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        "<title>A session in a terminal</title>",
        f"<style>text {{ font-family: {FONT}; font-size: 13.3px; white-space: pre; fill: #d5dde6 }} .typed {{ fill: #ffffff; font-weight: 600 }} .sign {{ fill: #7ec699 }}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#171d24"/>',
        *(f'<circle cx="{20 + 18 * index}" cy="20" r="6" fill="{colour}"/>' for index, colour in enumerate(("#e0645c", "#e2b64f", "#68b567"))),
    ]
    for number, line in enumerate(lines):
        y = 56 + 18 * number
        if line.startswith("$ "):
            out.append(f'<text x="20" y="{y}" xml:space="preserve"><tspan class="sign">$ </tspan><tspan class="typed">{escape(line[2:])}</tspan></text>')
        elif line:
            # Each cell at its column, also where a font has other widths for the lines of a table.
            out.append(f'<text x="20" y="{y}" textLength="{len(line) * 8}" lengthAdjust="spacingAndGlyphs" xml:space="preserve">{escape(line)}</text>')
    return "\n".join([*out, "</svg>", ""])


# --- commands

PRELUDE = r"""
set -euo pipefail
cd {repository}
. scripts/parts.sh
export PATH={bin}:$PATH TERM=dumb NO_COLOR=1 VIRSHLE_SYSTEMD=off
[ -z "${{CLOUD_HYPERVISOR:-}}" ] || PATH=$(dirname "$CLOUD_HYPERVISOR"):$PATH
if [ -n "${{PASST:-}}" ]; then PATH=$(dirname "$PASST"):$PATH; fi
unset XDG_CONFIG_HOME XDG_DATA_HOME SSH_AUTH_SOCK VIRSHLE_ROOT VIRSHLE_CONFIG
# Home, configuration and machines are where they are for the reader, in directories that end with these namespaces.
work={home}
mkdir -p "$work/root/.config" "$work/root/.local/share/cloud-hypervisor" "$work/root/.ssh" "$work/root/work" "$work/lib/virshle" "$work/lib/misc"
# A machine's own user reads what it boots.
chmod 755 "$work/root" "$work/root/.local" "$work/root/.local/share"
test-kernel obeys "$work/root/.local/share/cloud-hypervisor/CLOUDHV.fd"
cp -a /etc "$work/etc" && rm -rf "$work/etc/virshle" && mkdir "$work/etc/virshle"
mount --bind "$work/etc" /etc && mount --bind "$work/lib" /var/lib && mount --bind "$work/root" /root
export HOME=/root
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me' >~/.ssh/id_ed25519.pub
hostname deku
start_switch "$work"
cd ~/work
# An image; what boots it is the firmware above.
truncate -s 8M debian-13.raw
printf 'an image' | dd of=debian-13.raw conv=notrunc status=none
cat >/etc/virshle/config.toml <<'TOML'
[[template.vm]]
name = "debian"
vcpu = 1
vram = "64MiB"
disk = [{{ name = "os", image = "debian", size = "1G" }}]
net = [{{ name = "main", type = "tap" }}]
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
disk = [{{ name = "os", image = "debian", size = "1G" }}]
net = [{{ name = "main", type = "tap" }}]
TOML
# What it finds is this host's, not the page's.
v() {{ command v "$@" || {{ local status=$?; [ $status = 5 ] && [ "$1 ${{2:-}}" = 'node check' ]; }}; }}
v --quiet image import debian-13.raw --name debian >/dev/null
v --quiet node ssh-config --install >/dev/null
"""


class Session:
    """A shell in namespaces of its own, with a node, a switch and an image."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="vb"))
        self.home.chmod(0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, script, seconds=180):
        prelude = PRELUDE.format(repository=HERE, bin=os.environ["V_BIN"], home=self.home)
        path = self.home / "script"
        path.write_text(prelude + script)
        return subprocess.run(
            ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", str(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        )


def blocks(page):
    """The command blocks of a page: what is run, and what is left out with its reason."""
    text = page.read_text()
    found, at = [], 0
    whole = re.search(r"^<!-- commands not run: (.+?) -->$", text, re.M)
    for match in FENCE.finditer(text):
        before = text[at:match.start()]
        line = text.count("\n", 0, match.start()) + 1
        at = match.end()
        for hidden in re.findall(r"<!-- run first\n(.*?)-->", before, re.S):
            found.append(("hidden", line, hidden))
        reason = re.search(r"<!-- not run: ([^>]+?) -->\s*$", before) or whole
        place = re.search(r"<!-- file: (\S+) -->\s*$", before)
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
        if place:
            where = place[1].replace("~", "/root", 1)
            found.append(("hidden", line, f"mkdir -p \"$(dirname \"{where}\")\"\ncat >\"{where}\" <<'FILE'\n{body}FILE\n"))
        if match["kind"].strip() in ("sh", "bash", "shell"):
            found.append(("exempt" if reason else "run", line, reason[1] if reason else body))
    return found


def commands(only):
    wrong, ran, exempt = [], 0, 0
    for page in pages():
        name = str(page.relative_to(HERE))
        if only and not any(word in name for word in only):
            continue
        if not page.exists():
            continue
        found = blocks(page)
        for kind, line, text in found:
            if kind == "exempt":
                exempt += 1
                print(f"  not run   {name}:{line}: {text}")
        count = sum(kind == "run" for kind, _, _ in found)
        if not count:
            continue
        script = ["set -e"]
        for kind, line, text in found:
            if kind != "exempt":
                script.append(f"at={line}; trap 'echo \"FAILED in the block at line '$at'\"' EXIT")
                script.append(text)
        # The session ends with its namespace, machines and all.
        script.append("trap - EXIT; echo every-block-ran")
        with Session() as session:
            try:
                result = session.run("\n".join(script))
                done = result.returncode == 0 and "every-block-ran" in result.stdout
                output = result.stdout
            except subprocess.TimeoutExpired as error:
                done, output = False, f"it takes too long\n{error.output or ''}"
        ran += count
        print(f"  {'ran' if done else 'FAILED'}       {name}: {count} blocks")
        if not done:
            wrong.append(f"{name}:\n" + "\n".join(output.splitlines()[-25:]))
    finish("commands", wrong, f"{ran} command blocks ran, {exempt} did not")


# --- output of commands

# What the page shows, in one session. A line that ends with ` #ok` may fail; it is shown without.
OUTPUT = [
    ("Where one stands", ["v"]),
    ("Templates", ["v template ls", "v template show xs", "v template check"]),
    ("Images", ["v image ls", "v image info debian"]),
    ("A node", ["v node init --dry-run", "v node init", "v node info"]),
    ("Machines", [
        "v vm create -t xs --name web", "v vm create -t xs --name db --start", "v vm ls", "v vm start web",
        "v vm ls -v", "v vm info web", "v vm pause web", "v vm resume web", "v vm set db autostart=on order=1",
        "v vm autostart db", "v vm config web", "v vm logs db", "v vm stop web --force", "v vm why web",
    ]),
    ("Errors", ["v vm start wbe #ok", "v vm create -t xss #ok", "v vm rm db #ok", "v --json vm info wbe #ok"]),
    ("The end", ["v vm rm web", "v vm rm --all --force"]),
]
PICTURE = ["v vm create -t xs --name web", "v vm start web", "v vm ls", "v vm stop web", "v vm rm web"]


def plain(text):
    """Without what is this host's, or differs from run to run."""
    text = text.replace(os.environ["V_BIN"] + "/v", "/usr/bin/v")
    text = re.sub(r"^(cpus +)\d+$", r"\g<1>8", text, flags=re.M)
    text = re.sub(r"^(memory +)[\d.]+ GiB of [\d.]+ GiB", r"\g<1>28.4 GiB of 31.2 GiB", text, flags=re.M)
    text = re.sub(r"^(disk +)[\d.]+ [GT]iB available", r"\g<1>214 GiB available", text, flags=re.M)
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "4b9a1f0e-7d25-4c63-9a51-0c2f6b8e7d10", text)
    text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-11-27T09:00:00Z", text)
    text = re.sub(r"\b52:54:00(:[0-9a-f]{2}){3}\b", "52:54:00:1d:c4:07", text)
    text = re.sub(r"\b(fe80:[0-9a-f:]+)", "fe80::5054:ff:fe1d:c407", text)
    return text


def steady(text):
    """Without what takes another time, or has another width, in each run: for comparisons."""
    text = re.sub(r"^(address|  event:).*\n", "", text, flags=re.M)
    text = re.sub(r"<text [^>]*>", "<text>", re.sub(r"(width|height|viewBox)=\"[^\"]*\"", "", text))
    text = re.sub(r"\bafter \d+ ?(?:s|ms|min)\b", "after a while", text)
    text = re.sub(r"(pid +|running . xs +. )\d+", r"\1N", text)
    return re.sub(r" +", " ", re.sub("─+", "─", text))


def say(commands_, session):
    script = []
    for command in commands_:
        shown = command.removesuffix(" #ok")
        script.append(f"printf '%s\\n' {json.dumps('@@ ' + shown)}")
        script.append(f"{shown}{' || true' if command.endswith(' #ok') else ''}")
    result = session.run("\n".join(script) + "\nv --quiet vm rm --all --force >/dev/null 2>&1 || true\n")
    if result.returncode:
        sys.exit(f"the commands of the page failed:\n{result.stdout[-3000:]}")
    answers = {}
    for part in re.split(r"^@@ ", plain(result.stdout), flags=re.M)[1:]:
        command, _, answer = part.partition("\n")
        answers[command] = answer.rstrip("\n")
    return answers


def output(write):
    with Session() as session:
        answers = say([command for _, commands_ in OUTPUT for command in commands_], session)
    lines = [
        "# What commands print",
        "",
        "Real output, from one session on a node with two templates and an image; names, addresses and times are made the same",
        "for each run. `scripts/book generate` writes this page, and a test fails when the program prints something else.",
    ]
    for title, commands_ in OUTPUT:
        lines += ["", f"## {title}"]
        for command in commands_:
            shown = command.removesuffix(" #ok")
            lines += ["", "```console", f"$ {shown}", *([answers[shown]] if answers[shown] else []), "```"]
    with Session() as session:
        shown = say(["v --quiet node init", *PICTURE], session)
    picture = "\n\n".join(f"$ {command}\n{shown[command]}" for command in PICTURE)
    made = {DOCS / "reference/output.md": "\n".join(lines) + "\n", DOCS / "pictures/session.svg": terminal(picture)}
    wrong = []
    for path, text in made.items():
        if write:
            path.write_text(text)
        elif not path.exists() or steady(path.read_text()) != steady(text):
            wrong.append(f"{path.relative_to(HERE)} differs from what the program prints: scripts/book generate")
            if path.exists():
                old, new = steady(path.read_text()).splitlines(), steady(text).splitlines()
                wrong += [f"  - {line}" for line in old if line not in new][:10] + [f"  + {line}" for line in new if line not in old][:10]
    finish("the output of commands", wrong, f"{len(answers)} commands print what the manual says")


def finish(what, wrong, right):
    if wrong:
        print(f"FAILED: {what}", *wrong, sep="\n")
        sys.exit(1)
    print(right)


def main():
    verb, arguments = sys.argv[1], sys.argv[2:]
    if verb == "links":
        links()
    elif verb == "repository":
        repository(arguments)
    elif verb == "generate":
        generate("--check" in arguments)
    elif verb == "output":
        output("--write" in arguments)
    elif verb == "commands":
        commands(arguments)
    else:
        sys.exit(f"{verb}: no such verb")


main()
