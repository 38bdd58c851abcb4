//! Bytes of a fuzzer as a source of choices.

/// The most choices of one run: a run must be quick.
const STEPS: usize = 256;

/// What is left of the bytes. At their end every number is zero.
pub struct Input<'a> {
    rest: &'a [u8],
    steps: usize,
}

impl<'a> Input<'a> {
    pub const fn new(rest: &'a [u8]) -> Self {
        Self { rest, steps: 0 }
    }

    /// The verb of the next step, until the bytes end or there were enough.
    pub fn verb(&mut self) -> Option<u8> {
        self.steps += 1;
        (self.steps <= STEPS && !self.rest.is_empty()).then(|| self.byte())
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    pub fn index(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number of any size; the small and the largest are likely.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=0xef => small.into(),
            0xf0..=0xf7 => self.short().into(),
            0xf8..=0xfb => (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte())),
            top => u64::MAX - u64::from(0xff - top),
        }
    }

    /// Up to 255 bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
