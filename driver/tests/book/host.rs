//! The address book of a host: real files, real processes.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File, Permissions},
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mosaik_driver::book::{AddressBook, Books, HostBook, Publication, Record};
use mosaik_proto::{NetworkId, PeerId, discovery::EndpointAddr};

use super::{addrs, listener, net, peer, record};

const PATIENCE: Duration = Duration::from_secs(20);
const CHILD: &str = "MOSAIK_TEST_BOOK_CHILD";

fn report_of(n: u8, port: u16) -> Vec<EndpointAddr> {
    vec![EndpointAddr::new(peer(n), addrs([port]))]
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A directory for one test, with a book directory in it that does not exist yet.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let dir = dir.join(format!("book-{test}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn book(&self) -> PathBuf {
        self.0.join("book")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.book()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// Puts a file there as a living publisher would.
    fn plant(&self, name: &str, text: &[u8]) -> File {
        let mut file = File::create(self.book().join(name)).unwrap();
        file.write_all(text).unwrap();
        file.lock().unwrap();
        file
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Another process that keeps a record published until it is killed.
struct Other(Child);

impl Other {
    fn start(dir: &Path, n: u8) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "host::child_process", "--nocapture"])
            .env(CHILD, format!("{n}:{}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("published")), "the child gave up");
        Self(child)
    }

    /// SIGKILL.
    fn kill(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a test by itself: what [`Other`] runs. A listed and an unlisted record, and a file that was
/// never put in place.
#[test]
fn child_process() {
    let Ok(order) = env::var(CHILD) else { return };
    let (n, dir) = order.split_once(':').unwrap();
    let n: u8 = n.parse().unwrap();
    let book = HostBook::at(dir);
    let _listed = book.publish(record(n, [1000 + u16::from(n)], Some(net())));
    let _unlisted = book.publish(record(n + 1, [1001 + u16::from(n)], None));
    book.flush();
    let unfinished =
        File::create(Path::new(dir).join(format!("{}-{n:016x}.new", peer(n)))).unwrap();
    unfinished.lock().unwrap();
    println!("published");
    // Until the parent kills us, or is gone itself.
    drop(io::stdin().lines().next());
}

#[test]
fn a_listing_of_another_process_reaches_a_look_within_a_second() {
    let dir = Dir::new("reach");
    let book = HostBook::at(dir.book());
    let (found, reports) = listener();
    let _look = book.look(net(), peer(9), found);
    let _other = Other::start(&dir.book(), 1);
    assert_eq!(reports.recv_timeout(Duration::from_secs(1)), Ok(report_of(1, 1001)));
    // And a look that comes later.
    let (found, reports) = listener();
    let _look = book.look(net(), peer(9), found);
    assert_eq!(reports.recv_timeout(Duration::from_secs(1)), Ok(report_of(1, 1001)));
    assert_eq!(book.resolve(&peer(1)), addrs([1001]));
    assert_eq!(book.resolve(&peer(2)), addrs([1002]), "unlisted");
    book.flush();
    assert!(reports.try_recv().is_err(), "neither the unlisted one nor anything twice");
}

#[test]
fn what_a_killed_process_left_is_cleaned_and_not_reported() {
    let dir = Dir::new("killed");
    let mut other = Other::start(&dir.book(), 1);
    assert_eq!(dir.files().len(), 3);
    let book = HostBook::at(dir.book());
    assert_eq!(book.resolve(&peer(1)), addrs([1001]));
    other.kill();
    assert_eq!(dir.files().len(), 3);
    assert_eq!(book.resolve(&peer(1)), addrs([]), "already before it is cleaned");

    let mut restarted = Other::start(&dir.book(), 5);
    let (found, reports) = listener();
    let look = book.look(net(), peer(9), found);
    assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(5, 1005)), "and nobody else");
    assert_eq!(dir.files().len(), 3, "the living one's");
    drop(look);
    restarted.kill();
}

#[test]
fn two_books_of_one_process_do_not_clash() {
    let dir = Dir::new("two");
    let (a, b) = (HostBook::at(dir.book()), HostBook::at(dir.book()));
    let (found, reports) = listener();
    let _look = b.look(net(), peer(9), found);
    let one = a.publish(record(1, [1], Some(net())));
    let two = b.publish(record(1, [2], Some(net())));
    a.flush();
    b.flush();
    assert_eq!(dir.files().len(), 2);
    assert_eq!(a.resolve(&peer(1)), addrs([1, 2]));
    assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(1, 1)), "its own are not read");

    one.update(record(1, [3], Some(net())));
    assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(1, 3)));
    drop(one);
    a.flush();
    assert_eq!(b.resolve(&peer(1)), addrs([2]));
    drop(two);
    b.flush();
    assert!(dir.files().is_empty());
}

