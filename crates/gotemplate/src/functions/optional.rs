//! The functions that cargo features bring.
//!
//! A build without a feature knows the names of its functions all the same: a template that mentions one parses, and only a
//! call of it is an error, which names the feature. Templates have branches that are never taken.

use super::{Function, Run, Type};

/// The features with the names of their functions.
const FEATURES: [(&str, &[&str]); 7] = [
    ("case", &["swapcase", "initials", "camelcase", "snakecase", "kebabcase"]),
    (
        "crypto",
        &[
            "genPrivateKey",
            "genCA",
            "genCAWithKey",
            "genSelfSignedCert",
            "genSelfSignedCertWithKey",
            "genSignedCert",
            "genSignedCertWithKey",
            "buildCustomCert",
            "derivePassword",
            "sha1sum",
            "bcrypt",
            "htpasswd",
            "encryptAES",
            "decryptAES",
        ],
    ),
    (
        "dates",
        &[
            "now",
            "date",
            "dateInZone",
            "date_in_zone",
            "htmlDate",
            "htmlDateInZone",
            "dateModify",
            "date_modify",
            "mustDateModify",
            "must_date_modify",
            "ago",
            "toDate",
            "mustToDate",
            "unixEpoch",
            "duration",
            "durationRound",
            "mustToDuration",
            "durationNanoseconds",
            "durationMicroseconds",
            "durationMilliseconds",
            "durationSeconds",
            "durationMinutes",
            "durationHours",
            "durationDays",
            "durationWeeks",
            "durationRoundTo",
            "durationTruncateTo",
        ],
    ),
    (
        "random",
        &[
            "randAlphaNum",
            "randAlpha",
            "randNumeric",
            "randAscii",
            "randInt",
            "randBytes",
            "shuffle",
            "uuidv4",
        ],
    ),
    (
        "regex",
        &[
            "regexMatch",
            "mustRegexMatch",
            "regexFind",
            "mustRegexFind",
            "regexFindAll",
            "mustRegexFindAll",
            "regexReplaceAll",
            "mustRegexReplaceAll",
            "regexReplaceAllLiteral",
            "mustRegexReplaceAllLiteral",
            "regexSplit",
            "mustRegexSplit",
            "regexQuoteMeta",
        ],
    ),
    ("toml", &["toToml", "mustToToml", "fromToml"]),
    ("urls", &["urlParse", "urlJoin"]),
];

/// The cargo feature of this crate that a built-in function needs; `None` for a function that every build has, and for a
/// name that is not a function.
///
/// ```
/// assert_eq!(gotemplate::feature_of("genCA"), Some("crypto"));
/// assert_eq!(gotemplate::feature_of("toYaml"), None);
/// ```
#[must_use]
pub fn feature_of(function: &str) -> Option<&'static str> {
    FEATURES.iter().find(|(_, names)| names.contains(&function)).map(|(feature, _)| *feature)
}

/// Adds the functions whose features this build does not have.
pub(super) fn add_missing(functions: &mut Vec<Function>) {
    for (feature, names) in FEATURES {
        for name in names {
            if !functions.iter().any(|function| function.name == *name) {
                functions.push(Function {
                    name,
                    fixed: &[],
                    rest: Some(Type::Any),
                    run: Run::Missing(feature),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(
        feature = "case",
        feature = "crypto",
        feature = "dates",
        feature = "random",
        feature = "regex",
        feature = "toml",
        feature = "urls"
    ))]
    fn the_list_of_optional_functions_is_complete() {
        use crate::functions::{certificates, dates, patterns, random, secrets, toml, urls, words};
        let tables: [(&str, &[&[Function]]); 7] = [
            ("case", &[words::FUNCTIONS]),
            ("crypto", &[certificates::FUNCTIONS, secrets::FUNCTIONS]),
            ("dates", &[dates::FUNCTIONS]),
            ("random", &[random::FUNCTIONS]),
            ("regex", &[patterns::FUNCTIONS]),
            ("toml", &[toml::FUNCTIONS]),
            ("urls", &[urls::FUNCTIONS]),
        ];
        for ((feature, listed), (table, functions)) in FEATURES.iter().zip(tables) {
            assert_eq!(*feature, table);
            let mut found: Vec<&str> =
                functions.iter().copied().flatten().map(|function| function.name).collect();
            let mut listed = listed.to_vec();
            found.sort_unstable();
            listed.sort_unstable();
            assert_eq!(listed, found, "{feature}");
        }
    }

    #[test]
    fn no_function_of_an_enabled_feature_is_missing() {
        let enabled = [
            ("case", cfg!(feature = "case")),
            ("crypto", cfg!(feature = "crypto")),
            ("dates", cfg!(feature = "dates")),
            ("random", cfg!(feature = "random")),
            ("regex", cfg!(feature = "regex")),
            ("toml", cfg!(feature = "toml")),
            ("urls", cfg!(feature = "urls")),
        ];
        for (feature, names) in FEATURES {
            for name in names {
                let function = crate::functions::find(name).and_then(crate::functions::get).unwrap();
                assert_eq!(
                    enabled.contains(&(feature, true)),
                    !matches!(function.run, Run::Missing(_)),
                    "{name}"
                );
            }
        }
    }
}
