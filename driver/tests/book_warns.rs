//! A host book that does not work says so once, and goes on. Alone in its process: it counts what
//! the whole process logs.
#![cfg(unix)]

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use mosaik_driver::book::{AddressBook, HostBook, Record};
use mosaik_proto::PeerId;
use tracing::{Event, Level, Metadata, Subscriber, span};

static WARNINGS: AtomicUsize = AtomicUsize::new(0);

struct Count;

impl Subscriber for Count {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn event(&self, _: &Event<'_>) {
        WARNINGS.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn one_warning_is_enough() {
    tracing::subscriber::set_global_default(Count).unwrap();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = path.join(format!("book-warns-{}", std::process::id()));
    fs::write(&path, "in the way").unwrap();
    let book = HostBook::at(&path);
    let peer = PeerId::from_bytes([1; 32]);
    let record =
        |port: u16| Record { peer, addrs: [([127, 0, 0, 1], port).into()].into(), network: None };
    let nodes = [1, 2, 3].map(|port| book.publish(record(port)));
    for _ in 0..3 {
        book.flush();
        assert!(book.resolve(&peer).is_empty());
    }
    assert_eq!(WARNINGS.load(Ordering::Relaxed), 1);

    fs::remove_file(&path).unwrap();
    book.flush();
    assert_eq!(book.resolve(&peer).len(), 3, "nothing was lost");
    drop(nodes);
    book.flush();
    assert_eq!(WARNINGS.load(Ordering::Relaxed), 1);
    fs::remove_dir(&path).unwrap();
}