#[test]
fn a_withdrawn_node_is_reported_again_when_it_is_back() {
    let dir = Dir::new("again");
    let (a, b) = (HostBook::at(dir.book()), HostBook::at(dir.book()));
    let (found, reports) = listener();
    let _look = b.look(net(), peer(9), found);
    for _ in 0..2 {
        let node = a.publish(record(1, [1], Some(net())));
        assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(1, 1)));
        drop(node);
        a.flush();
        // A second look makes a reading happen now; its answer says that it has.
        let marker = a.publish(record(2, [2], Some(NetworkId::from("marker"))));
        a.flush();
        let (found, marked) = listener();
        let _marking = b.look(NetworkId::from("marker"), peer(9), found);
        assert_eq!(marked.recv_timeout(PATIENCE), Ok(report_of(2, 2)));
        drop(marker);
        a.flush();
    }
}

/// A reader never sees a moment without the record, nor half of one.
#[test]
fn updates_are_atomic() {
    let dir = Dir::new("atomic");
    let (writer, reader) = (HostBook::at(dir.book()), HostBook::at(dir.book()));
    let many = |n: u16| Record {
        peer: peer(1),
        addrs: (1..=20).map(|i| SocketAddr::from(([127, 0, 0, 1], 100 * n + i))).collect(),
        network: Some(net()),
    };
    let node = writer.publish(many(0));
    writer.flush();
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in 1..=300 {
                node.update(many(n));
                writer.flush();
            }
        });
        while !writing.is_finished() {
            let seen: Vec<_> = reader.resolve(&peer(1)).iter().map(SocketAddr::port).collect();
            assert_eq!(seen.len(), 20);
            assert_eq!(seen[19] - seen[0], 19, "one version: {seen:?}");
        }
    });
    assert_eq!(reader.resolve(&peer(1)), many(300).addrs);
    assert_eq!(dir.files().len(), 1);
    let file = dir.book().join(&dir.files()[0]);
    assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(dir.book()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn another_network_namespace_has_another_loopback() {
    let dir = Dir::new("netns");
    let here = HostBook::in_namespace(dir.book(), "net:[1]");
    let there = HostBook::in_namespace(dir.book(), "net:[2]");
    let too = HostBook::in_namespace(dir.book(), "net:[1]");
    let _a = there.publish(record(1, [1], Some(net())));
    let _b = too.publish(record(2, [2], Some(net())));
    there.flush();
    too.flush();
    let (found, reports) = listener();
    let _look = here.look(net(), peer(9), found);
    assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(2, 2)));
    assert_eq!(here.resolve(&peer(1)), addrs([]));
    assert_eq!(dir.files().len(), 2, "but it is alive");
    // By its id it may be reached through addresses that are not loopback.
    let roaming = ([10, 9, 8, 7], 3).into();
    let mut record = record(3, [3], None);
    record.addrs.insert(roaming);
    let _c = there.publish(record);
    there.flush();
    assert_eq!(here.resolve(&peer(3)), [roaming].into());
    assert_eq!(there.resolve(&peer(3)).len(), 2);
}

