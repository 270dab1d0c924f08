#!/usr/bin/env python3
"""api.py JSON FILE [--write]: a crate's public interface, a line to an item, out of rustdoc's JSON; compared with FILE."""

import difflib
import json
import sys
from pathlib import Path


class Interface:
    def __init__(self, document):
        self.index = document["index"]
        self.root = document["root"]
        self.lines = set()

    def item(self, ident):
        return self.index.get(str(ident))

    def kind(self, item):
        """Its kind, and what is of that kind."""
        return next(iter(item["inner"].items()))

    # Types

    def type(self, ty):
        if ty is None:
            return "()"
        (kind, value), = ty.items() if isinstance(ty, dict) else ((ty, None),)
        if kind == "resolved_path":
            name = value.get("path") or value.get("name") or "?"
            return name.rsplit("::", 1)[-1] + self.arguments(value.get("args"))
        if kind in ("generic", "primitive"):
            return value
        if kind == "tuple":
            return "(" + ", ".join(map(self.type, value)) + ")"
        if kind == "slice":
            return f"[{self.type(value)}]"
        if kind == "array":
            return f"[{self.type(value['type'])}; {value['len']}]"
        if kind == "borrowed_ref":
            life = value["lifetime"] + " " if value.get("lifetime") else ""
            mutable = "mut " if value.get("is_mutable", value.get("mutable")) else ""
            return f"&{life}{mutable}{self.type(value['type'])}"
        if kind == "raw_pointer":
            return "*" + self.type(value["type"])
        if kind == "impl_trait":
            return "impl " + self.bounds(value)
        if kind == "dyn_trait":
            names = [self.type({"resolved_path": each["trait"]}) for each in value["traits"]]
            return "dyn " + " + ".join(names + ([value["lifetime"]] if value.get("lifetime") else []))
        if kind == "qualified_path":
            return f"{self.type(value['self_type'])}::{value['name']}"
        if kind == "function_pointer":
            return "fn" + self.signature(value["sig"])
        return kind

    def arguments(self, args):
        if not args:
            return ""
        if "parenthesized" in args:
            inside = args["parenthesized"]
            output = f" -> {self.type(inside['output'])}" if inside.get("output") else ""
            return f"({', '.join(map(self.type, inside['inputs']))}){output}"
        inside = args.get("angle_bracketed", {})
        parts = []
        for each in inside.get("args", []):
            (kind, value), = each.items() if isinstance(each, dict) else ((each, None),)
            parts.append(self.type(value) if kind == "type" else value if kind == "lifetime" else str((value or {}).get("expr", kind)))
        for each in inside.get("constraints", inside.get("bindings", [])):
            to = each.get("binding", {})
            equal = to.get("equality", {})
            parts.append(f"{each['name']} = {self.type(equal['type'])}" if "type" in equal else f"{each['name']}: {self.bounds(to.get('constraint', []))}")
        return f"<{', '.join(parts)}>" if parts else ""

    def bounds(self, bounds):
        names = []
        for bound in bounds:
            if "trait_bound" in bound:
                sign = "?" if bound["trait_bound"].get("modifier") == "maybe" else ""
                names.append(sign + self.type({"resolved_path": bound["trait_bound"]["trait"]}))
            elif "outlives" in bound:
                names.append(bound["outlives"])
        return " + ".join(names)

    def generics(self, generics):
        parts = []
        for each in generics.get("params", []):
            (kind, value), = each["kind"].items()
            if kind == "type" and not value.get("is_synthetic", value.get("synthetic")):
                bounds = self.bounds(value["bounds"])
                parts.append(each["name"] + (f": {bounds}" if bounds else ""))
            elif kind in ("lifetime", "const"):
                parts.append(each["name"])
        where = [f"{self.type(each['bound_predicate']['type'])}: {self.bounds(each['bound_predicate']['bounds'])}"
                 for each in generics.get("where_predicates", []) if "bound_predicate" in each]
        return (f"<{', '.join(parts)}>" if parts else ""), (f" where {', '.join(where)}" if where else "")

    def signature(self, sig):
        inputs = [self.type(ty) if name == "self" else f"{name}: {self.type(ty)}" for name, ty in sig["inputs"]]
        output = f" -> {self.type(sig['output'])}" if sig.get("output") else ""
        return f"({', '.join(inputs)}){output}"

    # Items

    def walk(self, ident, path):
        item = self.item(ident)
        if not item:
            return
        kind, inner = self.kind(item)
        if kind == "use":
            self.reexport(inner, path)
            return
        if item["visibility"] not in ("public", "default"):
            return
        if kind == "module":
            name = f"{path}::{item['name']}" if path else item["name"]
            for child in inner["items"]:
                self.walk(child, name)
            return
        self.add(item, f"{path}::{item['name']}")

    def reexport(self, inner, path):
        there = self.item(inner["id"]) if inner.get("id") is not None else None
        name = f"{path}::{inner['name']}"
        if not there:
            self.lines.add(f"pub use {name} = {inner['source']}")
        elif self.kind(there)[0] == "module":
            for child in self.kind(there)[1]["items"]:
                self.walk(child, path if inner.get("is_glob") else name)
        else:
            self.add(there, name)

    def add(self, item, name):
        kind, inner = self.kind(item)
        marks = json.dumps(item.get("attrs", []))
        open_ = " (non_exhaustive)" if "non_exhaustive" in marks else ""
        old = " (deprecated)" if item.get("deprecation") else ""
        if kind == "function":
            params, where = self.generics(inner["generics"])
            head = inner.get("header", {})
            const = "const " if head.get("is_const", head.get("const")) else ""
            self.lines.add(f"pub {const}fn {name}{params}{self.signature(inner['sig'] if 'sig' in inner else inner['decl'])}{where}{old}")
        elif kind == "struct":
            self.lines.add(f"pub struct {name}{self.generics(inner['generics'])[0]}{open_}{old}")
            shape = inner["kind"]
            fields = shape.get("plain", {}).get("fields", []) or shape.get("tuple", []) if isinstance(shape, dict) else []
            self.fields(fields, name)
        elif kind == "enum":
            self.lines.add(f"pub enum {name}{self.generics(inner['generics'])[0]}{open_}{old}")
            for ident in inner["variants"]:
                variant = self.item(ident)
                if variant:
                    self.variant(variant, name)
        elif kind == "trait":
            self.lines.add(f"pub trait {name}{self.generics(inner['generics'])[0]}{old}")
            for ident in inner["items"]:
                each = self.item(ident)
                if each:
                    self.add(each, f"{name}::{each['name']}")
        elif kind == "type_alias":
            self.lines.add(f"pub type {name} = {self.type(inner['type'])}{old}")
        elif kind == "constant":
            self.lines.add(f"pub const {name}: {self.type(inner['type'])}")
        elif kind == "assoc_const":
            self.lines.add(f"pub const {name}: {self.type(inner['type'])}")
        elif kind == "assoc_type":
            self.lines.add(f"pub type {name}")
        elif kind == "static":
            self.lines.add(f"pub static {name}: {self.type(inner['type'])}")
        elif kind == "macro":
            self.lines.add(f"macro {name}")
        for ident in inner.get("impls", []) if isinstance(inner, dict) else []:
            self.implementation(self.item(ident), name)

    def fields(self, fields, name):
        for ident in fields:
            field = self.item(ident) if ident is not None else None
            if field and field["visibility"] in ("public", "default"):
                self.lines.add(f"pub {name}.{field['name']}: {self.type(self.kind(field)[1])}")

    def variant(self, variant, name):
        shape = self.kind(variant)[1]["kind"]
        name = f"{name}::{variant['name']}"
        if isinstance(shape, dict) and "tuple" in shape:
            inside = [self.item(ident) for ident in shape["tuple"] if ident is not None]
            self.lines.add(f"pub {name}({', '.join(self.type(self.kind(each)[1]) for each in inside if each)})")
        else:
            self.lines.add(f"pub {name}")
            if isinstance(shape, dict):
                self.fields(shape["struct"]["fields"], name)

    def implementation(self, item, name):
        if not item:
            return
        inner = item["inner"]["impl"]
        if inner.get("is_synthetic", inner.get("synthetic")) or inner.get("blanket_impl"):
            return
        trait = inner.get("trait")
        if trait:
            text = self.type({"resolved_path": trait})
            if "StructuralPartialEq" not in text:
                self.lines.add(f"impl {text} for {name}")
            return
        for ident in inner["items"]:
            each = self.item(ident)
            if each and each["visibility"] == "public":
                self.add(each, f"{name}::{each['name']}")


def main():
    source, snapshot = Path(sys.argv[1]), Path(sys.argv[2])
    interface = Interface(json.loads(source.read_text()))
    interface.walk(interface.root, "")
    text = "\n".join(sorted(interface.lines)) + "\n"
    if "--write" in sys.argv:
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.write_text(text)
    if not snapshot.exists() and "--strict" not in sys.argv:
        print(f"STALE: there is no {snapshot} yet: scripts/api --write")
        return
    old = snapshot.read_text() if snapshot.exists() else ""
    if old != text:
        print("".join(difflib.unified_diff(old.splitlines(True), text.splitlines(True), str(snapshot), "now", n=0)))
        # What is new breaks nobody; what is gone, or another one, does.
        if set(old.splitlines()) - set(text.splitlines()) or "--strict" in sys.argv:
            print(f"FAILED: {snapshot}: a public item is gone, or has changed")
            sys.exit(1)
        print(f"STALE: {snapshot} lacks what is new: scripts/api --write")
        return
    print(f"{snapshot}: {len(interface.lines)} public items")


main()
