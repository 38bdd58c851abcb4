//! How groups come into being.

use std::time::Duration;

use mosaik_proto::groups::{Blocked, GroupConfig};

use crate::cluster::{Cluster, config};

const SECOND: Duration = Duration::from_secs(1);

#[test]
pub(crate) fn three_that_know_each_other_form_at_once() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed, 3, |_| config());
        let took = cluster.until("one leader", SECOND, Cluster::is_formed);
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}

#[test]
pub(crate) fn grp_10_one_alone_founds_when_it_has_waited() {
    let mut cluster = Cluster::new(1, 1, |_| config());
    assert_eq!(cluster.hosts[0].status().blocked, Some(Blocked::Alone));
    let took = cluster.until("a leader", 10 * SECOND, |cluster| cluster.leader().is_some());
    assert!((5 * SECOND..6 * SECOND).contains(&took), "{took:?}");
}

#[test]
pub(crate) fn durable_members_form_too() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed, 3, |_| GroupConfig { durable: true, ..config() });
        cluster.until("one leader", SECOND, Cluster::is_formed);
    }
}

#[test]
pub(crate) fn all_apart_become_one() {
    for seed in 0..50 {
        let mut cluster = Cluster::apart(seed, 4, |_| config());
        cluster.until("everybody alone leads", 10 * SECOND, |cluster| {
            cluster.hosts.iter().all(crate::cluster::Host::leads)
        });
        cluster.heal();
        cluster.until("one leader", SECOND, Cluster::is_formed);
    }
}
