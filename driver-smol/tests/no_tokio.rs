//! No tokio runs in a process whose nodes are on smol. In a program of its own: it looks at the
//! whole process.

#![cfg(target_os = "linux")]

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mosaik_driver::discovery::ConfigBuilder;
use mosaik_driver_smol::Network;
use mosaik_proto::NetworkId;
use tokio::runtime::Handle;

async fn node(network: NetworkId) -> Network {
    Network::builder(network)
        .with_addresses([SocketAddr::from(([127, 0, 0, 1], 0))])
        .with_discovery(ConfigBuilder::default().no_auto_bootstrap())
        .build()
        .await
        .expect("a node")
}

/// The names of all threads of this process, as far as the system keeps them.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("a process has threads");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    let names = tasks.filter_map(|task| name(task.expect("a thread")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// How many places there are where this process waits for sockets.
fn reactors() -> usize {
    let files = fs::read_dir("/proc/self/fd").expect("a process has files");
    let target = |file: fs::DirEntry| fs::read_link(file.path());
    let targets = files.filter_map(|file| target(file.expect("a file")).ok());
    targets.filter(|target| target.as_os_str() == "anon_inode:[eventpoll]").count()
}

#[test]
fn no_tokio_runtime_and_no_reactor_of_tokio_exists() {
    let asked = Arc::new(AtomicUsize::new(0));
    let judge = {
        let asked = Arc::clone(&asked);
        move || {
            assert!(Handle::try_current().is_err(), "a tokio runtime runs this");
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    smol::block_on(async {
        let network = NetworkId::random();
        let (a, b) = (node(network).await, node(network).await);
        b.discovery().sync_with(a.local().addr()).await.expect("they meet");
        let in_loop = judge.clone();
        let producer = a
            .streams()
            .producer::<u64>()
            .require(move |_| {
                in_loop();
                true
            })
            .build()
            .expect("a producer");
        let mut consumer = b.streams().consume::<u64>();
        producer.when().subscribed().await;
        producer.send(1).await.expect("sent");
        assert_eq!(consumer.next().await, Some(1));
        judge();

        let names = threads();
        let ours = |name: &String| name.starts_with("mosaik-smol");
        assert!(names.iter().any(ours), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("tokio")), "{names:?}");
        assert_eq!(reactors(), 1, "that of async-io");
        a.shutdown().await;
        b.shutdown().await;
    });
    assert!(asked.load(Ordering::Relaxed) >= 2, "a handler was asked in the loop, and we were");
}
