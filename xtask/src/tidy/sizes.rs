//! A file stays under 600 lines, a function under 70, a driver crate under 600.

use std::collections::BTreeMap;

use super::RustFile;
use crate::finding::Finding;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
/// Of all sources of a `driver-*` crate, tests not counted.
const DRIVER_LINES: usize = 600;

pub(super) fn check(rust: &[RustFile<'_>]) -> Vec<Finding> {
    let mut found: Vec<Finding> = rust.iter().flat_map(one).collect();
    let mut drivers: BTreeMap<&str, usize> = BTreeMap::new();
    for file in rust {
        let driver = file.path.split_once("/src/").map_or("", |(package, _)| package);
        if driver.starts_with("driver-") {
            let lines = 1..=file.text.lines().count();
            *drivers.entry(driver).or_default() +=
                lines.filter(|&line| !file.is_test_line(line)).count();
        }
    }
    for (driver, lines) in drivers {
        if lines > DRIVER_LINES {
            let what =
                format!("{lines} lines without tests; an adapter stays under {DRIVER_LINES}");
            found.push(Finding::new(format!("{driver}/src"), what));
        }
    }
    found
}

fn one(file: &RustFile<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        found.push(Finding::new(file.path, format!("{lines} lines, more than {FILE_LINES}")));
    }
    for function in file.source.functions() {
        let (first, last) = function.lines.into_inner();
        let lines = last - first + 1;
        if lines > FUNCTION_LINES {
            let what =
                format!("fn {} has {lines} lines, more than {FUNCTION_LINES}", function.name);
            found.push(Finding::at(file.path, first, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::texts, tidy::rust_files, tree::Tree};

    #[test]
    fn long_files_and_functions_are_found() {
        let body = "    x();\n";
        let fits = format!("fn fits() {{\n{}}}\n", body.repeat(68));
        let long = format!("fn long() {{\n{}}}\n", body.repeat(69));
        let file = "\n".repeat(601);
        let tree = Tree::fake(&[("a.rs", &fits), ("b.rs", &long), ("c.rs", &file)]);
        assert_eq!(
            texts(&check(&rust_files(&tree))),
            ["b.rs:1: fn long has 71 lines, more than 70", "c.rs: 601 lines, more than 600"]
        );
    }

    #[test]
    fn a_driver_crate_is_measured_as_a_whole_without_its_tests() {
        let part = "//\n".repeat(301);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(400));
        let files = [
            ("driver-a/src/x.rs", &*part),
            ("driver-a/src/y.rs", &part),
            ("driver-b/src/x.rs", &tests),
        ];
        assert_eq!(
            texts(&check(&rust_files(&Tree::fake(&files)))),
            ["driver-a/src: 602 lines without tests; an adapter stays under 600"]
        );
    }
}
