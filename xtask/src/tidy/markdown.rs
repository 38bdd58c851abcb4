//! A page has one title, and its links into the repository lead somewhere.

use crate::{
    finding::Finding,
    tree::{File, Tree},
};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found: Vec<Finding> = tree.ending(".md").filter_map(one).collect();
    found.extend(tree.ending(".md").flat_map(|page| dead_links(tree, page)));
    found
}

/// The links of a page that name no file and no folder of ours. Images are not seen: the tree has
/// text only.
fn dead_links(tree: &Tree, page: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in page.text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let links = line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split_once(')'));
        for (link, _) in links.filter(|_| !fenced) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty()
                || target.contains(':')
                || leads(tree, &resolve(&page.path, target))
            {
                continue;
            }
            found.push(Finding::at(&page.path, number + 1, format!("`{link}` leads nowhere")));
        }
    }
    found
}

/// The path from the root of what `page` calls `target`.
fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn leads(tree: &Tree, path: &str) -> bool {
    let inside = format!("{path}/");
    tree.files.iter().any(|file| file.path == path || file.path.starts_with(&inside))
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
    fn links_lead_to_files_and_folders() {
        let page = "# A\n[b](../b.rs) [c](c.md#x) [d](../docs/spec/) [e](https://e.e) [f](#f)\n\
                    ```text\n[g](g.rs)\n```\n[h](h.rs), [c](c.md), [i](../docs/sp)\n";
        let tree = Tree::fake(&[
            ("b.rs", ""),
            ("docs/a.md", page),
            ("docs/c.md", "# C\n"),
            ("docs/spec/d.md", "# D\n"),
        ]);
        assert_eq!(
            texts(&check(&tree)),
            ["docs/a.md:6: `h.rs` leads nowhere", "docs/a.md:6: `../docs/sp` leads nowhere"]
        );
    }

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
