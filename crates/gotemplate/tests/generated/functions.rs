//! Calls of every function with arguments of every shape.

use super::random::Random;

/// Arguments of every type that templates can hold, and of every shape of it.
#[rustfmt::skip]
const ARGUMENTS: &[&str] = &[
    "nil", ".Values.missing", ".Values.nulls.a", ".Values", ".Values.map", ".Values.list", ".Values.mixed", "true",
    "false", "0", "1", "3", "-1", "-7", "(int64 5)", "(int64 -5)", "1.5", "-2.5", "1e21", "1e300", "0.0000001",
    "2i", "'x'", "(float64 3)", "(float64 \"nan\")", "(index \"abc\" 1)", "(mustToDuration \"90m1s\")",
    "(toDate \"2006-01-02\" \"2024-02-29\")", "\"\"", "\" \"", "\"a\"", "\"Hello, wide World\"",
    "\"\u{e4}\u{f6}\u{fc} \u{df} \u{20ac} \u{1f600}\"", "\"\u{130}\u{131}\u{1c4}\u{149}\"", "\"a,b,,c\"", "\"12\"",
    "\"-1.50\"", "\"0x1F\"", "\"017\"", "\"1e3\"", "\"true\"", "\"1h30m\"", "\"2024-02-29\"", "\"  x\\ty  \\n\"",
    "\"line one\\nline two\\n\"", "\"{\\\"a\\\": [1, 2.5, null], \\\"b\\\": \\\"<&>\\\"}\"", "\"[1, \\\"x\\\"]\"",
    "\"a: 1\\nb: [x]\\n\"", "\"a = 1\\n[b]\\nc = [1, 2]\\n\"", "\"[a-c]+\"", "\"(\"", "\"1.2.3\"", "\"^1.2\"",
    "\"https://u:p@host:80/p/../q.txt?x=1#f\"", "\"/a//b/../c.tar.gz\"", "\"aGVsbG8=\"", "\"NBSWY3DP\"",
    "\"SomeHTTPValue2Of_things\"", "\"\\x00\\x1f\\x7f\\\"\\\\\"", BINARY, "\"UTC\"", "\"Europe/Berlin\"",
    "\"2006-01-02\"", "\"map\"", "(list)", "(list 1 2 3)", "(list 3 1 2 1)", "(list \"b\" \"a\" nil)",
    "(list \"a\" 1 2.5 true nil (list) (dict))", "(list (dict \"a\" 1) (dict \"a\" 2 \"b\" nil))", "(list nil)",
    "(splitList \",\" \"a,b\")", "(until 4)", "(chunk 2 (list 1 2 3))", "(regexFindAll \"x\" \"a\" -1)", "(dict)",
    "(dict \"a\" 1)", "(dict \"a\" \"x\" \"b\" (dict \"c\" nil))",
    "(dict \"scheme\" \"http\" \"host\" \"h:1\" \"path\" \"p\")", "(dict 1 2)", "(split \",\" \"a,b\")",
    "(semver \"1.2.3-a.1+b\")", ".Release",
];

/// Keys of maps are text here.
const BINARY: &str = "\"a\\xffb\"";

/// Arguments that make Go use up all memory where they are counts.
#[rustfmt::skip]
const LARGE: &[&str] = &[
    "9223372036854775807", "-9223372036854775808", "(int64 9223372036854775807)", "0xffffffffff",
];

