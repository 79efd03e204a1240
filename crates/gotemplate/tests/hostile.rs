//! Templates, values and texts that mean harm, or are broken: an error each time, never a crash, never a hang.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

mod bodies;
mod mutation;

use bodies::SMALL;
use gotemplate::{Error, Functions, Limits, yaml};
use mutation::{Random, mutated, rounds};

fn run(source: &str) -> Result<String, Error> {
    bodies::run(SMALL, source)
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
        "{{ $t := toYaml (dict \"l\" (until 10000)) }}{{ $l := list }}{{ range until 400 }}{{ $l = append $l (fromYaml $t) }}{{ end }}".to_owned(),
        "{{ $d := dict \"l\" (until 10000) }}{{ $l := list }}{{ range until 400 }}{{ $l = append $l (deepCopy $d) }}{{ end }}".to_owned(),
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
    assert_eq!(bodies::run(Limits::default(), deep_list).unwrap(), "1");
    let cycle = "{{ $x := dict }}{{ $_ := set $x \"self\" $x }}";
    assert_eq!(run(&format!("{cycle}{{{{ $x.self.self.self | len }}}}{{{{ toYaml $x }}}}")).unwrap(), "1");
    assert!(run(&format!("{cycle}{{{{ $_ := merge $x $x }}}}ok")).is_ok());
}

#[test]
fn values_that_are_only_passed_through_take_no_memory() {
    for source in [
        "{{ $t := repeat 100000 \"x\" }}{{ range until 2000 }}{{ $_ := default \"\" $t }}{{ end }}ok",
        "{{ $d := dict }}{{ range until 2000 }}{{ $_ := set $d (toString .) 1 }}{{ end }}ok",
        "{{ $l := list (repeat 100000 \"x\") }}{{ range until 2000 }}{{ $_ := first $l }}{{ $_ := index $l 0 }}{{ end }}ok",
    ] {
        assert_eq!(run(source).unwrap(), "ok", "{source}");
    }
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
    assert_eq!((error.file(), error.line(), error.column()), ("hostile.yaml", 3, 9));
    assert_eq!(
        error.pretty(),
        "hostile.yaml:3:9: at <.Values.missing.x>: nil pointer evaluating interface {}.x\n  |\n3 | \u{e4}\tc: {{ .Values.missing.x | quote }}\n  |  \t      ^"
    );
    let error = run("x\n{{ nofunction 1 }}").unwrap_err();
    assert_eq!(error.to_string(), "hostile.yaml:2:4: function \"nofunction\" not defined");
}

#[test]
fn each_kind_of_harm_is_reported_with_its_location() {
    let cycle = "{{ $x := dict }}{{ $_ := set $x \"self\" $x }}\n";
    for (source, line, expression) in [
        (
            "\n{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}".to_owned(),
            2,
            "template \"a\"",
        ),
        (
            "{{ define \"a\" }}\n{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}".to_owned(),
            2,
            "include \"a\" .",
        ),
        ("x\n\n  {{ range 1000000000 }}{{ end }}".to_owned(), 3, "1000000000"),
        ("{{ repeat 1000000000 \"abc\" }}".to_owned(), 1, "repeat 1000000000 \"abc\""),
        ("{{ range until 2000 }}\n{{ repeat 100000 \"x\" }}{{ end }}".to_owned(), 2, "repeat 100000 \"x\""),
        (
            "{{ range until 2000 }}\n{{ $x := repeat 90000 \"x\" }}{{ end }}".to_owned(),
            2,
            "repeat 90000 \"x\"",
        ),
        (format!("{cycle}{{{{ $x }}}}"), 2, "$x"),
        (format!("{cycle}{{{{ mustToJson $x }}}}"), 2, "mustToJson $x"),
        (format!("{cycle}{{{{ deepCopy $x }}}}"), 2, "deepCopy $x"),
        (
            "{{ mustRegexMatch \"((a{1000}){1000}){1000}\" \"a\" }}".to_owned(),
            1,
            "mustRegexMatch \"((a{1000}){1000}){1000}\" \"a\"",
        ),
        ("a: 1\n{{ tpl (repeat 3000 \"{{ if 1 }}\") . }}".to_owned(), 1, ""),
    ] {
        let error = run(&source).unwrap_err();
        assert_eq!((error.line(), error.expression()), (line, expression), "{source}: {error}");
        assert!(error.pretty().lines().count() == 4 && error.pretty().ends_with('^'), "{}", error.pretty());
    }
}

