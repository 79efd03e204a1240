//! Formats, YAML, regular expressions, versions, dates and templates, put together from pieces.

use super::random::Random;

/// A text as a string constant of a template.
fn constant(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[rustfmt::skip]
const VERBS_VALUES: &[&str] = &[
    "nil", "true", "0", "1", "-1", "65", "0x1F600", "9223372036854775807", "-9223372036854775808", "0.0", "1.5",
    "-2.25", "100000.0", "123456789.0", "1e21", "1e-7", "0.1", "3.0000000001", "(float64 \"nan\")",
    "(float64 \"inf\")", "(float64 \"-inf\")", "1i", "-1.5+2.25i", "\"\"", "\"abc\"", "\"\u{e4}\u{f6} \u{1f600}\"",
    "\"a`b\\n\\x00\"", "\"\\xff\\xfe\"", "(index \"abc\" 1)", "(int64 -42)", "(mustToDuration \"90m\")",
    "(list 1 \"a\" nil 2.5)", "(list)", "(splitList \",\" \"a,b\")", "(until 3)", "(dict \"a\" 1 \"b\" nil)",
    "(split \",\" \"x,y\")", "(list (list true) (dict \"k\" (list)))", "(dict)", "'x'", "(semver \"1.2.3\")",
];

#[rustfmt::skip]
const VERBS_VERBS: &[&str] = &[
    "v", "v", "v", "+v", "#v", "T", "d", "s", "q", "x", "X", "f", "F", "e", "E", "g", "G", "t", "c", "U", "#U", "b",
    "o", "O", "#x", "#q", "+q", "+d", "w", "z", "!", "%", "\u{e4}",
];

#[rustfmt::skip]
const VERBS_FLAGS: &[&str] = &[
    "", "", "", "#", "0", "+", "-", " ", "+ ", "-0", "# ", "#0", "+#", " 0",
];

#[rustfmt::skip]
const VERBS_WIDTHS: &[&str] = &[
    "", "", "", "0", "1", "5", "12", "*", "[1]*", "[2]", "[9]", "[x]",
];

#[rustfmt::skip]
const VERBS_PRECISIONS: &[&str] = &[
    "", "", "", ".", ".0", ".1", ".3", ".10", ".*", ".[1]*", ".[2]",
];

/// Formats with verbs, flags, widths, precisions and argument numbers, and values of every kind.
pub fn verbs(random: &mut Random, times: usize) -> Vec<String> {
    let mut snippets = Vec::new();
    for value in VERBS_VALUES.iter().filter(|value| !value.contains("semver")) {
        for verb in VERBS_VERBS {
            snippets.push(format!("{{{{ printf \"<%{verb}>\" {value} | quote }}}}"));
        }
    }
    for _ in 0..times {
        let mut format = String::new();
        for _ in 0..=random.below(2) {
            let (flags, width, precision) =
                (random.choose(VERBS_FLAGS), random.choose(VERBS_WIDTHS), random.choose(VERBS_PRECISIONS));
            format.push_str(&format!("<%{flags}{width}{precision}{}>", random.choose(VERBS_VERBS)));
        }
        let scalars = &VERBS_VALUES[..VERBS_VALUES.len() - 1];
        let arguments: Vec<&str> = (0..random.below(4)).map(|_| random.choose(scalars)).collect();
        snippets.push(format!("{{{{ printf {} {} | quote }}}}", constant(&format), arguments.join(" ")));
    }
    snippets
}

#[rustfmt::skip]
const YAML_SCALARS: &[&str] = &[
    "", "~", "null", "Null", "NULL", "nUll", "y", "Y", "yes", "YES", "yEs", "n", "no", "on", "Off", "true", "True",
    "TRUE", "tRue", "false", "0", "-0", "+1", "1", "01", "08", "0o7", "0x1F", "0X1f", "0b11", "-0b11", "1_000",
    "_1", "1_", "1__0", "0_7", "1.", ".5", "1.5", "-.5", "+.5", "1e3", "1E+3", "1e", ".e1", "1.5e-7", "1e400",
    "1_0.5", ".inf", "-.Inf", "+.INF", ".nan", ".NaN", "inf", "NaN", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "0.1", "123456789012345678", "1e21", "100000000000000000000000", "190:20:30", "1:60",
    "12:30", "2001-01-01", "2001-1-1", "2001-01-01T01:02:03Z", "2001-01-01 01:02:03.5", "2001-02-30", "<<", "=",
    "!", "-", "--", "---", "...", "?", ":", "a:b", "a: b", "a #b", "#", "a#b", "- a", "? a", ": a", "[a", "{a",
    "*a", "&a b", "!!str 1", "!x y", "|", ">", "%a", "@a", "`a", "'a", "\"a", "a'b", "a\"b", "a\\b", "a\tb", " a",
    "a ", "\u{e4}", "\u{1f600}", "\u{a0}", "\u{feff}", "\u{85}", "\u{2028}", "a\u{7f}", "a,b", "a]b", "a}b", "1Gi",
    "1.2.3", "v1", "a\nb", "a\nb\n", "a\n\nb\n\n", "\na", " a\nb", "a \nb", "a\n b", "\t", "\n", "\n\n", "a\rb",
    "a\r\nb",
];

#[rustfmt::skip]
const YAML_STYLES: &[(&str, &str)] = &[
    ("", ""), ("", "\n"), ("k: ", "\n"), ("- ", "\n"), ("'", "'"), ("\"", "\""), ("k: '", "'\nl: 1"),
    ("k: |\n  ", "\n"), ("k: >\n  ", "\n"), ("k: |-\n  ", "\n\n"), ("k: >+\n  ", "\n\n"), ("k: |2\n   ", "\n"),
    ("[", "]"), ("{k: ", "}"), ("", ": v"), ("? ", "\n: v"), ("{", ": v}"), ("a: &x ", "\nb: *x"), ("!!str ", ""),
    ("!!int ", ""), ("!!float ", ""), ("!!bool ", ""), ("!!null ", ""), ("!!binary ", ""), ("--- ", "\n"),
    ("# c\n", " # d\n"), ("- - ", "\n  - x\n"), ("k:\n  ", "\n"), ("k:\n- ", "\n- l: 1\n"), ("<<: ", "\n"),
    ("a: {b: 1}\n<<: {c: ", "}\n"), ("'a\n  ", "'"), ("\"a\\\n  ", "\""),
];

#[rustfmt::skip]
const YAML_PIECES: &[&str] = &[
    "a", "b: ", "c:\n", "- ", "  ", "    ", "\n", "\n", "\n", "x y", "'q'", "\"d\\n\"", "[", "]", "{", "}", ", ",
    ": ", "? ", "# c", "&a ", "*a", "!!str ", "|\n", ">\n", "|-\n", "---\n", "...\n", "<<: ", "1", "true", "~",
    "\t", "%YAML 1.1\n", "!t ",
];

/// Texts that YAML may take for something else, alone, as keys, in collections, folded, and written again.
pub fn yaml(random: &mut Random, times: usize) -> Vec<String> {
    let mut snippets = Vec::new();
    for scalar in YAML_SCALARS {
        for (before, after) in YAML_STYLES {
            let text = constant(&format!("{before}{scalar}{after}"));
            snippets.push(format!("{{{{ $y := list (fromYaml {text}) (fromYamlArray {text}) (fromYaml (print \"r: \" {text})) }}}}{{{{ range $y }}}}{{{{ if kindIs \"map\" . }}}}{{{{ if not .Error }}}}{{{{ toJson . }}}}|{{{{ toYaml . }}}}{{{{ else }}}}error{{{{ end }}}}{{{{ else if . }}}}{{{{ if regexMatch \"^error|^json\" (first . | toString) }}}}error{{{{ else }}}}{{{{ toJson . }}}}{{{{ end }}}}{{{{ end }}}};{{{{ end }}}}"));
        }
        let text = constant(scalar);
        let long = constant(&format!("{} {scalar} {}", "word ".repeat(14), "and more ".repeat(12)));
        snippets.push(format!(
            "{{{{ dict \"k\" {text} {text} \"v\" \"l\" (list {text} (dict \"m\" {text})) | toYaml }}}}"
        ));
        snippets.push(format!("{{{{ toYaml {text} }}}}|{{{{ toYamlPretty (list {text} (list {text})) }}}}|{{{{ toJson {text} }}}}"));
        snippets.push(format!("{{{{ dict \"k\" {long} \"l\" (list {long}) | toYaml }}}}|{{{{ dict \"k\" {long} | toYamlPretty }}}}"));
    }
    for _ in 0..times {
        let text = constant(&random.chain(YAML_PIECES, 12));
        snippets.push(format!("{{{{ $y := fromYaml {text} }}}}{{{{ if hasKey $y \"Error\" }}}}error{{{{ else }}}}{{{{ toJson $y }}}}|{{{{ toYaml $y }}}}{{{{ end }}}}"));
    }
    snippets
}

#[rustfmt::skip]
const EXPRESSIONS_PIECES: &[&str] = &[
    "a", "b", "ab", ".", "x", "1", "-", "_", " ", "\u{e4}", "\\.", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\b",
    "\\B", "^", "$", "\\A", "\\z", "\\Z", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{2,}", "{0}",
    "|", "(", ")", "(?:", "(?i)", "(?i:", "(?s)", "(?m)", "(?U)", "(?-i)", "(?P<n>", "(?<n>", "(?P<n>b)", "(?=a)",
    "[ab]", "[^ab]", "[a-c]", "[c-a]", "[]a]", "[^]a]", "[a-]", "[-a]", "[a", "[[:alpha:]]", "[[:^digit:]]",
    "[[:foo:]]", "[\\d-]", "[\\w.]", "[^\\s]", "[a&&b]", "[a~~b]", "[a--b]", "[[a]", "\\pL", "\\p{Greek}", "\\PN",
    "\\p{L}", "\\p{^L}", "\\pX", "\\x41", "\\x{e4}", "\\x{110000}", "\\101", "\\0", "\\1", "\\8", "\\Qa.b\\E",
    "\\Q(", "\\E", "\\C", "\\t", "\\n", "\\a", "\\e", "\\", "\\/", "\\-", "\\_", "\\q", "{", "}", "{a}", "]", "/",
    "#", "&", "~",
];

#[rustfmt::skip]
const EXPRESSIONS_TEXTS: &[&str] = &[
    "", "a", "ab", "aab", "abab", "a.b", "A B", "xx1-2_3", "\u{e4}b \u{3b1}", "a\nb\n", "line 1\nline 2", "  ",
    "a{,2}", "[a]", "(a)", "aaaa", "a-b", "&&", "foo bar", "1.2.3", "/a/b", "\u{1f600}",
];

#[rustfmt::skip]
const EXPRESSIONS_REPLACEMENTS: &[&str] = &[
    "", "<$0>", "${1}", "$1x", "${n}", "$n", "$$", "$", "${", "${1", "$2$1", "$\u{e4}", "\\1", "${01}", "$00",
];

/// Patterns of Go's syntax, sound and broken, with texts.
pub fn expressions(random: &mut Random, times: usize) -> Vec<String> {
    (0..times)
        .map(|_| {
            let pattern = constant(&random.chain(EXPRESSIONS_PIECES, 5));
            // `\\B` counts letters of Unicode as letters here.
            let is_ascii_only = pattern.contains("\\\\B");
            let texts: Vec<&str> = EXPRESSIONS_TEXTS.iter().copied().filter(|text| text.is_ascii() || !is_ascii_only).collect();
            let text = constant(random.choose(&texts));
            let replacement = constant(random.choose(EXPRESSIONS_REPLACEMENTS));
            let count = random.choose(&["-1", "0", "1", "2"]);
            format!(
                "{{{{ regexMatch {pattern} {text} }}}}|{{{{ mustRegexFind {pattern} {text} }}}}|{{{{ regexFindAll {pattern} {text} {count} }}}}|{{{{ regexReplaceAll {pattern} {text} {replacement} }}}}|{{{{ regexReplaceAllLiteral {pattern} {text} {replacement} }}}}|{{{{ regexSplit {pattern} {text} {count} | toJson }}}}"
            )
        })
        .collect()
}

#[rustfmt::skip]
const VERSIONS_NUMBERS: &[&str] = &[
    "0", "1", "2", "10", "01", "x", "*", "X", "-1", "", "18446744073709551616", "a",
];

#[rustfmt::skip]
const VERSIONS_EXTRAS: &[&str] = &[
    "", "", "", "-0", "-1", "-alpha", "-alpha.1", "-alpha.beta", "-01", "-a.01", "-", "+b", "+01", "-rc.1+b.2", "+",
    "-a_b", "+a..b", "-beta-2",
];

#[rustfmt::skip]
const VERSIONS_OPERATORS: &[&str] = &[
    "", "=", "!=", ">", "<", ">=", "=>", "<=", "=<", "~", "~>", "^", "==", "><", "~ ", ">= ", "= ", "!", "^^",
];

#[rustfmt::skip]
const VERSIONS_JOINTS: &[&str] = &[
    " ", ", ", ",", " || ", "||", " - ", "  ", "|", " -", ",,", " ,",
];

/// Versions and constraints, sound and broken.
pub fn versions(random: &mut Random, times: usize) -> Vec<String> {
    let version = |random: &mut Random, broken: bool| {
        let numbers = if broken { VERSIONS_NUMBERS } else { &VERSIONS_NUMBERS[..4] };
        let parts: Vec<&str> =
            (0..=random.below(if broken { 4 } else { 3 })).map(|_| random.choose(numbers)).collect();
        let prefix = random.choose(&["", "", "", "v", "V", " "]);
        format!("{}{}{}", if broken { prefix } else { "" }, parts.join("."), random.choose(VERSIONS_EXTRAS))
    };
    (0..times)
        .map(|_| {
            let broken = random.below(3) == 0;
            let is_checked_broken = random.below(6) == 0;
            let checked = version(random, is_checked_broken);
            let mut constraint = random.choose(VERSIONS_OPERATORS).to_owned() + &version(random, broken);
            for _ in 0..random.below(3) {
                let joint = random.choose(VERSIONS_JOINTS);
                constraint.push_str(joint);
                constraint.push_str(if joint == " - " { "" } else { random.choose(VERSIONS_OPERATORS) });
                constraint.push_str(&version(random, broken));
            }
            match random.below(5) {
                0 => {
                    let (a, b) = (constant(&checked), constant(&version(random, broken)));
                    format!("{{{{ $v := semver {a} }}}}{{{{ $v }}}} {{{{ $v.Major }}}} {{{{ $v.Minor }}}} {{{{ $v.Patch }}}} {{{{ $v.Prerelease }}}} {{{{ $v.Metadata }}}} {{{{ $v.Original }}}} {{{{ $v.IncMajor }}}} {{{{ $v.IncMinor }}}} {{{{ $v.IncPatch }}}} {{{{ toJson $v }}}} {{{{ $v.Compare (semver {b}) }}}}")
                }
                _ => format!("{{{{ semverCompare {} {} }}}}", constant(&constraint), constant(&checked)),
            }
        })
        .collect()
}

#[rustfmt::skip]
const DATES_PARTS: &[&str] = &[
    "2006", "06", "01", "1", "Jan", "January", "02", "2", "_2", "002", "__2", "15", "03", "3", "04", "4", "05", "5",
    "PM", "pm", "MST", "Z07:00", "-0700", "-07", "-07:00:00", "Z0700", "Z07", ".000", ".999", ",000", ".0", "Mon",
    "Monday", "T", " ", "-", ":", "/", "Month", "x", "\u{e4}", "_", "0", "20", "2006-01-02", "15:04:05",
    ".000000000", ".9999999999",
];

#[rustfmt::skip]
const DATES_LAYOUTS: &[&str] = &[
    "2006-01-02", "2006-01-02T15:04:05Z07:00", "Mon, 02 Jan 2006 15:04:05 MST", "Jan _2 15:04:05", "02/01/06",
    "3:04PM", "2006-01-02 15:04:05.999999999 -0700 MST", "Monday, 02-Jan-06 15:04:05 MST", "2006-002",
    "15:04:05.000", "2 1 2006",
];

#[rustfmt::skip]
const DATES_TEXTS: &[&str] = &[
    "2024-02-29", "2023-02-29", "2024-2-9", "2024-02-29T12:30:45Z", "2024-02-29T12:30:45.123456789+05:30",
    "Thu, 29 Feb 2024 12:30:45 CET", "feb 29 12:30:45", "Feb  9 01:02:03", "29/02/24", "3:04PM", "12:04am",
    "13:04PM", "2024-02-29 12:30:45.5 +0100 CET", "2024-060", "2024-366", "12:30:45.123", "24:00:00", "29 2 2024",
    "", "x", "0000-01-01", "9999-12-31", "2024-02-29T12:30:45-00:00", "2024-02-29T12:30:45", "2024-13-01",
    "2024-00-10", "Mon, 02 Jan 2006 15:04:05 GMT+3", "Mon, 02 Jan 2006 15:04:05 WITA",
    "Mon, 02 Jan 2006 15:04:05 abc",
];

#[rustfmt::skip]
const DATES_ZONES: &[&str] = &[
    "UTC", "", "Local", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo",
    "Pacific/Auckland", "Etc/GMT+5", "nowhere", "europe/berlin", "../UTC", "Australia/Lord_Howe",
];

#[rustfmt::skip]
const DATES_SECONDS: &[&str] = &[
    "0", "1", "-1", "1700000000", "1690000000", "-5000000000", "253402300799", "951782400", "-62135596800",
    "1711846800", "(int64 4102444800)", "1.5", "nil", "\"x\"",
];

#[rustfmt::skip]
const DATES_DURATIONS: &[&str] = &[
    "1h", "-1.5h", "90m", "1h2m3.5s", "100ms", "1us", "1\u{b5}s", "1ns", "0", "", "1", "x", "1d", "-", "1h-1m",
    ".5s", "1.s", ".s", "9223372036854775807ns", "9223372036854775808ns", "2562047h47m16.854775807s", "3000000h",
    "0.1ns", "1e3s", " 1h", "+5m", "--1s",
];

/// Layouts, texts that fit them or nearly do, zones and durations.
pub fn dates(random: &mut Random, times: usize) -> Vec<String> {
    let mut snippets = Vec::new();
    for zone in DATES_ZONES {
        for seconds in DATES_SECONDS.iter().filter(|seconds| !matches!(**seconds, "1.5" | "nil" | "\"x\"")) {
            snippets.push(format!(
                "{{{{ dateInZone \"2006-01-02 15:04:05 MST -07:00\" {seconds} \"{zone}\" }}}}"
            ));
        }
    }
    for duration in DATES_DURATIONS {
        let text = constant(duration);
        snippets.push(format!("{{{{ mustToDuration {text} }}}}"));
        snippets.push(format!("{{{{ durationRound {text} }}}} {{{{ duration {text} }}}} {{{{ durationSeconds {text} }}}} {{{{ durationHours {text} }}}}"));
        snippets.push(format!("{{{{ dateModify {text} (toDate \"2006-01-02\" \"2024-02-29\") }}}}"));
    }
    for _ in 0..times {
        let layout = if random.below(2) == 0 {
            random.choose(DATES_LAYOUTS).to_owned()
        } else {
            random.chain(DATES_PARTS, 4)
        };
        let (layout, text) = (constant(&layout), constant(random.choose(DATES_TEXTS)));
        let zone = random.choose(DATES_ZONES);
        snippets.push(match random.below(3) {
            0 => format!("{{{{ dateInZone {layout} {} {zone:?} }}}}", random.choose(&DATES_SECONDS[..11])),
            1 => format!("{{{{ $d := toDate {layout} {text} }}}}{{{{ $d }}}}|{{{{ unixEpoch $d }}}}|{{{{ toJson $d }}}}|{{{{ $d.YearDay }}}} {{{{ $d.Weekday }}}} {{{{ $d.IsZero }}}}|{{{{ dateModify {} $d }}}}", constant(random.choose(DATES_DURATIONS))),
            _ => format!("{{{{ $d := mustToDate {layout} {text} }}}}{{{{ dateInZone {layout} $d {zone:?} }}}}"),
        });
    }
    snippets
}

#[rustfmt::skip]
const LANGUAGE_PIECES: &[&str] = &[
    "x", " \n ", "{{ end }}", "{{- end -}}", "{{ end }}", "{{ end }}", "{{ else }}", "{{ if .Values.one }}",
    "{{ if .Values.missing }}", "{{ else if .Values.yes }}", "{{ with .Values.map }}",
    "{{ with $x := .Values.name }}", "{{ else with .Values.other }}", "{{ range .Values.list }}",
    "{{ range $i, $e := .Values.list }}", "{{ range $k, $v := .Values.map }}", "{{ range 3 }}",
    "{{ range $i := 2 }}", "{{ range $i, $j := 2 }}", "{{ range .Values.empty }}", "{{ range .Values.missing }}",
    "{{ range nil }}", "{{ break }}", "{{ continue }}", "{{ . }}", "{{ $ }}", "{{ .Values.name }}",
    "{{ $.Values.one }}", "{{ .missing }}", "{{ .Values.missing.x }}", "{{ $x }}", "{{ $x := 1 }}", "{{ $x = 2 }}",
    "{{ $y := .Values.list }}", "{{ $i }}{{ $e }}", "{{ $k }}={{ $v }}", "{{ template \"greet\" . }}",
    "{{ template \"name\" $.Values }}", "{{ include \"greet\" . | upper }}", "{{ define \"d\" }}d{{ . }}",
    "{{ block \"b\" . }}b", "{{ template \"d\" 1 }}", "{{/* c */}}", "{{- /* c */ -}}", "{{ /* c */ }}",
    "{{ `raw` }}", "{{ \"q\\t\" }}", "{{ 'c' }}", "{{ 0x1p2 }}", "{{ 1_000 }}", "{{ 017 }}", "{{ 1i }}",
    "{{ true }}", "{{ nil }}", "{{ (.Values.map).nested.deep }}", "{{ (index .Values.list 1) }}",
    "{{ .Values.list | len | printf \"%d\" }}", "{{ .Values.name | printf \"%s-%s\" \"a\" }}", "{{ 1 | 2 }}",
    "{{ .Values.map.a.b }}", "{{ not .Values.no }}", "{{ and 1 .Values.zero (fail \"x\") }}",
    "{{ or 0 .Values.name (fail \"x\") }}", "{{ eq 1 1.0 }}", "{{ eq .Values.one 1.0 }}", "{{ lt 1 2 }}",
    "{{ len nil }}", "{{ call 1 }}", "{{ print 1 2 \"a\" 3 }}", "{{ println . }}", "{{- 3 -}}", "{{-3}}",
    "{{ -3 }}", "{{ .Values | len }}", "{{ range $.Values.mixed }}", "{{ with nil }}", "{{ if nil }}",
    "{{ if and .Values.one (not .Values.zero) }}", "{{ (1) }}", "{{ ((1)) }}", "{{ (print 1).x }}",
    "{{ .Values.name.x }}", "{{ $.Values.nulls.a }}", "{{ $.Values.nulls.a.b }}",
    "{{ $a := 1 }}{{ $a := 2 }}{{ $a }}", "{{ range $i, $e = .Values.list }}", "{{ $e := 0 }}",
    "{{ tpl \"{{ . }}\" 1 }}", "{{ tpl .Values.template $ }}", "{{ .Release.Name }}", "{{ .Template.Name }}", "{{",
    "}}", "{{ if }}", "{{ x }}", "{{ . . }}", "{{ .Values.name 1 }}", "{{\n1\n}}", "{{ 1 }} }}", "{{ \"}}\" }}",
    "{{ `a\nb` }}", "{{ $\u{e4} := 1 }}{{ $\u{e4} }}", "{{ .\u{e4} }}", "{{ ternary 1 2 true }}",
    "{{ default 1 .Values.zero }}", "{{ .Values.AsMap.name }}", "{{ end }}",
];

#[rustfmt::skip]
const LANGUAGE_OPENERS: &[&str] = &[
    "{{ if .Values.one }}", "{{ if .Values.zero }}", "{{ with .Values.map }}", "{{ with .Values.missing }}",
    "{{ range .Values.list }}", "{{ range $i, $e := .Values.numbers }}", "{{ range $k, $v := $.Values.map }}",
    "{{ range 3 }}", "{{ with $x := 5 }}", "{{ range .Values.mixed }}", "{{ if eq (len .Values.list) 3 -}}",
    "{{- range until 3 }}", "{{ define \"e\" }}", "{{ block \"c\" 1 }}",
];

/// Templates put together from actions, most of them sound.
pub fn language(random: &mut Random, times: usize) -> Vec<String> {
    (0..times)
        .map(|_| {
            if random.below(2) == 0 {
                return random.chain(LANGUAGE_PIECES, 6);
            }
            let mut text = String::new();
            let mut open = 0;
            for _ in 0..=random.below(4) {
                if random.below(2) == 0 {
                    text.push_str(random.choose(LANGUAGE_OPENERS));
                    open += 1;
                }
                text.push_str(random.choose(LANGUAGE_PIECES));
                if open > 0 && random.below(4) == 0 {
                    text.push_str(random.choose(&["{{ else }}", "{{- else }}", "{{ else if .Values.yes }}"]));
                }
                if open > 0 && random.below(3) == 0 {
                    text.push_str("{{ end }}");
                    open -= 1;
                }
            }
            text + &"{{ end }}".repeat(open)
        })
        .collect()
}
