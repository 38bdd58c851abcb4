//! A page has one title.

use crate::{
    finding::Finding,
    tree::{File, Tree},
};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending(".md").filter_map(one).collect()
}

fn one(file: &File) -> Option<Finding> {
    let mut fence: Option<&str> = None;
    let mut titles = 0;
    for line in file.text.lines().map(str::trim_start) {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) if line.starts_with("# ") => titles += 1,
            _ => {}
        }
    }
    (titles != 1)
        .then(|| Finding::new(&file.path, format!("{titles} titles (`# …`) instead of one")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::texts;

    #[test]
    fn a_page_has_one_title_and_code_has_none() {
        let tree = Tree::fake(&[
            ("good.md", "# A\n\n```sh\n# a comment\n```\n## B\n"),
            ("none.md", "## B\n"),
            ("two.md", "# A\n# B\n"),
        ]);
        assert_eq!(
            texts(&check(&tree)),
            ["none.md: 0 titles (`# …`) instead of one", "two.md: 2 titles (`# …`) instead of one"]
        );
    }
}
