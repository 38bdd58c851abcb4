//! "Works offline" taken at its word: a host whose loopback interface is down.

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

/// `quickstart` in a network namespace where nothing is up, `lo` included. Skipped with a note where
/// this user may not make one.
#[test]
fn quickstart_needs_no_network_at_all() {
    let quickstart = support::example("quickstart");
    let begin = Instant::now();
    let output = match Command::new("unshare").arg("--net").arg(&quickstart).output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: unshare: {error}"),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.starts_with("unshare:") {
        return println!("skipped: {stderr}");
    }
    assert!(output.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "21.5\n");
    assert!(begin.elapsed() < Duration::from_secs(20), "found each other late");
}
