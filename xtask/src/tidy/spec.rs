//! Every rule of `docs/spec` is held by a test that cites it.
//!
//! A rule is defined by its id in bold (`**STR-07**`) at the beginning of a line, or in a heading, a
//! list item or a table row. A test cites it by its name (`str_07_…`) or by the id in its text.

use std::collections::{BTreeMap, BTreeSet};

use super::RustFile;
use crate::{finding::Finding, rust_source::line_of, tree::Tree};

pub(super) fn check(tree: &Tree, rust: &[RustFile<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut rules: BTreeMap<&str, String> = BTreeMap::new();
    let specs = tree.ending(".md").filter(|file| file.path.starts_with("docs/spec/"));
    for file in specs {
        for (number, line) in (1..).zip(file.text.lines()) {
            let Some(rule) = defined(line) else { continue };
            if let Some(first) = rules.get(rule) {
                let what = format!("{rule} is defined a second time; first in {first}");
                found.push(Finding::at(&file.path, number, what));
            } else {
                rules.insert(rule, format!("{}:{number}", file.path));
            }
        }
    }
    let families: BTreeSet<&str> = rules.keys().filter_map(|rule| family(rule)).collect();
    let mut tested = BTreeSet::new();
    for file in rust {
        found.extend(unknown(file, &rules, &families));
        tested.extend(cited_by_tests(file, &rules));
    }
    let scripts = tree.ending(".txt").filter(|file| file.path.contains("/testdata/"));
    for file in scripts {
        tested.extend(
            ids(&file.text)
                .map(|(_, id)| id)
                .filter_map(|id| rules.get_key_value(id))
                .map(|(id, _)| *id),
        );
    }
    let untested = rules.iter().filter(|(rule, _)| !tested.contains(*rule));
    found
        .extend(untested.map(|(rule, place)| Finding::new(place, format!("no test cites {rule}"))));
    found
}

/// The rule that a line of a spec defines.
fn defined(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let list = line.starts_with(['#', '-', '+', '|', '>']) || line.starts_with("* ");
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(". ");
    let (at, id) = ids(line).next()?;
    let after = &line[at + id.len()..];
    let bold = line[..at].ends_with("**")
        && ["**", ".**", ":**", " "].iter().any(|end| after.starts_with(end));
    let heading = line.starts_with('#') && line[..at].trim_matches(['#', ' ', '`']).is_empty();
    let begins = at == "**".len();
    ((bold && (begins || list || numbered)) || heading).then_some(id)
}

/// Every `STR-07` in a text: capitals, a hyphen, two or more digits.
fn ids(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    text.match_indices('-').filter_map(move |(hyphen, _)| {
        let capitals =
            bytes[..hyphen].iter().rev().take_while(|byte| byte.is_ascii_uppercase()).count();
        let digits = bytes[hyphen + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (begin, end) = (hyphen - capitals, hyphen + 1 + digits);
        let joined = |byte: Option<&u8>| {
            byte.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        let before = begin.checked_sub(1).and_then(|at| bytes.get(at));
        let alone = !joined(before) && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
        (capitals >= 2 && digits >= 2 && alone).then(|| (begin, &text[begin..end]))
    })
}

fn family(rule: &str) -> Option<&str> {
    rule.split_once('-').map(|(family, _)| family)
}

fn unknown(
    file: &RustFile<'_>,
    rules: &BTreeMap<&str, String>,
    families: &BTreeSet<&str>,
) -> Vec<Finding> {
    ids(file.text)
        .filter(|(_, id)| family(id).is_some_and(|family| families.contains(family)))
        .filter(|(_, id)| !rules.contains_key(id))
        .map(|(at, id)| {
            Finding::at(file.path, line_of(file.text, at), format!("docs/spec has no {id}"))
        })
        .collect()
}

/// The rules that the tests of a file cite.
fn cited_by_tests<'a>(file: &RustFile<'_>, rules: &BTreeMap<&'a str, String>) -> BTreeSet<&'a str> {
    let functions = file.source.functions();
    let tests = functions.iter().filter(|f| file.is_test_line(*f.lines.start()));
    let names: String = tests.map(|f| format!("_{}_ ", f.name)).collect();
    let named = |rule: &&str| {
        let name = rule.to_ascii_lowercase().replace('-', "_");
        names.contains(&format!("_{name}_"))
    };
    let mut cited: BTreeSet<&str> = rules.keys().copied().filter(named).collect();
    // A citation just above a test (its doc comment) belongs to the test.
    let about_test = |line: usize| {
        let mut below = file.text.lines().skip(line - 1);
        let skipped = below.by_ref().take_while(|text| text.trim_start().starts_with("//")).count();
        file.is_test_line(line) || (skipped > 0 && file.is_test_line(line + skipped))
    };
    for (at, id) in ids(file.text) {
        if let Some((rule, _)) = rules.get_key_value(id)
            && !cited.contains(rule)
            && about_test(line_of(file.text, at))
        {
            cited.insert(rule);
        }
    }
    cited
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::texts, tidy::rust_files};

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let tree = Tree::fake(files);
        texts(&check(&tree, &rust_files(&tree)))
    }

    #[test]
    fn definitions_are_told_from_mentions() {
        for line in [
            "**XYZ-07** text",
            "**XYZ-07.** text",
            "- **XYZ-07** x",
            "### XYZ-07 x",
            "| **XYZ-07** |",
            "1. **XYZ-07**",
        ] {
            assert_eq!(defined(line), Some("XYZ-07"), "{line}");
        }
        for line in [
            "as **XYZ-07** says",
            "- see XYZ-07",
            "**XYZ-7**",
            "- **W-XYZ-07** x",
            "### after XYZ-07",
        ] {
            assert_eq!(defined(line), None, "{line}");
        }
    }

    #[test]
    fn a_rule_is_cited_by_a_tests_name_comment_or_script() {
        let spec = "**XYZ-01** a\n**XYZ-02** b\n**XYZ-03** c\n**XYZ-04** d\n**XYZ-05** e\n";
        let code = "// XYZ-04: cited by code, not by a test\nfn xyz_04_code() {}\n#[cfg(test)]\nmod tests {\n\
                    #[test]\nfn xyz_01_holds() {}\n// XYZ-02\n#[test]\nfn b() {}\n}\n/// XYZ-05\n#[test]\nfn e() {}\n";
        let files = [
            ("docs/spec/x.md", spec),
            ("a/src/a.rs", code),
            ("a/tests/testdata/c.txt", "# XYZ-03\n"),
        ];
        assert_eq!(found(&files), ["docs/spec/x.md:4: no test cites XYZ-04"]);
    }

    #[test]
    fn rules_defined_twice_or_never_are_found() {
        let spec = "**XYZ-01** a\n- **XYZ-01** b\n";
        let test = "// XYZ-01, XYZ-09, UTF-16\n";
        let expected = [
            "docs/spec/x.md:2: XYZ-01 is defined a second time; first in docs/spec/x.md:1",
            "tests/a.rs:1: docs/spec has no XYZ-09",
        ];
        assert_eq!(found(&[("docs/spec/x.md", spec), ("tests/a.rs", test)]), expected);
    }
}
