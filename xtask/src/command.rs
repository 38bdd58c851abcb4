//! Running other programs.

use std::{
    env,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::finding::Finding;

/// Runs a program in sight of the user; a finding if it fails.
pub(crate) fn run(root: &Path, program: &str, args: &[&str], env: &[(&str, &str)]) -> Vec<Finding> {
    let line = line(program, args);
    println!("$ {line}");
    let status = command(root, program, args).envs(env.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Vec::new(),
        Ok(status) => vec![Finding::new(line, format!("failed with {status}"))],
        Err(error) => vec![Finding::new(line, format!("cannot be run: {error}"))],
    }
}

/// Runs `cargo` in sight of the user.
pub(crate) fn cargo(root: &Path, args: &str) -> Vec<Finding> {
    cargo_with(root, args, &[])
}

/// Runs `cargo` with more environment; arguments are split at spaces.
pub(crate) fn cargo_with(root: &Path, args: &str, env: &[(&str, &str)]) -> Vec<Finding> {
    run(root, "cargo", &args.split(' ').collect::<Vec<_>>(), env)
}

/// What a program prints; a finding with its complaints if it fails.
pub(crate) fn capture(root: &Path, program: &str, args: &[&str]) -> Result<String, Finding> {
    capture_with(root, program, args, &[])
}

/// [`capture`] with more environment.
pub(crate) fn capture_with(
    root: &Path,
    program: &str,
    args: &[&str],
    env: &[(&str, &str)],
) -> Result<String, Finding> {
    let line = line(program, args);
    let output = command(root, program, args).envs(env.iter().copied()).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            Err(Finding::new(line, format!("failed with {}: {}", output.status, complaint.trim())))
        }
        Err(error) => Err(Finding::new(line, format!("cannot be run: {error}"))),
    }
}

/// What a program prints if it ends well within `limit`; it is killed if it does not end.
///
/// `cargo run` becomes its program by `exec`, so killing it leaves nothing behind.
pub(crate) fn capture_within(
    root: &Path,
    program: &str,
    args: &[&str],
    limit: Duration,
) -> Result<String, Finding> {
    let line = line(program, args);
    println!("$ {line}");
    let mut child = command(root, program, args)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Finding::new(&line, format!("cannot be run: {error}")))?;
    let pipe = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut text).ok();
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let begin = Instant::now();
    let verdict = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break Ok(()),
            Ok(Some(status)) => break Err(format!("failed with {status}")),
            Ok(None) if begin.elapsed() < limit => thread::sleep(Duration::from_millis(20)),
            _ => {
                child.kill().ok();
                child.wait().ok();
                break Err(format!("did not end within {limit:?}"));
            }
        }
    };
    let text = reader.join().unwrap_or_default();
    verdict.map(|()| text.clone()).map_err(|what| {
        print!("{text}");
        Finding::new(line, what)
    })
}

/// A program with no input and without what `cargo run` told this one of its package: build scripts
/// that watch those variables (ring's) would build again at every change between cargo and xtask.
fn command(root: &Path, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root).stdin(Stdio::null());
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command
}

fn line(program: &str, args: &[&str]) -> String {
    format!("{program} {}", args.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_killed() {
        let limit = Duration::from_millis(50);
        let hung = capture_within(Path::new("."), "sleep", &["60"], limit);
        assert!(hung.is_err_and(|finding| finding.to_string().contains("did not end within 50ms")));
    }

    #[test]
    fn what_ends_is_heard_and_what_fails_is_found() {
        let limit = Duration::from_secs(10);
        let heard = capture_within(Path::new("."), "echo", &["21.5"], limit);
        assert_eq!(heard.as_deref(), Ok("21.5\n"));
        assert!(capture_within(Path::new("."), "false", &[], limit).is_err());
        assert!(capture(Path::new("."), "no-such-program-here", &[]).is_err());
    }
}
