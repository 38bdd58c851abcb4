//! What should not have been committed: open ends, unbounded queues, paths of one machine.

use super::RustFile;
use crate::{
    finding::Finding,
    rust_source::{line_of, words},
    tree::{File, Tree},
};

const OPEN_ENDS: [&str; 3] = ["todo", "unimplemented", "dbg"];
const UNBOUNDED: [&str; 2] = ["unbounded", "unbounded_channel"];
/// Folders that exist on somebody's machine only.
const MACHINE: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
];

pub(super) fn check(tree: &Tree, rust: &[RustFile<'_>]) -> Vec<Finding> {
    let mut found: Vec<Finding> = rust.iter().flat_map(in_rust).collect();
    found.extend(tree.files.iter().flat_map(machine_paths));
    found
}

fn in_rust(file: &RustFile<'_>) -> Vec<Finding> {
    let code = &file.source.code;
    let mut found = Vec::new();
    for word in OPEN_ENDS {
        let open = words(code, word).filter(|at| code[at + word.len()..].starts_with("!("));
        found.extend(
            open.map(|at| {
                Finding::at(file.path, line_of(code, at), format!("`{word}!` left behind"))
            }),
        );
    }
    for word in UNBOUNDED {
        let called = |at: &usize| {
            let rest = &code[at + word.len()..];
            rest.starts_with('(') || rest.starts_with("::<")
        };
        let lines = words(code, word).filter(called).map(|at| line_of(code, at));
        let queues = lines.filter(|&line| !file.is_test_line(line));
        found.extend(queues.map(|line| Finding::at(file.path, line, "every queue has a limit")));
    }
    found
}

fn machine_paths(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for folder in MACHINE {
        for (at, _) in file.text.match_indices(folder) {
            let before = file.text[..at].chars().next_back();
            let begins = !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}>".contains(c));
            let name = file.text[at + folder.len()..].chars().next();
            if begins && name.is_some_and(|c| c.is_alphanumeric() || c == '.') {
                let line = line_of(&file.text, at);
                found.push(Finding::at(&file.path, line, "names a folder of somebody's machine"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::texts, tidy::rust_files};

    fn found(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::fake(&[(path, text)]);
        texts(&check(&tree, &rust_files(&tree)))
    }

    #[test]
    fn open_ends_and_unbounded_queues_are_found() {
        let text =
            "todo!();\nlet todo = unbounded();\nunbounded_channel::<u8>();\nis_unbounded();\n";
        let expected = [
            "a.rs:1: `todo!` left behind",
            "a.rs:2: every queue has a limit",
            "a.rs:3: every queue has a limit",
        ];
        assert_eq!(found("a.rs", text), expected);
        assert_eq!(found("tests/a.rs", "unbounded(); // todo!()"), [""; 0]);
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let text = concat!("see /ho", "me/ann/x and https://example.invalid/ho", "me/x\n");
        assert_eq!(found("a.md", text), ["a.md:1: names a folder of somebody's machine"]);
    }
}