/// Limits of a program that renders what strangers wrote.
const STRICT: Limits = bodies::SMALL
    .with_argument_bytes_per_step(64)
    .with_pattern_bytes(64 << 10)
    .with_functions(Functions::Inexpensive);

#[test]
fn an_error_names_the_function_that_is_disabled() {
    for call in [
        "genPrivateKey \"rsa\"",
        "genCA \"a\" 1",
        "genSelfSignedCert \"a\" nil nil 1",
        "buildCustomCert \"a\" \"b\"",
        "derivePassword 1 \"long\" \"a\" \"b\" \"c\"",
        "bcrypt \"a\"",
        "htpasswd \"a\" \"b\"",
        "encryptAES \"a\" \"b\"",
        "uniq (list 1)",
    ] {
        let name = call.split(' ').next().unwrap();
        let disabled = format!("function {name:?} is disabled");
        let source = format!("a: 1\nb: {{{{ {call} }}}}\n");
        let error = bodies::run(STRICT, &source).unwrap_err();
        assert!(error.message().starts_with(&disabled), "{call}: {error}");
        assert_eq!((error.line(), error.expression()), (2, call));
        // In a text that is executed by `tpl`, too.
        let inner =
            bodies::run(STRICT, &format!("{{{{ tpl {:?} . }}}}", format!("{{{{ {call} }}}}"))).unwrap_err();
        assert!(inner.message().contains(&disabled), "{call}: {inner}");
        let allowed = bodies::run(bodies::SMALL, &source)
            .err()
            .map(|error| error.message().to_owned())
            .unwrap_or_default();
        assert!(!allowed.contains("is disabled"), "{call}: {allowed}");
    }
}

#[test]
fn reading_a_large_argument_again_and_again_takes_steps() {
    let text = "{{ $t := repeat 100000 \"x\" }}{{ range until 500 }}";
    let list = "{{ $l := until 10000 }}{{ range until 500 }}";
    let map = "{{ $m := dict }}{{ range until 2000 }}{{ $_ := set $m (toString .) (dict \"a\" .) }}{{ end }}\
               {{ range until 500 }}";
    for source in [
        format!("{text}{{{{ $_ := contains \"y\" $t }}}}{{{{ end }}}}"),
        format!("{text}{{{{ $_ := regexMatch \"y\" $t }}}}{{{{ end }}}}"),
        format!("{list}{{{{ $_ := has -1 $l }}}}{{{{ end }}}}"),
        format!("{list}{{{{ $_ := deepEqual $l $l }}}}{{{{ end }}}}"),
        format!("{map}{{{{ $_ := mergeOverwrite $m $m }}}}{{{{ end }}}}"),
        // Small, and yet without end.
        "{{ $m := dict }}{{ $_ := set $m \"m\" $m }}{{ toYaml $m }}".to_owned(),
    ] {
        let uncounted = STRICT.with_argument_bytes_per_step(usize::MAX);
        assert!(bodies::run(uncounted, &source).is_ok(), "{source}");
        let error = bodies::run(STRICT, &source).unwrap_err();
        assert!(error.message().contains("more steps"), "{source}: {error}");
    }
    // What is only passed on is not read.
    let passed = format!("{{{{ define \"d\" }}}}{{{{ end }}}}{map}{{{{ include \"d\" $m }}}}{{{{ end }}}}ok");
    assert_eq!(bodies::run(STRICT, &passed).unwrap(), "ok");
}

