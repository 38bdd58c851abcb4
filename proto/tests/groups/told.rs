//! What a member says of itself, and when.

use std::time::Duration;

use mosaik_proto::groups::{Blocked, Cursor, Input};

use crate::{
    cluster::{Cluster, config, peer},
    lives::formed,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
pub(crate) fn grp_27_positions_are_published_seldom_and_the_rest_at_once() {
    let (mut cluster, _) = formed(2, 3, |_| config());
    let leader = cluster.leader().unwrap();
    cluster.run(2 * SECOND);
    let before = cluster.hosts[leader].said;
    for _ in 0..190 {
        cluster.execute(leader);
        cluster.run(Duration::from_millis(5));
    }
    let said = cluster.hosts[leader].said - before;
    assert!((1..=4).contains(&said), "{said} in two heartbeats");
    let log = cluster.hosts[leader].status().log;
    assert!(log < cluster.hosts[leader].log, "the end of the log is published at once");
    cluster.run(SECOND);
    let status = cluster.hosts[leader].status();
    assert_eq!(status.log, cluster.hosts[leader].log);
    assert_eq!((status.committed, status.durable), (status.log.index(), status.log.index()));
    let lags = status.voters.iter().filter_map(|member| member.lag);
    assert!(lags.into_iter().all(|lag| lag.linked && lag.voter));
    let before = cluster.hosts[leader].said;
    let gone = (leader + 1) % 3;
    cluster.unlink(leader, gone);
    assert!(cluster.hosts[leader].said > before, "who is linked is said at once");
    assert!(!cluster.hosts[leader].status().bonds.contains(&peer(gone)));
    let before = cluster.hosts[leader].said;
    cluster.run(10 * SECOND);
    assert!(cluster.hosts[leader].said - before <= 2, "an idle group says nothing");
}

#[test]
pub(crate) fn grp_28_a_member_says_why_it_is_not_online() {
    let mut cluster = Cluster::apart(5, 3, |at| mosaik_proto::groups::GroupConfig {
        durable: at == 0,
        ..config()
    });
    let blocked = |cluster: &Cluster, at: usize| cluster.hosts[at].status().blocked.clone();
    assert_eq!(blocked(&cluster, 0), Some(Blocked::Loading));
    assert_eq!(blocked(&cluster, 1), Some(Blocked::Alone));
    cluster.heal();
    cluster.until("formed", SECOND, |cluster| {
        cluster.is_formed() && cluster.hosts.iter().all(|host| host.status().online)
    });
    assert_eq!(cluster.hosts[0].status().tolerates, 0, "one votes");
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    cluster.execute(leader);
    cluster.until("all vote", SECOND, Cluster::is_settled);
    cluster.run(SECOND);
    assert!(cluster.hosts.iter().all(|host| host.status().tolerates == 1));
    cluster.partition(&[leader]);
    cluster.run(5 * SECOND);
    let alone = Some(Blocked::NoQuorum { linked: 1, needed: 2 });
    assert_eq!(blocked(&cluster, leader), alone);
    assert!(!cluster.hosts[leader].status().online);
    cluster.heal();
    cluster.until("formed again", 5 * SECOND, Cluster::is_formed);
    cluster.input(1, Input::Leave);
    assert!(cluster.hosts[1].closed || blocked(&cluster, 1) == Some(Blocked::Leaving));
    cluster.until("it left", 2 * SECOND, |cluster| cluster.hosts[1].closed);
    assert!(cluster.hosts[0].log > Cursor::default());
}
