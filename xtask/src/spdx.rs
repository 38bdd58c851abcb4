//! Licence expressions: `(MIT OR Apache-2.0) AND Unicode-3.0`, and cargo's older `MIT/Apache-2.0`.

/// True if `allowed` licences are enough to satisfy the expression; `None` if it cannot be read.
///
/// `X WITH E` is allowed by an entry for exactly that, or by one for `X`: an exception only adds
/// permissions.
pub(crate) fn satisfied(expression: &str, allowed: &[String]) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let verdict = parser.any()?;
    parser.words.is_empty().then_some(verdict)
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl<'a> Parser<'a> {
    /// `all (OR all)*`
    fn any(&mut self) -> Option<bool> {
        let mut verdict = self.all()?;
        while self.take("OR") {
            verdict |= self.all()?;
        }
        Some(verdict)
    }

    /// `one (AND one)*`, which binds tighter.
    fn all(&mut self) -> Option<bool> {
        let mut verdict = self.one()?;
        while self.take("AND") {
            verdict &= self.one()?;
        }
        Some(verdict)
    }

    /// `( any )` or `licence (WITH exception)?`
    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let verdict = self.any()?;
            return self.take(")").then_some(verdict);
        }
        let licence = self.name()?;
        let allows = |name: &str| self.allowed.iter().any(|allowed| allowed == name);
        let bare = allows(licence);
        if !self.take("WITH") {
            return Some(bare);
        }
        let exception = self.name()?;
        Some(bare || self.allowed.contains(&format!("{licence} WITH {exception}")))
    }

    fn name(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        let is_name =
            !["OR", "AND", "WITH", "(", ")"].contains(&first.to_ascii_uppercase().as_str());
        self.words = rest;
        is_name.then_some(*first)
    }

    fn take(&mut self, word: &str) -> bool {
        let taken = self.words.first().is_some_and(|first| first.eq_ignore_ascii_case(word));
        if taken {
            self.words = &self.words[1..];
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str) -> Option<bool> {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "X WITH E"].map(str::to_owned);
        satisfied(expression, &allowed)
    }

    #[test]
    fn expressions_are_satisfied_by_choice() {
        for good in [
            "MIT",
            "MIT/GPL-3.0",
            "GPL-2.0-only OR Apache-2.0",
            "(GPL-3.0 OR MIT) AND Unicode-3.0",
            "MIT OR GPL-3.0 AND AGPL-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "X WITH E",
            "(MIT)",
        ] {
            assert_eq!(check(good), Some(true), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Apache-2.0) AND GPL-3.0",
            "X",
            "X WITH F",
            "mit",
        ] {
            assert_eq!(check(bad), Some(false), "{bad}");
        }
    }

    #[test]
    fn nonsense_is_not_read() {
        for nonsense in ["", "MIT OR", "(MIT", "MIT)", "OR MIT", "MIT Apache-2.0", "MIT WITH"] {
            assert_eq!(check(nonsense), None, "{nonsense:?}");
        }
    }
}
