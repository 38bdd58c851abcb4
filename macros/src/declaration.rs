//! The grammar of `stream!`.
//!
//! ```text
//! stream!( attr* vis? mode? Name generics? where? = DatumType [ , id ] [ , entry ]* [,] )
//! mode  := producer | consumer
//! id    := "string literal" | expression        (anything that does not begin an entry)
//! entry := [producer | consumer] key : expression
//! ```

use proc_macro2::Span;
use syn::{
    Attribute, Expr, ExprLit, Generics, Ident, Lit, Token, Type, Visibility,
    ext::IdentExt,
    parse::{Parse, ParseStream},
};

/// One end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Producer,
    Consumer,
}

impl Side {
    /// The word for this side, in the grammar and in errors.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// Takes the word `producer` or `consumer`, if it stands before another word.
    fn parse_before_word(input: ParseStream<'_>) -> syn::Result<Option<Self>> {
        if !input.peek2(Ident::peek_any) {
            return Ok(None);
        }
        let side = match input.fork().parse::<Ident>() {
            Ok(word) if word == Self::Producer.word() => Self::Producer,
            Ok(word) if word == Self::Consumer.word() => Self::Consumer,
            _ => return Ok(None),
        };
        input.parse::<Ident>()?;
        Ok(Some(side))
    }
}

/// A parsed `stream!`.
pub(crate) struct Declaration {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    /// The only side to generate, if one was named.
    pub(crate) mode: Option<Side>,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) datum: Type,
    pub(crate) id: Option<Id>,
    pub(crate) entries: Vec<Entry>,
}

/// What a stream is known by, if not by its datum type.
pub(crate) enum Id {
    /// Text, made an id at compile time.
    Text(String),
    /// Anything that is `Into<StreamId>`.
    Expr(Expr),
}

/// `producer require: expression`.
pub(crate) struct Entry {
    pub(crate) prefix: Option<Side>,
    pub(crate) key: Ident,
    pub(crate) value: Expr,
    /// The prefix, if there is one, else the key.
    pub(crate) start: Span,
}

impl Parse for Declaration {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let mode = Side::parse_before_word(input)?;
        let name = input.parse()?;
        let mut generics: Generics = input.parse()?;
        generics.where_clause = input.parse()?;
        input.parse::<Token![=]>()?;
        let mut declaration = Self {
            attributes,
            visibility,
            mode,
            name,
            generics,
            datum: input.parse()?,
            id: None,
            entries: Vec::new(),
        };
        let mut first = true;
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            if Entry::begins(input)? {
                declaration.entries.push(input.parse()?);
            } else if first {
                declaration.id = Some(input.parse()?);
            } else {
                return Err(input.error("expected `key: expression`; an id comes before all keys"));
            }
            first = false;
        }
        Ok(declaration)
    }
}

impl Parse for Id {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr = input.parse()?;
        Ok(text_of(&expr).map_or_else(|| Self::Expr(expr), Self::Text))
    }
}

/// The text of a string literal, seen through parentheses and the invisible groups that
/// `macro_rules!` puts around its fragments.
fn text_of(expr: &Expr) -> Option<String> {
    if let Expr::Group(group) = expr {
        text_of(&group.expr)
    } else if let Expr::Paren(paren) = expr {
        text_of(&paren.expr)
    } else if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = expr {
        Some(text.value())
    } else {
        None
    }
}

impl Entry {
    /// Whether the next tokens are `key :` or `side key :`.
    fn begins(input: ParseStream<'_>) -> syn::Result<bool> {
        let ahead = input.fork();
        Side::parse_before_word(&ahead)?;
        Ok(ahead.peek(Ident::peek_any) && ahead.peek2(Token![:]) && !ahead.peek2(Token![::]))
    }
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let start = input.span();
        let prefix = Side::parse_before_word(input)?;
        let key = input.call(Ident::parse_any)?;
        input.parse::<Token![:]>()?;
        Ok(Self { prefix, key, value: input.parse()?, start })
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;

    use super::*;

    fn parse(input: &str) -> Declaration {
        syn::parse_str(input).unwrap_or_else(|error| panic!("{input}: {error}"))
    }

    fn error(input: &str) -> String {
        syn::parse_str::<Declaration>(input).err().expect(input).to_string()
    }

    fn keys(declaration: &Declaration) -> Vec<(Option<Side>, String)> {
        declaration.entries.iter().map(|entry| (entry.prefix, entry.key.to_string())).collect()
    }

    #[test]
    fn the_least() {
        let least = parse("Ticks = u64");
        assert_eq!(least.name, "Ticks");
        assert!(matches!(least.visibility, Visibility::Inherited));
        assert!(least.attributes.is_empty() && least.entries.is_empty());
        assert!(least.mode.is_none() && least.id.is_none());
    }

    #[test]
    fn the_most() {
        let most = parse(
            "/// Prices.\n #[must_use] pub(crate) producer Prices<'a, T: Datum, const N: usize> \
             where T: Copy = Quote<T>, names::ID, consumer require: |p| f::<u8>(p), \
             require_ticket: a, require_ticket: b, max_consumers: 3,",
        );
        assert_eq!(most.attributes.len(), 2);
        assert!(matches!(most.visibility, Visibility::Restricted(_)));
        assert_eq!(most.mode, Some(Side::Producer));
        assert_eq!(most.generics.params.len(), 3);
        assert!(most.generics.where_clause.is_some());
        assert_eq!(most.datum.to_token_stream().to_string(), "Quote < T >");
        assert!(matches!(most.id, Some(Id::Expr(_))));
        let expected = [
            (Some(Side::Consumer), "require"),
            (None, "require_ticket"),
            (None, "require_ticket"),
            (None, "max_consumers"),
        ];
        assert_eq!(keys(&most), expected.map(|(side, key)| (side, key.to_owned())));
    }

    #[test]
    fn modes_are_words_and_not_reserved() {
        assert_eq!(parse("consumer X = u8").mode, Some(Side::Consumer));
        assert_eq!(parse("pub producer X = u8").mode, Some(Side::Producer));
        let odd = parse("producer = u8, consumer, producer: 1, consumer consumer: 2");
        assert!(odd.mode.is_none());
        assert_eq!(odd.name, "producer");
        assert!(matches!(odd.id, Some(Id::Expr(Expr::Path(_)))));
        assert_eq!(
            keys(&odd),
            [(None, "producer".to_owned()), (Some(Side::Consumer), "consumer".to_owned())]
        );
    }

    #[test]
    fn ids() {
        for input in ["X = u8, \"a\"", "X = u8, (\"a\"),", "X<T>= T, r\"a\", require: |_| true"] {
            assert!(matches!(parse(input).id, Some(Id::Text(text)) if text == "a"), "{input}");
        }
        for input in ["ID", "a::ID", "id(\"a\")", "\"a\".into()", "Key { a: 1 }", "{ ID }", "7"] {
            assert!(matches!(parse(&format!("X = u8, {input}")).id, Some(Id::Expr(_))), "{input}");
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(error("producer pub X = u8"), "expected identifier, found keyword `pub`");
        assert_eq!(error("X u8"), "expected `=`");
        assert_eq!(error("X = u8 \"a\""), "expected `,`");
        assert!(error("X = u8, require: |_| true, \"a\"").contains("an id comes before all keys"));
        assert!(error("X = u8, \"a\", \"b\"").contains("an id comes before all keys"));
        assert!(error("X = u8, require:").contains("expected an expression"));
    }
}
