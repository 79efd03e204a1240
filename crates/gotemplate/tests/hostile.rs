//! Templates, values and texts that mean harm, or are broken: an error each time, never a crash, never a hang.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

use gotemplate::{Error, Limits, Map, Templates, Value, yaml};

/// Limits that let a test end soon.
const SMALL: Limits = Limits { steps: 20_000, output: 1 << 20, memory: 64 << 20, stack: 512 << 10 };

fn run(source: &str) -> Result<String, Error> {
    run_within(SMALL, source)
}

fn run_within(limits: Limits, source: &str) -> Result<String, Error> {
    let mut templates = Templates::new();
    templates.set_limits(limits);
    templates.parse("hostile.yaml", source)?;
    let values = yaml::parse(include_str!("snippets/values.yaml")).unwrap();
    let root = Map::new();
    root.insert("Values", values);
    templates.execute("hostile.yaml", &Value::Map(root))
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn what_never_ends_is_an_error() {
    let deep_list = "{{ $x := list }}{{ range until 5000 }}{{ $x = list $x }}{{ end }}";
    let wide_list = "{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}";
    let long_text =
        "{{ $x := \"aaaaaaaaaaaaaaaa\" }}{{ range until 60 }}{{ $x = print $x $x }}{{ end }}{{ $x }}";
    let cycle = "{{ $x := dict }}{{ $_ := set $x \"self\" $x }}";
    for source in [
        "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}".to_owned(),
        "{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}".to_owned(),
        "{{ define \"a\" }}{{ include \"b\" . }}{{ end }}{{ define \"b\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}".to_owned(),
        "{{ define \"a\" }}{{ tpl \"{{ include `a` . }}\" . }}{{ end }}{{ include \"a\" . }}".to_owned(),
        "{{ range 1000000000 }}{{ end }}".to_owned(),
        "{{ range until 1000000 }}x{{ end }}".to_owned(),
        "{{ range 9000 }}{{ range 9000 }}{{ end }}{{ end }}".to_owned(),
        "{{ until 1000000000 }}".to_owned(),
        "{{ untilStep -9223372036854775808 9223372036854775807 1 }}".to_owned(),
        "{{ seq 0 1 999999999999 }}".to_owned(),
        "{{ repeat 1000000000 \"abc\" }}".to_owned(),
        "{{ printf \"%1000000d%1000000d%1000000d\" 1 2 3 | repeat 100 }}".to_owned(),
        "{{ indent 1000000 (repeat 1000 \"\\n\") }}".to_owned(),
        "{{ replace \"\" (repeat 10000 \"x\") (repeat 10000 \"y\") }}".to_owned(),
        "{{ regexReplaceAll \"\" (repeat 10000 \"x\") (repeat 10000 \"y\") }}".to_owned(),
        "{{ join (repeat 10000 \"x\") (until 100000) }}".to_owned(),
        "{{ wrapWith 1 (repeat 10000 \"x\") (repeat 10000 \"y\") }}".to_owned(),
        "{{ regexMatch \"((a{1000}){1000}){1000}\" \"a\" | ternary 1 (fail \"too large\") }}".to_owned(),
        long_text.to_owned(),
        format!("{deep_list}{{{{ $x }}}}"),
        format!("{deep_list}{{{{ mustToJson $x }}}}"),
        format!("{deep_list}{{{{ deepCopy $x }}}}"),
        format!("{deep_list}{{{{ deepEqual $x (list $x) }}}}{{{{ has $x (list (deepCopy $x)) }}}}"),
        format!("{wide_list}{{{{ $x }}}}"),
        format!("{wide_list}{{{{ mustToYaml $x }}}}"),
        format!("{wide_list}{{{{ deepCopy $x }}}}"),
        format!("{cycle}{{{{ $x }}}}"),
        format!("{cycle}{{{{ printf \"%v\" $x }}}}"),
        format!("{cycle}{{{{ mustToPrettyJson $x }}}}"),
        format!("{cycle}{{{{ mustToToml $x }}}}"),
        format!("{cycle}{{{{ deepCopy $x }}}}"),
        nested("(", "1", ")", 50_000).replacen('(', "{{ (", 1) + " }}",
        nested("{{ if true }}", "x", "{{ end }}", 50_000),
        nested("{{ with 1 }}", "x", "", 50_000),
    ] {
        assert!(run(&source).is_err(), "{}", source.chars().take(120).collect::<String>());
    }
}

#[test]
fn what_only_looks_endless_is_not() {
    // Dropping what is nested so deeply takes care, too.
    let deep_list = "{{ $x := list }}{{ range until 100000 }}{{ $x = list $x }}{{ end }}{{ len $x }}";
    assert_eq!(run_within(Limits::default(), deep_list).unwrap(), "1");
    let cycle = "{{ $x := dict }}{{ $_ := set $x \"self\" $x }}";
    assert_eq!(run(&format!("{cycle}{{{{ $x.self.self.self | len }}}}{{{{ toYaml $x }}}}")).unwrap(), "1");
    assert!(run(&format!("{cycle}{{{{ $_ := merge $x $x }}}}ok")).is_ok());
}

#[test]
fn yaml_that_explodes_is_an_error() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{}", level - 1); 10].join(", ")
        ));
    }
    let mut merges = "a0: &a0 {x: 1}\n".to_owned();
    for level in 1..30 {
        merges.push_str(&format!("a{level}: &a{level} {{b: *a{0}, c: *a{0}}}\n", level - 1));
    }
    for text in [
        bomb,
        merges,
        "[".repeat(100_000),
        "{".repeat(100_000),
        "- ".repeat(100_000),
        nested("a: {", "", "}", 10_000),
        "? ".repeat(100_000),
        "&a [*a]".to_owned(),
    ] {
        assert!(yaml::parse(&text).is_err(), "{}", text.chars().take(60).collect::<String>());
    }
}

