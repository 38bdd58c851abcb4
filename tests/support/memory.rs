//! What a process holds: its heap to the byte, and what the system gave it for that.

#![allow(dead_code, reason = "every program that measures uses a part of it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts. A program that measures makes it its `global_allocator`.
#[derive(Debug)]
pub(crate) struct Counting;

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: everything is left to `System`; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        grown(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The memory of this process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Allocated and not freed.
    pub(crate) heap: usize,
    /// The most that was allocated since [`forget_peak`].
    pub(crate) peak: usize,
    /// Resident, by the system's count; 0 where it does not tell.
    pub(crate) resident: usize,
}

impl Memory {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let (heap, peak) = (LIVE.load(Ordering::Relaxed), PEAK.load(Ordering::Relaxed));
        Self { heap, peak: peak.max(heap), resident: resident() }
    }

    /// The most that was allocated beyond what was at an earlier moment.
    pub(crate) const fn growth_since(&self, before: &Self) -> usize {
        self.peak.saturating_sub(before.heap)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [heap, peak, resident] =
            [self.heap, self.peak, self.resident].map(|bytes| bytes as f64 / 1_048_576.0);
        write!(f, "heap {heap:.1} MiB, peak {peak:.1} MiB, resident {resident:.1} MiB")
    }
}

/// The peak begins anew.
pub(crate) fn forget_peak() {
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}