#[test]
fn foreign_and_malformed_files_are_skipped() {
    let dir = Dir::new("junk");
    let book = HostBook::at(dir.book());
    let writer = HostBook::at(dir.book());
    let _node = writer.publish(record(2, [2], Some(net())));
    writer.flush();
    let name = |n: u8, i: u64| format!("{}-{i:016x}", peer(n));
    let good = format!("mosaik 1\npeer {}\nnetwork {}\n", peer(1), net());
    let netns = fs::read_link("/proc/self/ns/net").ok();
    let netns = netns.map_or_else(String::new, |id| format!("netns {}\n", id.display()));
    let good = good + &netns + "addr 127.0.0.1:77\n";
    let huge = good.clone() + &"addr 127.0.0.1:78\n".repeat(300);
    let _held = [
        dir.plant(&name(1, 1), b""),
        dir.plant(&name(1, 2), &[0xff; 100]),
        dir.plant(&name(1, 3), huge.as_bytes()),
        dir.plant(&name(1, 4), good.replace("mosaik 1", "mosaik 2").as_bytes()),
        dir.plant(&name(3, 5), good.as_bytes()),
        dir.plant(&(name(1, 6) + ".new"), good.as_bytes()),
        dir.plant("README", good.as_bytes()),
    ];
    // What others put there is not ours to remove.
    fs::write(dir.book().join("notes.txt"), good.as_bytes()).unwrap();
    fs::create_dir(dir.book().join(name(1, 7))).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.book().join(name(1, 8))).unwrap();
    let pipe = Command::new("mkfifo").arg(dir.book().join(name(1, 9))).status();
    let before = dir.files().len();

    let (found, reports) = listener();
    let _look = book.look(net(), peer(9), found);
    assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(2, 2)), "pipe: {pipe:?}");
    assert_eq!(book.resolve(&peer(1)), addrs([]));
    assert_eq!(dir.files().len(), before);

    let _good = dir.plant(&name(1, 10), good.as_bytes());
    assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(1, 77)), "the test plants well");
    assert_eq!(book.resolve(&peer(1)), addrs([77]));
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let dir = Dir::new("refused");
    let path = dir.book();
    let book = HostBook::at(&path);
    let empty = || fs::read_dir(&path).unwrap().next().is_none();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o770)).unwrap();
    let _node = book.publish(record(1, [1], Some(net())));
    book.flush();
    assert!(empty());

    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        book.flush();
        assert!(empty());
    }
    fs::remove_dir(&path).unwrap();
    fs::create_dir(dir.0.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    book.flush();
    assert!(empty());

    fs::remove_file(&path).unwrap();
    fs::write(&path, "a file").unwrap();
    book.flush();
    assert_eq!(book.resolve(&peer(1)), addrs([]));

    fs::remove_file(&path).unwrap();
    book.flush();
    assert_eq!(HostBook::at(&path).resolve(&peer(1)), addrs([1]), "mended");
}

#[test]
fn what_was_deleted_comes_back_by_itself() {
    let dir = Dir::new("deleted");
    let book = HostBook::at(dir.book());
    let _node = book.publish(record(1, [1], None));
    book.flush();
    let reader = HostBook::at(dir.book());
    assert_eq!(reader.resolve(&peer(1)), addrs([1]));
    fs::remove_dir_all(dir.book()).unwrap();
    assert_eq!(reader.resolve(&peer(1)), addrs([]));
    eventually("the file is back", || reader.resolve(&peer(1)) == addrs([1]));
}

#[test]
fn hundreds_of_nodes_publish_without_waiting() {
    let dir = Dir::new("many");
    let books = Books::with_host_dir(dir.book());
    let id = |i: u16| PeerId::from_bytes(std::array::from_fn(|b| i.to_le_bytes()[b % 2]));
    let began = Instant::now();
    let nodes: Vec<Publication> = (0..400)
        .map(|i| books.publish(Record { peer: id(i), addrs: addrs([i + 1]), network: None }))
        .collect();
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(books.resolve(&id(399)), addrs([400]), "in this process at once");
    books.flush();
    assert_eq!(dir.files().len(), 400);

    // As another process sees it; half of them listed now.
    let reader = HostBook::at(dir.book());
    let (found, reports) = listener();
    let _look = reader.look(net(), peer(9), found);
    for (i, node) in (0..).zip(&nodes).step_by(2) {
        node.update(Record { peer: id(i), addrs: addrs([i + 1]), network: Some(net()) });
    }
    let mut seen = BTreeMap::new();
    eventually("all listed are found", || {
        let news = reports.try_iter().flatten();
        seen.extend(news.map(|news| (news.id, news.addrs)));
        seen.len() == 200
    });
    assert_eq!(reader.resolve(&id(1)), addrs([2]));
    drop(nodes);
    books.flush();
    assert!(dir.files().is_empty());
}

/// The books together: another process's node by file, this process's at once.
#[test]
fn all_books_at_once() {
    let dir = Dir::new("all");
    let books = Books::with_host_dir(dir.book());
    let network = NetworkId::from("all books at once");
    let (found, reports) = listener();
    let _look = books.look(network, peer(0x71), found);
    let _near = books.publish(record(0x72, [2], Some(network)));
    assert_eq!(reports.try_recv(), Ok(report_of(0x72, 2)), "no file was needed");

    let far = HostBook::at(dir.book());
    let _far = far.publish(record(0x73, [3], Some(network)));
    assert_eq!(reports.recv_timeout(PATIENCE), Ok(report_of(0x73, 3)));
    assert_eq!(books.resolve(&peer(0x72)), addrs([2]));
    assert_eq!(books.resolve(&peer(0x73)), addrs([3]));
}
