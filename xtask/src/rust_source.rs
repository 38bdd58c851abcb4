//! Just enough of Rust's lexical grammar to tell code from comments and literals.

use std::ops::RangeInclusive;

/// A Rust file, seen with and without what the compiler does not run.
#[derive(Debug)]
pub(crate) struct RustSource {
    /// Comments and literals are blanks; lines and offsets are those of the file.
    pub(crate) code: String,
    /// Comments are blanks; literals stand.
    pub(crate) uncommented: String,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// From the line of `fn` to that of its closing brace, counted from 1.
    pub(crate) lines: RangeInclusive<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Comment,
    Literal,
}

impl RustSource {
    /// Reads a file; broken syntax gives a rough answer, never a panic.
    pub(crate) fn new(text: &str) -> Self {
        let mut code = text.as_bytes().to_vec();
        let mut uncommented = code.clone();
        let mut at = 0;
        while at < text.len() {
            let Some((kind, end)) = not_code(text.as_bytes(), at) else {
                at += 1;
                continue;
            };
            blank(&mut code[at..end]);
            if kind == Kind::Comment {
                blank(&mut uncommented[at..end]);
            }
            at = end;
        }
        let text_of = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: text_of(code), uncommented: text_of(uncommented) }
    }

    /// Every function that has a body, nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let code = &self.code;
        let named = |at: usize| {
            let rest = code[at + 2..].trim_start();
            let name: String =
                rest.chars().take_while(|&c| is_word(c) || matches!(c, '#' | '$')).collect();
            let end = item_end(code, at).filter(|_| !name.is_empty())?;
            code[at..end]
                .ends_with('}')
                .then(|| Function { name, lines: line_of(code, at)..=line_of(code, end - 1) })
        };
        words(code, "fn").filter_map(named).collect()
    }

    /// The lines of items under `#[cfg(test)]` and `#[test]`.
    pub(crate) fn test_lines(&self) -> Vec<RangeInclusive<usize>> {
        let code = &self.code;
        let tested = |at: usize| {
            let attribute = &code[at..at + code[at..].find(']')?];
            let is_test = words(attribute, "test").next().is_some()
                && (attribute.starts_with("#[cfg(") || !attribute.contains('('))
                && !attribute.contains("not(");
            let end = item_end(code, at).filter(|_| is_test)?;
            Some(line_of(code, at)..=line_of(code, end - 1))
        };
        code.match_indices("#[").filter_map(|(at, _)| tested(at)).collect()
    }
}

/// Offsets at which `word` stands with no letter, digit or `_` beside it.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !text[..at].chars().next_back().is_some_and(is_word)
            && !text[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

/// The line of an offset, counted from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Where the item ends that begins at `at`: after its `}` or `;` outside of any bracket.
fn item_end(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' if depth == 1 => return Some(offset + 1),
            b'}' => depth -= 1,
            b';' if depth == 0 => return Some(offset + 1),
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

/// The comment or literal that begins at `at`, and where it ends.
fn not_code(text: &[u8], at: usize) -> Option<(Kind, usize)> {
    let rest = &text[at..];
    let (kind, length) = match rest {
        [b'/', b'/', ..] => (Kind::Comment, rest.iter().position(|&b| b == b'\n')),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Literal, quoted(rest, b'"')),
        [b'r', b'"' | b'#', ..] if !joins_word(text, at) => {
            (Kind::Literal, Some(raw_string(rest)?))
        }
        [b'\'', ..] => (Kind::Literal, Some(character(rest)?)),
        _ => return None,
    };
    Some((kind, at + length.unwrap_or(rest.len())))
}

/// True if an `r` at `at` ends a name instead of beginning a raw string (`br` and `cr` begin one).
fn joins_word(text: &[u8], at: usize) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match text[..at] {
        [.., before, b'b' | b'c'] => word(&before),
        [b'b' | b'c'] => false,
        [.., before] => word(&before),
        [] => false,
    }
}

fn block_comment(rest: &[u8]) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return Some(at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    None
}

fn quoted(rest: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None; // a raw name, `r#type`
    }
    let close: Vec<u8> = [b'"'].into_iter().chain([b'#'].repeat(hashes)).collect();
    let body = hashes + 2;
    let end = rest[body..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| body + end + close.len()))
}

/// A character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    match rest.get(1)? {
        b'\\' => quoted(rest, b'\''),
        first => {
            let length = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            (rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text =
            "a /* b /* c */ d */ \"e \\\" f\" r#\"g \" h\"# 'i' '\\'' b\"j\" // k\nl<'m> r#type";
        let source = RustSource::new(text);
        let left: Vec<&str> = source.code.split_whitespace().collect();
        assert_eq!(left, ["a", "b", "l<'m>", "r#type"]);
        assert_eq!(source.code.len(), text.len());
        assert!(source.uncommented.contains("g \" h") && !source.uncommented.contains('k'));
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text =
            "trait T { fn a(x: [u8; 2]); }\nfn b<F: Fn()>(f: fn(u8)) -> [u8; 3] {\n  \"}\";\n}\n";
        let found = RustSource::new(text).functions();
        assert_eq!(found, [Function { name: "b".into(), lines: 2..=4 }]);
    }

    #[test]
    fn test_modules_and_test_functions_are_known() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  #[test]\n  fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}\n";
        assert_eq!(RustSource::new(text).test_lines(), [2..=6, 4..=5]);
    }

    #[test]
    fn broken_text_is_survived() {
        for text in ["\"", "/*", "r#\"", "'", "fn", "fn x(", "#[", "'é", "b'", "r"] {
            let source = RustSource::new(text);
            source.functions();
            source.test_lines();
        }
    }
}