#[test]
fn an_error_shows_file_line_column_and_expression_with_a_caret() {
    let error = run("a: 1\nb: {{ .Values.name | trunc 3 }}\n\u{e4}\tc: {{ .Values.missing.x | quote }}\n")
        .unwrap_err();
    assert_eq!((error.file.as_str(), error.line, error.column), ("hostile.yaml", 3, 9));
    assert_eq!(
        error.pretty(),
        "hostile.yaml:3:9: at <.Values.missing.x>: nil pointer evaluating interface {}.x\n  |\n3 | \u{e4}\tc: {{ .Values.missing.x | quote }}\n  |  \t      ^"
    );
    let error = run("x\n{{ nofunction 1 }}").unwrap_err();
    assert_eq!(error.to_string(), "hostile.yaml:2:4: function \"nofunction\" not defined");
}

/// A small generator, so that the same texts are tried each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

/// Pieces that make broken templates interesting.
const PIECES: [&str; 24] = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    " ",
    "(",
    ")",
    "|",
    ":=",
    "=",
    "$",
    ".",
    "\"",
    "`",
    "'",
    ",",
    "end",
    "if",
    "range",
    "define \"x\"",
    "\u{e4}",
    "\u{0}",
    "99999999999999999999",
    "/*",
];

fn mutated(text: &str, other: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len() + 1);
        match random.below(4) {
            0 => drop(chars.drain(at..(at + random.below(8)).min(chars.len()))),
            1 => drop(chars.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            2 => {
                let piece: Vec<char> =
                    other.chars().skip(random.below(other.len())).take(random.below(40)).collect();
                drop(chars.splice(at..at, piece));
            }
            _ if at + 1 < chars.len() => chars.swap(at, at + 1),
            _ => {}
        }
    }
    chars.into_iter().collect()
}

#[test]
fn broken_templates_and_yaml_never_crash() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snippets");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let lines: Vec<&str> =
        texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains("{{")).collect();
    let mut random = Random(7);
    let (mut fine, mut broken) = (0, 0);
    for _ in 0..6000 {
        let (line, other) = (lines[random.below(lines.len())], lines[random.below(lines.len())]);
        let text = mutated(line, other, &mut random);
        match run(&text) {
            Ok(_) => fine += 1,
            Err(error) => {
                assert!(error.line > 0 && error.column > 0 && !error.pretty().is_empty(), "{text}");
                broken += 1;
            }
        }
        if let Ok(documents) = yaml::parse_documents(&text) {
            for document in documents {
                let _ = document.to_json();
            }
        }
    }
    assert!(fine > 100 && broken > 100, "{fine} fine, {broken} broken");
}