/// A function with the least and the most arguments that are tried.
type Arity = (&'static str, usize, usize);

/// Functions whose answer is the same each time.
#[rustfmt::skip]
const FUNCTIONS: &[Arity] = &[
    ("abbrev", 2, 2), ("abbrevboth", 3, 3), ("add", 0, 3), ("add1", 1, 1), ("add1f", 1, 1), ("addf", 0, 3),
    ("adler32sum", 1, 1), ("all", 0, 3), ("and", 1, 3), ("any", 0, 3), ("append", 2, 2), ("atoi", 1, 1),
    ("b32dec", 1, 1), ("b32enc", 1, 1), ("b64dec", 1, 1), ("b64enc", 1, 1), ("base", 1, 1), ("biggest", 1, 3),
    ("camelcase", 1, 1), ("cat", 0, 3), ("ceil", 1, 1), ("clean", 1, 1), ("coalesce", 0, 3), ("compact", 1, 1),
    ("concat", 0, 3), ("contains", 2, 2), ("date", 2, 2), ("dateInZone", 3, 3), ("dateModify", 2, 2),
    ("date_in_zone", 3, 3), ("date_modify", 2, 2), ("decryptAES", 2, 2), ("deepCopy", 1, 1), ("deepEqual", 2, 2),
    ("default", 1, 2), ("dict", 0, 4), ("dig", 2, 4), ("dir", 1, 1), ("div", 2, 2), ("divf", 1, 3),
    ("duration", 1, 1), ("durationDays", 1, 1), ("durationHours", 1, 1), ("durationMicroseconds", 1, 1),
    ("durationMilliseconds", 1, 1), ("durationMinutes", 1, 1), ("durationNanoseconds", 1, 1),
    ("durationRoundTo", 2, 2), ("durationSeconds", 1, 1), ("durationTruncateTo", 2, 2), ("durationWeeks", 1, 1),
    ("empty", 1, 1), ("eq", 1, 3), ("ext", 1, 1), ("fail", 1, 1), ("first", 1, 1), ("float64", 1, 1),
    ("floor", 1, 1), ("fromJson", 1, 1), ("fromJsonArray", 1, 1), ("fromToml", 1, 1), ("fromYaml", 1, 1),
    ("fromYamlArray", 1, 1), ("ge", 2, 2), ("get", 2, 2), ("getHostByName", 1, 1), ("gt", 2, 2), ("has", 2, 2),
    ("hasKey", 2, 2), ("hasPrefix", 2, 2), ("hasSuffix", 2, 2), ("hello", 0, 0), ("html", 0, 3), ("include", 2, 2),
    ("index", 1, 3), ("initial", 1, 1), ("initials", 1, 1), ("int", 1, 1), ("int64", 1, 1), ("isAbs", 1, 1),
    ("join", 2, 2), ("js", 0, 3), ("kebabcase", 1, 1), ("kindIs", 2, 2), ("kindOf", 1, 1), ("last", 1, 1),
    ("le", 2, 2), ("len", 1, 1), ("list", 0, 3), ("lookup", 4, 4), ("lower", 1, 1), ("lt", 2, 2), ("max", 1, 3),
    ("maxf", 1, 3), ("merge", 1, 3), ("mergeOverwrite", 1, 3), ("min", 1, 3), ("minf", 1, 3), ("mod", 2, 2),
    ("mul", 1, 3), ("mulf", 1, 3), ("mustAppend", 2, 2), ("mustCompact", 1, 1), ("mustDateModify", 2, 2),
    ("mustDeepCopy", 1, 1), ("mustFirst", 1, 1), ("mustFromJson", 1, 1), ("mustHas", 2, 2), ("mustInitial", 1, 1),
    ("mustLast", 1, 1), ("mustMerge", 1, 3), ("mustMergeOverwrite", 1, 3), ("mustPrepend", 2, 2),
    ("mustPush", 2, 2), ("mustRegexFind", 2, 2), ("mustRegexFindAll", 3, 3), ("mustRegexMatch", 2, 2),
    ("mustRegexReplaceAll", 3, 3), ("mustRegexReplaceAllLiteral", 3, 3), ("mustRegexSplit", 3, 3),
    ("mustRest", 1, 1), ("mustReverse", 1, 1), ("mustSlice", 1, 3), ("mustToDate", 2, 2), ("mustToDuration", 1, 1),
    ("mustToJson", 1, 1), ("mustToPrettyJson", 1, 1), ("mustToRawJson", 1, 1), ("mustToToml", 1, 1),
    ("mustToYaml", 1, 1), ("mustUniq", 1, 1), ("mustWithout", 1, 3), ("must_date_modify", 2, 2), ("ne", 2, 2),
    ("nospace", 1, 1), ("not", 1, 1), ("omit", 1, 3), ("or", 1, 3), ("osBase", 1, 1), ("osClean", 1, 1),
    ("osDir", 1, 1), ("osExt", 1, 1), ("osIsAbs", 1, 1), ("pick", 1, 3), ("pluck", 1, 3), ("plural", 3, 3),
    ("prepend", 2, 2), ("print", 0, 4), ("printf", 1, 4), ("println", 0, 4), ("push", 2, 2), ("quote", 0, 3),
    ("regexFind", 2, 2), ("regexFindAll", 3, 3), ("regexMatch", 2, 2), ("regexQuoteMeta", 1, 1),
    ("regexReplaceAll", 3, 3), ("regexReplaceAllLiteral", 3, 3), ("regexSplit", 3, 3), ("replace", 3, 3),
    ("required", 2, 2), ("rest", 1, 1), ("reverse", 1, 1), ("round", 2, 3), ("semver", 1, 1),
    ("semverCompare", 2, 2), ("set", 3, 3), ("sha1sum", 1, 1), ("sha256sum", 1, 1), ("sha512sum", 1, 1),
    ("slice", 1, 3), ("snakecase", 1, 1), ("sortAlpha", 1, 1), ("split", 2, 2), ("splitList", 2, 2),
    ("splitn", 3, 3), ("squote", 0, 3), ("sub", 2, 2), ("subf", 1, 3), ("substr", 3, 3), ("swapcase", 1, 1),
    ("ternary", 3, 3), ("title", 1, 1), ("toDate", 2, 2), ("toDecimal", 1, 1), ("toJson", 1, 1),
    ("toPrettyJson", 1, 1), ("toRawJson", 1, 1), ("toString", 1, 1), ("toStrings", 1, 1), ("toToml", 1, 1),
    ("toYaml", 1, 1), ("toYamlPretty", 1, 1), ("tpl", 2, 2), ("trim", 1, 1), ("trimAll", 2, 2),
    ("trimPrefix", 2, 2), ("trimSuffix", 2, 2), ("trimall", 2, 2), ("trunc", 2, 2), ("tuple", 0, 3),
    ("typeIs", 2, 2), ("typeIsLike", 2, 2), ("typeOf", 1, 1), ("uniq", 1, 1), ("unixEpoch", 1, 1), ("unset", 2, 2),
    ("untitle", 1, 1), ("upper", 1, 1), ("urlJoin", 1, 1), ("urlParse", 1, 1), ("urlquery", 0, 3),
    ("without", 1, 3), ("wrap", 2, 2), ("wrapWith", 3, 3),
];

/// Functions that make as much as a number says.
#[rustfmt::skip]
const MAKERS: &[Arity] = &[
    ("chunk", 2, 2), ("indent", 2, 2), ("mustChunk", 2, 2), ("nindent", 2, 2), ("repeat", 2, 2), ("seq", 0, 3),
    ("until", 1, 1), ("untilStep", 3, 3),
];

/// Functions whose answer has no order, or differs each time: what they give is measured.
#[rustfmt::skip]
const MEASURED: &[Arity] = &[
    ("keys", 0, 2), ("values", 1, 1), ("randAlpha", 1, 1), ("randAlphaNum", 1, 1), ("randAscii", 1, 1),
    ("randBytes", 1, 1), ("randNumeric", 1, 1), ("shuffle", 1, 1), ("encryptAES", 2, 2),
];

/// Prints the type of what a call gives, and its value in four forms. What cannot be read becomes a message, and only that
/// there is one is compared.
fn shown(call: &str) -> String {
    let all = "{{ typeOf $r }}|{{ printf \"%q\" (print $r) }}|{{ printf \"%q\" $r }}|{{ toJson $r }}|{{ toYaml $r }}";
    let is_map = "and (kindIs \"map\" $r) (eq (typeOf $r) \"map[string]interface {}\") (eq (len $r) 1) (hasKey $r \"Error\")";
    let is_list = "and (kindIs \"slice\" $r) (eq (typeOf $r) \"[]interface {}\") (eq (len $r) 1)";
    if call.starts_with("from") {
        let shown = if call.contains("Array") { is_list } else { is_map };
        return format!("{{{{ $r := {call} }}}}{{{{ if {shown} }}}}one{{{{ else }}}}{all}{{{{ end }}}}");
    }
    format!("{{{{ $r := {call} }}}}{all}")
}

fn measured(call: &str) -> String {
    format!("{{{{ $r := {call} }}}}{{{{ typeOf $r }}}}|{{{{ len $r }}}}")
}

fn pick(random: &mut Random, with_large: bool) -> &'static str {
    if with_large && random.below(20) == 0 { random.choose(LARGE) } else { random.choose(ARGUMENTS) }
}

