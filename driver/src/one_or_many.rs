//! Setters that take one value or several.

/// One `T`, or anything that can be iterated into `T`s. `V` tells the two apart and is inferred.
pub trait OneOrMany<T, V> {
    /// The values.
    fn into_items(self) -> impl Iterator<Item = T>;
}

/// Marks the impls of [`OneOrMany`]: 0 for one value, 1 for several.
#[derive(Clone, Copy, Debug)]
pub struct Variant<const N: usize>;

impl<T, I: Into<T>> OneOrMany<T, Variant<0>> for I {
    fn into_items(self) -> impl Iterator<Item = T> {
        std::iter::once(self.into())
    }
}

impl<T, I: IntoIterator<Item: Into<T>>> OneOrMany<T, Variant<1>> for I {
    fn into_items(self) -> impl Iterator<Item = T> {
        self.into_iter().map(Into::into)
    }
}
