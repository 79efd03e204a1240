//! Values: defaults, those of the user, what they may be.

use super::{Case, DUMP, case};

pub(super) fn all() -> Vec<Case> {
    vec![
        dump("defaults", "a: 1\nb: {c: 2}\n"),
        dump("user values win", "a: 1\nb: {c: 2, d: 3}\nl: [1, 2]\n").values("a: 2\nb: {c: x}\nl: [3]\n"),
        dump("null removes a default", "a: 1\nb: {c: 2, d: {e: 1}}\n")
            .values("a: null\nb: {c: null, d: null}\nx: null\n"),
        dump("null defaults", "a: null\nb: {c: null, d: {e: null, f: 1}}\n")
            .values("b: {d: {f: null, g: null}}\n"),
        dump("null of a whole map", "b: {c: {d: 1}}\n").values("b: {c: {d: null}}\n"),
        dump("other types", "a: {b: 1}\nc: 1\nd: [1]\n").values("a: text\nc: {x: 1}\nd: {y: 2}\n"),
        dump("several files", "a: 1\n")
            .values("a: 2\nb: {c: 1, d: 2}\n")
            .values("b: {c: 3, e: null}\nf: [1]\n")
            .values("f: []\n"),
        dump("no values", ""),
        dump("comments only", "# nothing\n"),
        dump("several documents", "a: 1\n---\nb: 2\na: 3\n"),
        dump(
            "numbers",
            "a: 1e6\nb: 0777\nc: 1_000\nd: 12345678901234567890\ne: 1.50\nf: 0.1\ng: 1e-7\nh: .5\n",
        ),
        dump("scalars", "a: yes\nb: 'yes'\nc: ~\nd: 2001-01-01\ne: 1:20\nf: \"1\"\ng: \"\"\n"),
        dump("anchors", "x: &x {a: 1}\ny: {<<: *x, b: 2}\nz: *x\n"),
        dump("equal keys", "a: 1\nb: 2\na: 3\n"),
        dump("broken values", "a: [\n").fails(),
        dump("values that are no map", "- a\n").fails(),
        dump("user values that are no map", "a: 1\n").values("- a\n").fails(),
        dump("broken user values", "a: 1\n").values("a: b: c\n").fails(),
        dump("infinity", "a: .inf\n").fails(),
    ]
}

fn dump(name: &'static str, values: &str) -> Case {
    case(name, "", &[("values.yaml", values), ("templates/dump.yaml", DUMP)])
}
