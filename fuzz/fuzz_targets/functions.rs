//! Any two texts in the hands of every function that reads one.
//!
//! `cargo +nightly fuzz run functions`

#![no_main]

use gotemplate::{Environment, Limits, Map, Templates, Value};
use libfuzzer_sys::fuzz_target;

const READERS: [&str; 22] = [
    "{{ fromJson .t | toJson }}{{ fromJsonArray .t | toPrettyJson }}",
    "{{ fromYaml .t | toYaml }}{{ fromYamlArray .t | toYamlPretty }}",
    "{{ fromToml .t | toToml }}",
    "{{ regexReplaceAll .t .o .t }}{{ regexSplit .t .o 3 }}",
    "{{ regexFindAll .o .t -1 }}",
    "{{ semverCompare .t .o }}",
    "{{ (semver .t).IncPatch }}",
    "{{ toDate .t .o }}{{ mustToDate .o .t }}",
    "{{ dateInZone .t 0 .o }}",
    "{{ dateModify .t (toDate \"2006\" \"9999\") }}",
    "{{ mustToDuration .t }}{{ durationRound .t }}",
    "{{ printf .t 1 \"a\" 2.5 .o }}",
    "{{ tpl .t . }}",
    "{{ urlParse .t | urlJoin }}",
    "{{ b64dec .t }}{{ b32dec .t }}{{ decryptAES .o .t }}",
    "{{ snakecase .t | camelcase }}{{ title .t }}",
    "{{ wrapWith 3 .o .t }}{{ abbrevboth 5 9 .t }}",
    "{{ splitList .o .t | toJson }}{{ splitn .o 2 .t }}",
    "{{ replace .o .t .t }}",
    "{{ js .t | html | quote | squote }}{{ clean .t }}{{ dir .t }}",
    "{{ addf .t .o }}{{ int .t }}{{ float64 .t }}{{ toDecimal .t }}",
    "{{ dict .t .o | toYaml }}{{ dict .t .o | toToml }}",
];

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (choice, other, text) = input;
    let mut templates = Templates::new();
    templates.set_limits(Limits { steps: 200_000, output: 1 << 20, memory: 16 << 20, stack: 512 << 10 });
    templates.set_environment(Environment { now: Some(0), seed: Some([1; 32]), ..Environment::default() });
    let dot = Map::new();
    dot.insert("t", Value::text(text.to_vec()));
    dot.insert("o", Value::string(other));
    let reader = READERS[usize::from(choice) % READERS.len()];
    let _ = templates.parse("fuzz", reader).and_then(|()| templates.execute("fuzz", &Value::Map(dot)));
});
