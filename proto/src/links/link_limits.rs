//! How much others may make this node hold: the limits that an operator can set, and change.

use core::time::Duration;

use crate::limits;

/// How much others may make a node hold. The defaults are the constants of [`limits`].
///
/// Set by the builder, changed while the node runs. A lower limit refuses newcomers; what was let
/// in stays (LINK-15).
///
/// ```
/// use mosaik_proto::links::LinkLimits;
///
/// let small = LinkLimits { links: 16, handshakes: 8, ..LinkLimits::default() };
/// assert!(small.check().is_ok());
/// assert!(LinkLimits { links: 0, ..small }.check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Links that others may have made and that are admitted. Our own dials may exceed it.
    pub links: usize,
    /// Links that others make and that are not admitted yet.
    pub handshakes: usize,
    /// Of these, how many may come from one source: an IPv4 address, or a /64 of IPv6.
    pub handshakes_per_ip: usize,
    /// Channels of one link, its control channel included.
    pub channels_per_link: usize,
    /// Of these, how many may have no first byte yet.
    pub unnamed_channels_per_link: usize,
    /// Bytes of a hello: all that is read of a link before it is admitted.
    pub hello_bytes: u32,
    /// Time for the handshake of the transport, and again from there to admission.
    pub handshake_timeout: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            links: limits::LINKS,
            handshakes: limits::HANDSHAKES,
            handshakes_per_ip: limits::HANDSHAKES,
            channels_per_link: limits::CHANNELS_PER_LINK,
            unnamed_channels_per_link: limits::UNNAMED_CHANNELS_PER_LINK,
            hello_bytes: limits::HELLO_BYTES,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
        }
    }
}

/// Limits that make no sense. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A node could not work.
    #[error("`{limit}` must be at least {least}")]
    TooLow {
        /// The field of [`LinkLimits`].
        limit: &'static str,
        /// The lowest sensible value; of times in milliseconds.
        least: u64,
    },
    /// Nothing would be limited, or the protocol does not allow as much.
    #[error("`{limit}` must be at most {most}")]
    TooHigh {
        /// The field of [`LinkLimits`].
        limit: &'static str,
        /// The highest sensible value; of times in milliseconds.
        most: u64,
    },
}

/// May a source have one more handshake?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// Yes.
    Free,
    /// Yes, if it proves first that it receives at its address: they become scarce.
    Prove,
    /// No: all are taken, or this source has its share.
    Taken,
}

impl LinkLimits {
    /// Looks whether the limits make sense.
    ///
    /// # Errors
    /// The first [`LimitsError`].
    pub fn check(&self) -> Result<(), LimitsError> {
        let within = |limit, value: u128, least: u64, most: u64| {
            if value < u128::from(least) {
                Err(LimitsError::TooLow { limit, least })
            } else if value > u128::from(most) {
                Err(LimitsError::TooHigh { limit, most })
            } else {
                Ok(())
            }
        };
        let channels = limits::CHANNELS_PER_LINK as u64;
        let seats = limits::HANDSHAKES_MOST as u64;
        let wait = self.handshake_timeout.as_millis();
        within("links", self.links as u128, 1, limits::LINKS_MOST as u64)?;
        within("handshakes", self.handshakes as u128, 1, seats)?;
        within("handshakes_per_ip", self.handshakes_per_ip as u128, 1, seats)?;
        within("channels_per_link", self.channels_per_link as u128, 2, channels)?;
        let unnamed = self.unnamed_channels_per_link as u128;
        within("unnamed_channels_per_link", unnamed, 1, channels)?;
        let most = u64::from(limits::HELLO_BYTES);
        within("hello_bytes", u128::from(self.hello_bytes), limits::HELLO_BYTES_LEAST, most)?;
        let (least, most) = (limits::HANDSHAKE_TIMEOUT_LEAST, limits::HANDSHAKE_TIMEOUT_MOST);
        within("handshake_timeout", wait, least.as_millis() as u64, most.as_millis() as u64)
    }

    /// LINK-16: whether a source that has `of_source` of the `taken` handshakes may have another.
    ///
    /// Besides its own limit it has at most as many as are still free: a lone source half of all,
    /// each further one half of what the others left. So one address never takes all, while a
    /// crowd behind one has plenty. (Dynamic thresholds, Choudhury and Hahne 1998.)
    #[must_use]
    pub const fn seat(&self, taken: usize, of_source: usize) -> Seat {
        let free = self.handshakes.saturating_sub(taken);
        if free == 0 || of_source >= self.handshakes_per_ip || of_source >= free {
            Seat::Taken
        } else if free <= taken {
            Seat::Prove
        } else {
            Seat::Free
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_15_nonsense_is_refused_with_its_reason() {
        let good = LinkLimits::default();
        assert_eq!(good.check(), Ok(()));
        let low = |limit, least| Err(LimitsError::TooLow { limit, least });
        let high = |limit, most| Err(LimitsError::TooHigh { limit, most });
        let cases = [
            (LinkLimits { links: 0, ..good }, low("links", 1)),
            (LinkLimits { links: usize::MAX, ..good }, high("links", 65_536)),
            (LinkLimits { handshakes: 0, ..good }, low("handshakes", 1)),
            (LinkLimits { handshakes: 5_000, ..good }, high("handshakes", 4_096)),
            (LinkLimits { handshakes_per_ip: 0, ..good }, low("handshakes_per_ip", 1)),
            (LinkLimits { channels_per_link: 1, ..good }, low("channels_per_link", 2)),
            (LinkLimits { channels_per_link: 1_025, ..good }, high("channels_per_link", 1_024)),
            (
                LinkLimits { unnamed_channels_per_link: 0, ..good },
                low("unnamed_channels_per_link", 1),
            ),
            (LinkLimits { hello_bytes: 100, ..good }, low("hello_bytes", 1_024)),
            (LinkLimits { hello_bytes: u32::MAX, ..good }, high("hello_bytes", 65_792)),
            (
                LinkLimits { handshake_timeout: Duration::ZERO, ..good },
                low("handshake_timeout", 100),
            ),
            (
                LinkLimits { handshake_timeout: Duration::MAX, ..good },
                high("handshake_timeout", 60_000),
            ),
        ];
        for (limits, expected) in cases {
            assert_eq!(limits.check(), expected, "{limits:?}");
        }
    }

    /// Each source in turn takes all that it can get.
    #[test]
    fn link_16_one_source_never_takes_all_handshakes() {
        let limits = LinkLimits::default();
        let mut taken = 0;
        for expected in [256, 128, 64, 32, 16, 8, 4, 2, 1] {
            let mut of_source = 0;
            while limits.seat(taken, of_source) != Seat::Taken {
                (taken, of_source) = (taken + 1, of_source + 1);
            }
            assert_eq!(of_source, expected);
        }
        assert_eq!((taken, limits.seat(taken, 0)), (511, Seat::Prove), "one is left for a tenth");
    }

    #[test]
    fn link_16_when_seats_are_scarce_senders_prove_their_address() {
        let limits = LinkLimits::default();
        assert_eq!((limits.seat(255, 0), limits.seat(256, 0)), (Seat::Free, Seat::Prove));
        let strict = LinkLimits { handshakes_per_ip: 3, ..limits };
        assert_eq!((strict.seat(2, 2), strict.seat(3, 3)), (Seat::Free, Seat::Taken));
        let single = LinkLimits { handshakes: 1, ..limits };
        assert_eq!((single.seat(0, 0), single.seat(1, 0)), (Seat::Free, Seat::Taken));
    }
}