/// Every function that takes one argument with every argument, both ways of passing it.
pub fn of_one_argument() -> Vec<String> {
    let takes_one = |(_, least, most): &&Arity| *least <= 1 && *most >= 1;
    let calls = |table: &'static [Arity]| {
        table
            .iter()
            .filter(takes_one)
            .flat_map(|(name, ..)| ARGUMENTS.iter().map(move |argument| (name, argument)))
            .filter(|(name, argument)| **name != "dict" || **argument != BINARY)
            // What this printer makes of bytes that are no text, of dates and of NaN is in the README.
            .filter(|(name, argument)| {
                let is_excepted = [BINARY, "(float64 \"nan\")", "(toDate \"2006-01-02\" \"2024-02-29\")"]
                    .contains(argument);
                **name != "toYamlPretty" || !is_excepted
            })
            .map(|(name, argument)| format!("{name} {argument}"))
    };
    let piped = ARGUMENTS.iter().flat_map(|argument| {
        ["upper", "int64", "len", "first", "toYaml", "keys"].map(|name| format!("{argument} | {name}"))
    });
    let mut snippets: Vec<String> = calls(FUNCTIONS).chain(calls(MAKERS)).map(|call| shown(&call)).collect();
    snippets.extend(calls(MEASURED).chain(piped).map(|call| measured(&call)));
    snippets
}

