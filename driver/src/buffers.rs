//! Buffers that are used again.

use std::collections::VecDeque;

use bytes::BytesMut;

/// What is left of buffers that were given away piece by piece, oldest first. A buffer is free again
/// once all its pieces were dropped.
///
/// Fresh memory is cold and, where the allocator returns it to the system in between, costs a page
/// fault per page: at 64 KiB an item that was a tenth of everything.
#[derive(Debug, Default)]
pub(crate) struct Ring(VecDeque<BytesMut>);

impl Ring {
    /// An empty buffer for at least `capacity` bytes.
    pub(crate) fn take(&mut self, capacity: usize) -> BytesMut {
        let free = self.0.front_mut().is_some_and(|oldest| oldest.try_reclaim(capacity));
        let free = free.then(|| self.0.pop_front()).flatten();
        free.unwrap_or_else(|| BytesMut::with_capacity(capacity))
    }

    /// Keeps what is left of a buffer. The ring holds at most `most`.
    pub(crate) fn put(&mut self, mut rest: BytesMut, most: usize) {
        rest.clear();
        // One without capacity may never have had any.
        if rest.capacity() > 0 {
            self.0.push_back(rest);
        }
        while self.0.len() > most {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_all_of_it_was_dropped() {
        let mut ring = Ring::default();
        let give = |ring: &mut Ring| {
            let mut buffer = ring.take(100);
            buffer.extend_from_slice(&[1; 90]);
            let piece = buffer.split().freeze();
            ring.put(buffer, 2);
            piece
        };
        let first = give(&mut ring);
        let second = give(&mut ring);
        let (one, two) = (first.as_ptr(), second.as_ptr());
        assert_ne!(one, two);
        drop(first);
        let third = give(&mut ring);
        assert_eq!(third.as_ptr(), one, "the oldest is free");
        let fourth = give(&mut ring);
        assert_ne!(fourth.as_ptr(), two, "still held");
        assert_eq!(&second[..], [1; 90]);
        assert_eq!(ring.0.len(), 2);
    }
}
