//! The address book of a process.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    thread,
};

use mosaik_driver::book::{AddressBook, ProcessBook, Publication};
use mosaik_proto::{NetworkId, discovery::EndpointAddr};

use super::{addrs, listener, net, peer, record};

#[test]
fn an_unlisted_node_resolves_but_is_not_found() {
    let book = ProcessBook::isolated();
    let (found, reports) = listener();
    let _look = book.look(net(), peer(9), found);
    let node = book.publish(record(1, [1], None));
    assert_eq!(book.resolve(&peer(1)), addrs([1]));
    assert!(reports.try_recv().is_err());

    node.update(record(1, [1], Some(NetworkId::from("other"))));
    assert!(reports.try_recv().is_err());
    drop(node);
    assert_eq!(book.resolve(&peer(1)), addrs([]));
}

#[test]
fn a_look_sees_what_is_listed_and_what_changes() {
    let book = ProcessBook::isolated();
    let one = book.publish(record(1, [1], Some(net())));
    let (found, reports) = listener();
    let look = book.look(net(), peer(9), found);
    assert_eq!(reports.try_recv(), Ok(vec![EndpointAddr::new(peer(1), addrs([1]))]));

    let me = book.publish(record(9, [9], Some(net())));
    one.update(record(1, [1], Some(net())));
    assert!(reports.try_recv().is_err(), "not myself, nor what has not changed");

    one.update(record(1, [2], Some(net())));
    assert_eq!(reports.try_recv(), Ok(vec![EndpointAddr::new(peer(1), addrs([2]))]));
    one.update(record(1, [2], None));
    assert!(reports.try_recv().is_err(), "departures are not reported");
    one.update(record(1, [2], Some(net())));
    assert_eq!(reports.try_recv(), Ok(vec![EndpointAddr::new(peer(1), addrs([2]))]), "back again");

    drop((look, me));
    one.update(record(1, [3], Some(net())));
    assert!(reports.try_recv().is_err(), "the look has ended");
}

#[test]
fn one_key_twice_stands_side_by_side() {
    let book = ProcessBook::isolated();
    let (found, reports) = listener();
    let _look = book.look(net(), peer(9), found);
    let a = book.publish(record(1, [1], Some(net())));
    let b = book.publish(record(1, [2], Some(net())));
    assert_eq!(book.resolve(&peer(1)), addrs([1, 2]));
    assert_eq!(reports.try_iter().last(), Some(vec![EndpointAddr::new(peer(1), addrs([1, 2]))]));
    drop(a);
    assert_eq!(book.resolve(&peer(1)), addrs([2]));
    drop(b);
    assert_eq!(book.resolve(&peer(1)), addrs([]));
}

#[test]
fn a_report_may_use_the_book_and_may_panic() {
    let book = ProcessBook::isolated();
    let mine = OnceLock::<Publication>::new();
    let (found, reports) = listener();
    let inner = (book.clone(), mine);
    let _look = book.look(
        net(),
        peer(9),
        Arc::new(move |peers| {
            let (book, mine) = &inner;
            mine.get_or_init(|| book.publish(record(2, [2], Some(net()))));
            found(peers);
            panic!("as tested");
        }),
    );
    let _one = book.publish(record(1, [1], Some(net())));
    let told: Vec<_> = reports.try_iter().flatten().map(|found| found.id).collect();
    assert_eq!(told, [peer(1), peer(2)]);
}

/// However the publishers interleave, the last thing a look hears of a peer is how it ended up.
#[test]
fn the_last_report_is_the_final_state() {
    let book = ProcessBook::isolated();
    let (found, reports) = listener();
    let slowly = move |peers| {
        thread::yield_now();
        found(peers);
    };
    let _look = book.look(net(), peer(99), Arc::new(slowly));
    let nodes: Vec<_> = (1..=4).map(|n| book.publish(record(n, [1], Some(net())))).collect();
    thread::scope(|scope| {
        for (n, node) in (1..=4).zip(&nodes) {
            for side in 0..2 {
                scope.spawn(move || {
                    for i in 0..500 {
                        node.update(record(n, [10 + 2 * i + side], Some(net())));
                    }
                });
            }
        }
    });
    let mut last = BTreeMap::new();
    for report in reports.try_iter().flatten() {
        last.insert(report.id, report.addrs);
    }
    for n in 1..=4 {
        assert_eq!(last[&peer(n)], book.resolve(&peer(n)));
    }
}
