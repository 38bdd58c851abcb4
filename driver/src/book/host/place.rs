//! Where the files are, and whether that place can be trusted.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// The directory of a host book. It may be missing, refused, deleted and mended at any time.
pub(super) struct Place {
    path: Option<PathBuf>,
    complained: AtomicBool,
}

impl Place {
    /// This user's runtime directory.
    pub(super) fn standard() -> Self {
        let path = choose(
            env::var_os("MOSAIK_RUNTIME_DIR"),
            env::var_os("XDG_RUNTIME_DIR"),
            env::temp_dir(),
            *UID,
        );
        Self { path, complained: AtomicBool::new(false) }
    }

    pub(super) const fn at(path: PathBuf) -> Self {
        Self { path: Some(path), complained: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The directory, if there is one that can be trusted.
    pub(super) fn existing(&self) -> Option<&Path> {
        let path = self.path()?;
        match vet(path) {
            Ok(()) => Some(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.complain(&error);
                None
            }
        }
    }

    /// The directory, created if it is missing.
    pub(super) fn made(&self) -> io::Result<&Path> {
        let path = self.path().ok_or_else(|| io::Error::other("no runtime directory"))?;
        match vet(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_dir(path)?;
                vet(path)?;
            }
            verdict => verdict?,
        }
        Ok(path)
    }

    /// Warns of a failure, once.
    pub(super) fn complain(&self, error: &io::Error) {
        let dir = self.path().unwrap_or_else(|| Path::new("-")).display();
        if self.complained.swap(true, Ordering::Relaxed) {
            tracing::debug!(%dir, %error, "the address book of this host does not work");
        } else {
            tracing::warn!(
                %dir, %error,
                "the address book of this host does not work: nodes of other processes may not be \
                 found, nor find us, by themselves"
            );
        }
    }
}

fn choose(
    ours: Option<OsString>,
    xdg: Option<OsString>,
    temp: PathBuf,
    uid: Option<u32>,
) -> Option<PathBuf> {
    let ours = ours.filter(|dir| !dir.is_empty()).map(PathBuf::from);
    // Under `sudo` it may be somebody else's.
    let xdg = || xdg.map(PathBuf::from).filter(|dir| dir.is_absolute() && vet(dir).is_ok());
    ours.or_else(|| Some(xdg()?.join("mosaik")))
        .or_else(|| Some(temp.join(format!("mosaik-{}", uid?))))
}

/// Whom this process creates files as.
static UID: LazyLock<Option<u32>> = LazyLock::new(sys::uid);

fn vet(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    if !metadata.is_dir() {
        return refuse("it is not a directory");
    }
    if UID.is_none_or(|uid| !sys::is_owner(&metadata, uid)) {
        return refuse("it belongs to somebody else");
    }
    if sys::is_writable_by_others(&metadata) {
        return refuse("others can write to it");
    }
    Ok(())
}

fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    sys::make_private(builder.recursive(true));
    builder.create(path)
}

/// Creates a file for us alone.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    sys::open_private(options.write(true).create_new(true));
    options.open(path)
}

/// Whether `path` is a name of this open file.
pub(super) fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(sys::identity(&metadata) == sys::identity(&file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
mod sys {
    use std::{
        env,
        fs::{self, DirBuilder, Metadata, OpenOptions},
        hash::{BuildHasher, RandomState},
        os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    };

    /// From the process table, else by creating a file. (The owner of `/proc/self` would be root
    /// for a program with privileges.)
    pub(super) fn uid() -> Option<u32> {
        let status = fs::read_to_string("/proc/self/status").ok();
        let effective = status.as_deref().and_then(|status| {
            let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
            ids.split_ascii_whitespace().nth(1)?.parse().ok()
        });
        effective.or_else(|| {
            let random = RandomState::new().hash_one(std::process::id());
            let path = env::temp_dir().join(format!("mosaik-probe-{random:016x}"));
            let file = super::create_private(&path).ok()?;
            drop(fs::remove_file(path));
            Some(file.metadata().ok()?.uid())
        })
    }

    pub(super) fn is_owner(metadata: &Metadata, uid: u32) -> bool {
        metadata.uid() == uid
    }

    pub(super) fn is_writable_by_others(metadata: &Metadata) -> bool {
        metadata.mode() & 0o022 != 0
    }

    pub(super) fn make_private(builder: &mut DirBuilder) {
        builder.mode(0o700);
    }

    pub(super) fn open_private(options: &mut OpenOptions) {
        options.mode(0o600);
    }

    pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
    }
}

/// Elsewhere a lock keeps others from reading, and ownership is not a number: no host book there.
#[cfg(not(unix))]
mod sys {
    use std::fs::{DirBuilder, Metadata, OpenOptions};

    pub(super) const fn uid() -> Option<u32> {
        None
    }

    pub(super) const fn is_owner(_: &Metadata, _: u32) -> bool {
        false
    }

    pub(super) const fn is_writable_by_others(_: &Metadata) -> bool {
        true
    }

    pub(super) const fn make_private(_: &mut DirBuilder) {}

    pub(super) const fn open_private(_: &mut OpenOptions) {}

    pub(super) const fn identity(_: &Metadata) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_ours_or_the_sessions_or_temporary() {
        let temp = || PathBuf::from("/t");
        let own_dir = env::temp_dir().join(format!("mosaik-place-{}", std::process::id()));
        create_dir(&own_dir).unwrap();
        assert_eq!(choose(Some("/a".into()), None, temp(), Some(7)), Some("/a".into()));
        assert_eq!(choose(Some("".into()), None, temp(), Some(7)), Some("/t/mosaik-7".into()));
        assert_eq!(
            choose(None, Some(own_dir.clone().into()), temp(), Some(7)),
            Some(own_dir.join("mosaik"))
        );
        fs::remove_dir(own_dir).unwrap();
        for no_session in ["relative", "/does-not-exist", ""] {
            assert_eq!(
                choose(None, Some(no_session.into()), temp(), Some(7)),
                Some("/t/mosaik-7".into())
            );
        }
        assert_eq!(choose(None, None, temp(), None), None, "on a platform without users");
    }
}
