//! `unique_id!`: the id of a text, computed at compile time.

use proc_macro2::TokenStream;
use syn::{
    LitStr,
    parse::{Parse, ParseStream},
};

use crate::facade::Facade;

/// The input of `unique_id!`: one string literal.
pub(crate) struct Text(LitStr);

impl Parse for Text {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let text = input.parse().map_err(|error| {
            syn::Error::new(error.span(), "expected a string literal, as in `\"my-app\"`")
        })?;
        Ok(Self(text))
    }
}

/// A constant expression of type `UniqueId`.
pub(crate) fn expand(facade: &Facade, text: &Text) -> TokenStream {
    facade.unique_id(id_of(&text.0.value()))
}

/// The bytes of `Digest::from(text)`: the id itself if `text` is exactly 64 hexadecimal digits
/// of either case, else its BLAKE3 hash.
pub(crate) fn id_of(text: &str) -> [u8; 32] {
    decode32(text.as_bytes()).unwrap_or_else(|| *blake3::hash(text.as_bytes()).as_bytes())
}

fn decode32(text: &[u8]) -> Option<[u8; 32]> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;
    use crate::facade::Invocation;

    fn run(input: &str) -> String {
        let tokens = TokenStream::from_str(&format!("@mosaik; {input}")).unwrap();
        Invocation::run(tokens, expand).to_string()
    }

    #[test]
    fn other_text_is_hashed() {
        // echo -n abc | b3sum
        let abc = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
        assert_eq!(id_of("abc"), id_of(abc));
        for text in ["", "abc", &abc[1..], &format!("0{abc}"), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(id_of(text), *blake3::hash(text.as_bytes()).as_bytes(), "{text}");
        }
    }

    #[test]
    fn digits_of_an_id_are_the_id() {
        assert_eq!(id_of(&"0aF9".repeat(16)), [0x0a, 0xf9].repeat(16)[..]);
    }

    #[test]
    fn expands_to_a_constant_of_the_facade() {
        let output = run(&format!("\"{}\"", "07".repeat(32)));
        assert!(output.starts_with("mosaik :: UniqueId :: from_bytes ([7u8 , 7u8"), "{output}");
        syn::parse_str::<syn::Expr>(&output).unwrap();
    }

    #[test]
    fn takes_one_string_literal() {
        for input in ["", "NAME", "7", "b\"bytes\"", "concat!(\"a\")"] {
            assert!(run(input).contains("expected a string literal"), "{input}");
        }
        assert!(run("\"a\", \"b\"").contains("compile_error"));
    }
}