#[test]
fn a_regular_expression_is_bounded_when_it_is_compiled() {
    let source = "{{ mustRegexMatch \"(\\\\pL{10}){2}\" \"a\" }}";
    assert!(bodies::run(STRICT.with_pattern_bytes(10 << 20), source).is_ok());
    assert!(bodies::run(STRICT, source).is_err());
}

/// Texts of everything that functions read.
const TEXTS: [&str; 24] = [
    "{\"a\": [1, 2.5e-3, null, \"\\u00e4\"], \"b\": {\"c\": true}}",
    "a: &x {b: [1, *x]}\nc: |2-\n   text\n? d\n: !!int 5\n",
    "a = 1\n[b.\"c d\"]\ne = [1, 2]\nf = 1979-05-27T07:32:00Z\n[[g]]\nh = '''x'''\n",
    "^(?P<a>[[:alpha:]\\d-]+)(?i:b|c){1,3}?[^\\pL\\x{e4}]*\\Qx\\E$",
    ">=1.2.3-a.1 <2 || ~3.x, !=3.1.4 - 5",
    "v1.2.3-alpha.1+build.5",
    "Mon Jan _2 15:04:05.000 2006 -07:00 MST PM",
    "2024-02-29T12:30:45.123+05:30",
    "Europe/Berlin",
    "1h2m3.5s",
    "%+#0-12.[2]*[1]v %q %x %[3]d %!",
    "{{ range $i, $e := .l }}{{ if eq $i 1 }}{{ break }}{{ end }}{{ $e | quote }}{{ else }}x{{ end }}",
    "{{ define \"r\" }}{{ include \"r\" . }}{{ end }}{{ include \"r\" . }}",
    "https://us%20er:p@[::1]:80/a%2Fb/../c?x=1&y=2#frag",
    "aGVsbG8gd29ybGQgYWdhaW4gYW5kIGFnYWlu",
    "NBSWY3DPEB3W64TMMQ======",
    "SomeHTTPValue2Of_things-and more",
    "1_000.5e+3",
    "0x1.8p-2",
    "-9223372036854775808",
    "99999999999999999999999999999999",
    "((((((((((x{2}){2}){2}){2}){2}){2}){2}){2}){2}){2})",
    "[[[[[[[[[[[[[[[[[[[[{{{{{{{{{{{{{{",
    "a,b,,c d  e\tf\n\n",
];

#[test]
fn no_text_makes_a_function_crash_or_hang() {
    let mut random = Random(11);
    let (mut fine, mut broken) = (0, 0);
    for round in 0..rounds(4000) {
        let (text, other) = (TEXTS[random.below(TEXTS.len())], TEXTS[random.below(TEXTS.len())]);
        let text = mutated(text, other, &mut random);
        let mut bytes = text.into_bytes();
        // Every other text holds a byte that is no text.
        if round % 2 == 0 {
            bytes.insert(random.below(bytes.len() + 1), 0xe4);
        }
        match bodies::function(random.below(bodies::READERS.len()), &bytes, other) {
            Ok(_) => fine += 1,
            Err(_) => broken += 1,
        }
    }
    assert!(fine > 100 && broken > 100, "{fine} fine, {broken} broken");
}

#[test]
fn numbers_have_as_many_digits_as_they_are_asked_for() {
    // More than Rust itself prints.
    for verb in
        ["%.1000000f", "%.70000e", "%.70000g", "%.70000x", "%.70000d", "%.70000U", "%70000d", "%070000f"]
    {
        let source = format!("{{{{ printf \"{verb}\" 1.5 }}}}{{{{ printf \"{verb}\" 1 }}}}");
        assert!(bodies::run(Limits::default(), &source).is_ok(), "{verb}");
    }
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
    for _ in 0..rounds(6000) {
        let (line, other) = (lines[random.below(lines.len())], lines[random.below(lines.len())]);
        let text = mutated(line, other, &mut random);
        match bodies::template(&text) {
            Ok(_) => fine += 1,
            Err(_) => broken += 1,
        }
        bodies::yaml(&text);
    }
    assert!(fine > 100 && broken > 100, "{fine} fine, {broken} broken");
}
