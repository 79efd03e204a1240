//! `.helmignore`: what belongs to the folder of a chart, but not to the chart.

use super::pattern::Pattern;

pub(super) struct Rules(Vec<Rule>);

struct Rule {
    pattern: Pattern,
    /// `!`: what does *not* match is ignored.
    negates: bool,
    /// A slash at the end.
    only_folders: bool,
    /// Without a slash inside, only the last part of a path counts.
    whole_path: bool,
}

impl Rules {
    /// Reads one pattern a line; hidden files of `templates/` are always ignored.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().chain(["templates/.?*"]).map(str::trim);
        let rules = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Rule::parse);
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    /// Whether a path of the chart is ignored.
    pub(super) fn ignores(&self, path: &str, is_folder: bool) -> bool {
        for rule in &self.0 {
            let matches = rule.matches(path);
            if rule.negates {
                if rule.only_folders && !is_folder || !matches {
                    return true;
                }
            } else if matches && (is_folder || !rule.only_folders) {
                return true;
            }
        }
        false
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        if line.contains("**") {
            return Err("double-star (**) syntax is not supported".to_owned());
        }
        let (negates, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (only_folders, line) = match line.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let whole_path = line.contains('/');
        let pattern = Pattern::parse(line.strip_prefix('/').unwrap_or(line));
        let pattern = pattern.ok_or_else(|| format!("syntax error in pattern '{line}'"))?;
        Ok(Self { pattern, negates, only_folders, whole_path })
    }

    fn matches(&self, path: &str) -> bool {
        let name = if self.whole_path { path } else { path.rsplit('/').next().unwrap_or(path) };
        self.pattern.matches(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Rules;

    #[test]
    fn patterns_ignore_what_they_name() {
        for (pattern, path, is_folder, ignored) in [
            ("helm.txt", "helm.txt", false, true),
            ("helm.*", "rudder.txt", false, false),
            ("*.txt", "cargo/a.txt", false, true),
            ("cargo/*.txt", "mast/a.txt", false, false),
            ("ru[c-e]?er.txt", "rudder.txt", false, true),
            ("", "templates/.dotfile", false, true),
            (".*", ".joonix", false, true),
            ("cargo/", "cargo", true, true),
            ("helm.txt/", "helm.txt", false, false),
            ("!helm.txt", "helm.txt", false, false),
            ("!helm.txt", "tiller.txt", false, true),
            ("/a.txt", "cargo/a.txt", false, false),
            ("/cargo/a.txt", "cargo/a.txt", false, true),
            ("# comment", "# comment", false, false),
        ] {
            let rules = Rules::parse(pattern).unwrap();
            assert_eq!(rules.ignores(path, is_folder), ignored, "{pattern} {path}");
        }
        assert!(Rules::parse("a/**/b").is_err() && Rules::parse("[z-").is_err());
    }
}
