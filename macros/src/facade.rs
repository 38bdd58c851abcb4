//! `@$crate;`: where generated code finds the facade.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Path, Token,
    parse::{Parse, ParseStream, Parser},
};

/// The facade's path, as the calling crate can name it.
pub(crate) struct Facade(Path);

impl ToTokens for Facade {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// The input of a macro of this crate: `@ facade ; input`.
pub(crate) struct Invocation<T> {
    facade: Facade,
    input: T,
}

impl<T: Parse> Invocation<T> {
    /// Parses `input` and expands it; an error becomes a `compile_error!`.
    pub(crate) fn run(
        input: TokenStream,
        expand: impl FnOnce(&Facade, &T) -> TokenStream,
    ) -> TokenStream {
        match Self::parse.parse2(input) {
            Ok(Self { facade, input }) => expand(&facade, &input),
            Err(error) => error.to_compile_error(),
        }
    }
}

impl<T: Parse> Parse for Invocation<T> {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.parse::<Token![@]>()?;
        let facade = Facade(input.call(Path::parse_mod_style)?);
        input.parse::<Token![;]>()?;
        Ok(Self { facade, input: input.parse()? })
    }
}

impl Facade {
    /// A constant expression: the id with these bytes.
    pub(crate) fn unique_id(&self, bytes: [u8; 32]) -> TokenStream {
        quote!(#self::UniqueId::from_bytes([#(#bytes),*]))
    }
}
