//! The code of a `stream!`: a struct that is the stream's name, and an impl for each side.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{GenericParam, Ident};

use crate::{
    declaration::{Declaration, Id, Side},
    facade::Facade,
    keys::Calls,
    unique_id::id_of,
};

/// The items of a declaration. They come out even if some entries are wrong, so that the errors
/// of those are not followed by one for each use of the name.
pub(crate) fn stream(facade: &Facade, declaration: &Declaration) -> TokenStream {
    let calls = Calls::of(declaration);
    let errors = calls.errors();
    let name = name(declaration);
    let sides = [Side::Producer, Side::Consumer]
        .into_iter()
        .filter(|side| declaration.mode.is_none_or(|only| only == *side))
        .map(|side| implementation(facade, declaration, side, calls.on(side)));
    quote!(#errors #name #(#sides)*)
}

/// The struct: a unit, or with generics one private field that uses all of them.
fn name(declaration: &Declaration) -> TokenStream {
    let Declaration { attributes, visibility, name, generics, .. } = declaration;
    let where_clause = &generics.where_clause;
    let field = (!generics.params.is_empty()).then(|| {
        let uses = generics.params.iter().filter_map(|param| match param {
            GenericParam::Lifetime(param) => {
                let lifetime = &param.lifetime;
                Some(quote!(&#lifetime ()))
            }
            GenericParam::Type(param) => {
                let ident = &param.ident;
                Some(quote!(::core::marker::PhantomData<#ident>))
            }
            GenericParam::Const(_) => None,
        });
        quote!((::core::marker::PhantomData<fn() -> (#(#uses,)*)>))
    });
    quote! {
        #(#attributes)*
        #[allow(non_camel_case_types)]
        #visibility struct #name #generics #field #where_clause;
    }
}

fn implementation(
    facade: &Facade,
    declaration: &Declaration,
    side: Side,
    calls: &[TokenStream],
) -> TokenStream {
    let Declaration { attributes, name, generics, datum, .. } = declaration;
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let (parameters, arguments, where_clause) = generics.split_for_impl();

    let open = Ident::new(side.word(), Span::call_site());
    let open_online = format_ident!("online_{open}");
    let (handle, contract) = match side {
        Side::Producer => (format_ident!("Producer"), format_ident!("StreamProducer")),
        Side::Consumer => (format_ident!("Consumer"), format_ident!("StreamConsumer")),
    };
    // The locals are hygienic: expressions of the caller cannot see them.
    let network = Ident::new("network", Span::mixed_site());
    let made = Ident::new("made", Span::mixed_site());
    let online = Ident::new("online", Span::mixed_site());

    let id = stream_id(facade, declaration);
    let build = quote!(#network.streams().#open::<#datum>() #id #(#calls)* .build());
    let build = match side {
        Side::Producer => quote! {
            match #build {
                ::core::result::Result::Ok(#made) => #made,
                ::core::result::Result::Err(
                    #facade::streams::producer::BuilderError::AlreadyExists(#made)
                ) => #made,
            }
        },
        Side::Consumer => build,
    };
    quote! {
        #(#conditions)*
        impl #parameters #facade::streams::#contract for #name #arguments #where_clause {
            type #handle = #facade::streams::#handle<#datum>;

            fn #open(#network: &#facade::__private::NetworkHandle) -> Self::#handle {
                #build
            }

            fn #open_online(
                #network: &#facade::__private::NetworkHandle,
            ) -> impl ::core::future::Future<Output = Self::#handle>
                 + ::core::marker::Send
                 + ::core::marker::Sync
                 + 'static {
                let #made = <Self as #facade::streams::#contract>::#open(#network);
                let #online = #made.when().online();
                async move {
                    #online.await;
                    #made
                }
            }
        }
    }
}

/// The builder call that names the stream, unless its datum type does.
fn stream_id(facade: &Facade, declaration: &Declaration) -> Option<TokenStream> {
    let id = match declaration.id.as_ref()? {
        Id::Text(text) => facade.unique_id(id_of(text)),
        Id::Expr(expr) => quote!(#expr),
    };
    Some(quote!(.with_stream_id(#id)))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use syn::{Fields, File, Item};

    use super::*;
    use crate::facade::Invocation;

    fn run(input: &str) -> TokenStream {
        let tokens = TokenStream::from_str(&format!("@::mosaik; {input}")).expect(input);
        Invocation::run(tokens, stream)
    }

    fn items(input: &str) -> Vec<Item> {
        syn::parse2::<File>(run(input)).unwrap_or_else(|error| panic!("{input}: {error}")).items
    }

    /// The traits of the impls, in order.
    fn traits(items: &[Item]) -> Vec<String> {
        let of = |item: &Item| match item {
            Item::Impl(item) => {
                let path = &item.trait_.as_ref().expect("a trait").1;
                Some(path.segments.last().expect("a segment").ident.to_string())
            }
            _ => None,
        };
        items.iter().filter_map(of).collect()
    }

    #[test]
    fn both_sides() {
        let expected = quote! {
            #[doc = "Ticks."]
            #[allow(non_camel_case_types)]
            pub struct Ticks;

            impl ::mosaik::streams::StreamProducer for Ticks {
                type Producer = ::mosaik::streams::Producer<u64>;

                fn producer(network: &::mosaik::__private::NetworkHandle) -> Self::Producer {
                    match network.streams().producer::<u64>()
                        .with_stream_id(ID)
                        .require(demand)
                        .build()
                    {
                        ::core::result::Result::Ok(made) => made,
                        ::core::result::Result::Err(
                            ::mosaik::streams::producer::BuilderError::AlreadyExists(made)
                        ) => made,
                    }
                }

                fn online_producer(
                    network: &::mosaik::__private::NetworkHandle,
                ) -> impl ::core::future::Future<Output = Self::Producer>
                    + ::core::marker::Send
                    + ::core::marker::Sync
                    + 'static {
                    let made = <Self as ::mosaik::streams::StreamProducer>::producer(network);
                    let online = made.when().online();
                    async move {
                        online.await;
                        made
                    }
                }
            }

            impl ::mosaik::streams::StreamConsumer for Ticks {
                type Consumer = ::mosaik::streams::Consumer<u64>;

                fn consumer(network: &::mosaik::__private::NetworkHandle) -> Self::Consumer {
                    network.streams().consumer::<u64>().with_stream_id(ID).with_backoff(policy).build()
                }

                fn online_consumer(
                    network: &::mosaik::__private::NetworkHandle,
                ) -> impl ::core::future::Future<Output = Self::Consumer>
                    + ::core::marker::Send
                    + ::core::marker::Sync
                    + 'static {
                    let made = <Self as ::mosaik::streams::StreamConsumer>::consumer(network);
                    let online = made.when().online();
                    async move {
                        online.await;
                        made
                    }
                }
            }
        };
        let input =
            "#[doc = \"Ticks.\"] pub Ticks = u64, ID, consumer require: demand, backoff: policy";
        assert_eq!(run(input).to_string(), expected.to_string());
    }

    #[test]
    fn one_side() {
        assert_eq!(traits(&items("X = u8")), ["StreamProducer", "StreamConsumer"]);
        assert_eq!(traits(&items("producer X = u8")), ["StreamProducer"]);
        assert_eq!(traits(&items("pub consumer X = u8")), ["StreamConsumer"]);
    }

    #[test]
    fn ids() {
        assert!(!run("X = u8").to_string().contains("with_stream_id"));
        let text = run("X = u8, \"a\"").to_string();
        assert!(
            text.contains(". with_stream_id (:: mosaik :: UniqueId :: from_bytes (["),
            "{text}"
        );
    }

    #[test]
    fn generics_are_held_by_a_private_field() {
        let items = items("pub X<'a, T: Datum, U = u8, const N: usize> where T: Copy = [T; N]");
        let Item::Struct(item) = &items[0] else { panic!("a struct comes first") };
        let Fields::Unnamed(fields) = &item.fields else { panic!("a tuple struct") };
        let [field] = &fields.unnamed.iter().collect::<Vec<_>>()[..] else { panic!("one field") };
        assert!(matches!(field.vis, syn::Visibility::Inherited));
        assert!(item.generics.where_clause.is_some());
        let Item::Impl(item) = &items[1] else { panic!("an impl comes second") };
        let (head, _, clause) = item.generics.split_for_impl();
        assert_eq!(quote!(#head).to_string(), "< 'a , T : Datum , U , const N : usize >");
        assert_eq!(quote!(#clause).to_string(), "where T : Copy");
    }

    #[test]
    fn no_generics_no_field() {
        let Item::Struct(item) = items("X = u8").swap_remove(0) else { panic!("a struct first") };
        assert!(matches!(item.fields, Fields::Unit));
    }

    #[test]
    fn conditional_compilation_covers_the_impls() {
        let output = run("#[cfg(unix)] #[derive(Debug)] X = u8").to_string();
        assert_eq!(output.matches("# [cfg (unix)]").count(), 3);
        assert_eq!(output.matches("derive").count(), 1);
    }

    #[test]
    fn errors_leave_the_items_in_place() {
        let items = items("X = u8, nope: 1, producer criteria: 2");
        assert!(matches!(&items[..2], [Item::Macro(_), Item::Macro(_)]));
        assert_eq!(traits(&items).len(), 2);
    }
}
