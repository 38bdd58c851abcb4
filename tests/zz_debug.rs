mod common;
#[path = "groups/counter.rs"]
mod counter;
use common::*;
use counter::*;
use mosaik::*;

fn show(name: &str, g: &Group<Counter>) {
    let s = g.status();
    eprintln!("{name}: {:?} {:?} lin {:?} leader {:?} voters {:?} learners {:?} bonds {:?} log {:?} committed {:?} online {} blocked {:?} tol {}", s.role, s.term, s.lineage, s.leader, s.voters.len(), s.learners.len(), s.bonds, s.log, s.committed, s.online, s.blocked, s.tolerates);
}

#[tokio::test(flavor = "multi_thread")]
async fn founders() {
    for round in 0..6 {
        let nodes = nodes::<3>().await;
        let key = GroupKey::random();
        let found = |node: &Network| {
            let builder = node.groups().with_key(key).with_state_machine(Counter::default());
            builder.with_founders(3).join()
        };
        let groups = vec![found(&nodes[0]), found(&nodes[1])];
        tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        eprintln!("round {round} {} {}", nodes[0].local().id(), nodes[1].local().id());
        groups.iter().for_each(|g| show("F", g));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bonds() {
    for round in 0..12 {
        let nodes = nodes::<3>().await;
        let key = GroupKey::random();
        let first = join(&nodes[0], key);
        let bonds = first.bonds();
        let others = [join(&nodes[1], key), join(&nodes[2], key)];
        while bonds.len() < 2 {
            soon(bonds.changed()).await;
        }
        let bond = bonds.get(&nodes[1].local().id()).expect("bonded");
        drop(others);
        if tokio::time::timeout(std::time::Duration::from_secs(5), bond.terminated()).await.is_err() {
            eprintln!("round {round} {} {} {}", nodes[0].local().id(), nodes[1].local().id(), nodes[2].local().id());
            show("B", &first);
            for n in &nodes { eprintln!("{} in {:?}", n.local().id(), n.discovery().me().entry().groups().len()); }
        }
    }
}
