//! Ways to show ids: short, abbreviated, pretty, redacted.

use core::{fmt, marker::PhantomData};

use crate::{
    discovery::{PeerEntry, PeerEntryVersion, SignedPeerEntry},
    groups::IndexRange,
    ids::{Digest, Hex, PeerId},
    tickets::Ticket,
};

/// Shows the first five bytes as ten hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Short<T>(pub T);

macro_rules! short {
    ($($type:ty),*) => {
        $(impl fmt::Display for Short<$type> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let bytes: &[u8] = self.0.as_ref();
                fmt::Display::fmt(&Hex(&bytes[..bytes.len().min(5)]), f)
            }
        })*
    };
}

short!(Digest, &Digest, PeerId, &PeerId, [u8; 32], &[u8; 32], &[u8]);

macro_rules! short_entry {
    ($($type:ty),*) => {
        $(impl fmt::Display for Short<$type> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let version = Short(self.0.update_version());
                write!(f, "{}@{version}", Short(self.0.id()))
            }
        })*
    };
}

short_entry!(PeerEntry, &PeerEntry, SignedPeerEntry, &SignedPeerEntry);

impl fmt::Display for Short<PeerEntryVersion> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A week in milliseconds: enough to tell two starts apart at a glance.
        write!(f, "{}.{}", self.0.incarnation % 604_800_000, self.0.counter)
    }
}

impl fmt::Display for Short<&Ticket> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({},{})", Short(self.0.class), self.0.data.len())
    }
}

impl<T> fmt::Debug for Short<T>
where
    Self: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows all digits up to `LEN` bytes, beyond that the first and last `LEN / 2` bytes.
#[derive(Clone, Copy)]
pub struct Abbreviated<const LEN: usize, T>(pub T);

impl<const LEN: usize, T: AsRef<[u8]>> fmt::Display for Abbreviated<LEN, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_ref();
        if bytes.len() <= LEN {
            return fmt::Display::fmt(&Hex(bytes), f);
        }
        let half = LEN / 2;
        write!(f, "{}..{}", Hex(&bytes[..half]), Hex(&bytes[bytes.len() - half..]))
    }
}

impl<const LEN: usize, T: AsRef<[u8]>> fmt::Debug for Abbreviated<LEN, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows a value for people, over several lines where that helps.
#[derive(Clone, Copy)]
pub struct Pretty<'a, T>(pub &'a T);

impl fmt::Display for Pretty<'_, PeerEntry> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.0;
        writeln!(f, "peer      {}", entry.id())?;
        writeln!(f, "network   {}", entry.network_id())?;
        writeln!(f, "version   {}", entry.update_version())?;
        writeln!(f, "addresses {}", FmtIter::<PlainFmt, _>::new(&entry.address().addrs))?;
        writeln!(f, "tags      {}", FmtIter::<ShortFmt, _>::new(entry.tags()))?;
        writeln!(f, "streams   {}", FmtIter::<ShortFmt, _>::new(entry.streams()))?;
        writeln!(f, "functions {}", FmtIter::<ShortFmt, _>::new(entry.functions()))?;
        writeln!(f, "groups    {}", FmtIter::<ShortFmt, _>::new(entry.groups()))?;
        write!(f, "tickets   {}", entry.tickets().len())
    }
}

impl fmt::Display for Pretty<'_, SignedPeerEntry> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Pretty(self.0.entry()), f)
    }
}

/// Places in a group's log: `4..=9`, or `4` alone.
impl fmt::Display for Pretty<'_, IndexRange> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}..={last}") }
    }
}

impl<T> fmt::Debug for Pretty<'_, T>
where
    Self: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows nothing of the value.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `value.short()` for [`Short`].
pub trait ShortFmtExt: Sized {
    /// Wraps a reference in [`Short`].
    fn short(&self) -> Short<&Self> {
        Short(self)
    }
}

impl<T> ShortFmtExt for T {}

/// `value.pretty()` for [`Pretty`].
pub trait PrettyFmtExt: Sized {
    /// Wraps a reference in [`Pretty`].
    fn pretty(&self) -> Pretty<'_, Self> {
        Pretty(self)
    }
}

impl<T> PrettyFmtExt for T {}

/// `value.redacted()` for [`Redacted`].
pub trait RedactedFmtExt: Sized {
    /// Wraps a reference in [`Redacted`].
    fn redacted(&self) -> Redacted<&Self> {
        Redacted(self)
    }
}

impl<T> RedactedFmtExt for T {}

/// Shows the items of a collection as `[a, b]`, each through the wrapper `W`.
#[derive(Clone, Copy)]
pub struct FmtIter<W, I>(I, PhantomData<W>);

/// How [`FmtIter`] shows one item.
pub trait FmtItem<T> {
    /// Writes the item.
    ///
    /// # Errors
    /// Those of the formatter.
    fn fmt_item(item: T, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Items by their own `Display`.
#[derive(Clone, Copy, Debug)]
pub enum PlainFmt {}

/// Items through [`Short`].
#[derive(Clone, Copy, Debug)]
pub enum ShortFmt {}

impl<T: fmt::Display> FmtItem<T> for PlainFmt {
    fn fmt_item(item: T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&item, f)
    }
}

impl<T> FmtItem<T> for ShortFmt
where
    Short<T>: fmt::Display,
{
    fn fmt_item(item: T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Short(item), f)
    }
}

impl<W, I> FmtIter<W, I> {
    /// Wraps a collection that can be iterated by copy.
    pub const fn new(items: I) -> Self {
        Self(items, PhantomData)
    }
}

impl<W, I> fmt::Display for FmtIter<W, I>
where
    I: IntoIterator + Clone,
    W: FmtItem<I::Item>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, item) in self.0.clone().into_iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            W::fmt_item(item, f)?;
        }
        f.write_str("]")
    }
}

impl<W, I> fmt::Debug for FmtIter<W, I>
where
    Self: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    #[test]
    fn places_are_shown_as_a_range() {
        let show =
            |first: u64, last: u64| Pretty(&IndexRange::new(first.into(), last.into())).to_string();
        assert_eq!([show(4, 9), show(4, 4)], ["4..=9", "4"]);
    }

    #[test]
    fn ids_are_shown_as_asked() {
        let id = Digest::from_bytes(core::array::from_fn(|i| i as u8));
        assert_eq!(Short(id).to_string(), "0001020304");
        assert_eq!(id.short().to_string(), "0001020304");
        assert_eq!(Abbreviated::<4, _>(id).to_string(), "0001..1e1f");
        assert_eq!(Abbreviated::<64, _>(id).to_string(), id.to_string());
        assert_eq!(Redacted(id).to_string(), "<redacted>");
        assert_eq!(
            format!("{}", FmtIter::<ShortFmt, _>::new(&[id, id])),
            "[0001020304, 0001020304]"
        );
    }
}