/// Every function with other numbers of arguments, among them one too few and one too many.
pub fn of_several_arguments(random: &mut Random, times: usize) -> Vec<String> {
    let mut snippets = Vec::new();
    for (table, with_large, show) in
        [(FUNCTIONS, true, shown as fn(&str) -> String), (MAKERS, false, shown), (MEASURED, false, measured)]
    {
        for (name, least, most) in table {
            for count in least.saturating_sub(1)..=most + 1 {
                let tries = if (*least..=*most).contains(&count) && count > 0 { times * count } else { 1 };
                for _ in 0..tries {
                    let mut arguments: Vec<&str> = (0..count).map(|_| pick(random, with_large)).collect();
                    if matches!(*name, "dict" | "set" | "toYamlPretty") {
                        let is_excepted = |argument: &&mut &str| {
                            **argument == BINARY || argument.contains("nan") || argument.contains("toDate")
                        };
                        arguments.iter_mut().filter(is_excepted).for_each(|argument| *argument = "1");
                    }
                    // All that is no moment is now.
                    if name.starts_with("date") && !name.contains("odify") && count > 1 {
                        arguments[1] =
                            random.choose(&["0", "-1", "(int64 1700000000)", "(toDate \"2006\" \"2024\")"]);
                    }
                    snippets.push(show(&format!("{name} {}", arguments.join(" "))));
                }
            }
        }
    }
    snippets
}

#[rustfmt::skip]
const SHARING_HANDLES: &[&str] = &[
    "$a", "$b", "$a.x", "$b.x", "$a.x.y", "$l", "(index $l 0)", "$.Values.map", "$.Values",
];

#[rustfmt::skip]
const SHARING_MAKERS: &[&str] = &[
    "$a", "$b", "(dict)", "(dict \"x\" (dict \"y\" (dict)))", "(dict \"x\" nil)", "(dict \"x\" \"\")",
    "(dict \"x\" (list 1))", "(deepCopy $a)", "(deepCopy $b)", "(pick $a \"x\")", "(omit $b \"z\")", "$.Values.map",
    "$.Values.nulls", "(merge (dict) $a)", "(mergeOverwrite (dict) $b)", "(dict \"x\" $a)",
    "(dict \"x\" (dict \"y\" 5 \"z\" false))", "(first $l)",
];

#[rustfmt::skip]
const SHARING_KEYS: &[&str] = &[
    "\"x\"", "\"y\"", "\"z\"", "\"nested\"",
];

/// Programs that hold one map in several places and change it through one of them.
pub fn sharing(random: &mut Random, times: usize) -> Vec<String> {
    (0..times)
        .map(|_| {
            let mut program =
                "{{ $a := dict \"x\" (dict \"y\" (dict \"z\" 1)) }}{{ $b := dict \"z\" 0 }}{{ $l := list $a $b }}".to_owned();
            for _ in 0..=random.below(5) {
                let (handle, other) = (random.choose(SHARING_HANDLES), random.choose(SHARING_MAKERS));
                let (key, path) = (random.choose(SHARING_KEYS), random.choose(SHARING_KEYS));
                let step = match random.below(12) {
                    0 => format!("$b = {other}"),
                    1 => format!("$_ := set {handle} {key} {other}"),
                    2 => format!("$_ := unset {handle} {key}"),
                    3 => format!("$_ := merge {handle} {other}"),
                    4 => format!("$_ := mergeOverwrite {handle} {other}"),
                    5 => format!("$l = append $l {other}"),
                    6 => format!("$l = concat $l (list {other})"),
                    7 => format!("$_ := set {handle} {key} (dig {key} {path} \"none\" {other})"),
                    8 => format!("$_ := set $a {key} (get {handle} {path})"),
                    9 => format!("$l = without $l {other}"),
                    10 => format!("$_ := set {handle} {key} (hasKey {other} {path})"),
                    _ => format!("$l = {} $l", random.choose(&["reverse", "uniq", "rest", "initial", "compact"])),
                };
                // A value that contains itself is found here: Go would end the process when it merges or prints it.
                program.push_str(&format!("{{{{ {step} }}}}{{{{ $_ := deepCopy (list $a $b $l $.Values) }}}}"));
            }
            program + "{{ toYaml $a }}|{{ $b }}|{{ toJson $l }}|{{ toYaml $.Values.map }}"
        })
        .collect()
}
