//! What can happen to a directory while nobody uses it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use mosaik_proto::rng::Rng;

/// Deletes the directory, or flips one bit of one of its files; says which.
pub(super) fn damage(dir: &Path, rng: &mut Rng) -> io::Result<String> {
    let mut all = Vec::new();
    files(dir, &mut all)?;
    all.sort();
    if all.is_empty() || rng.chance(500_000) {
        fs::remove_dir_all(dir)?;
        return Ok("its directory is deleted".to_owned());
    }
    let (path, bytes) = all.swap_remove(rng.below(all.len() as u64) as usize);
    let (at, bit) = (rng.below(bytes), rng.below(8));
    flip(&path, at, 1 << bit)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("bit {bit} of byte {at} of the {bytes} of {name} is flipped"))
}

/// Files that hold something, with their sizes.
fn files(dir: &Path, into: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let (path, data) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        if data.is_dir() {
            files(&path, into)?;
        } else if data.len() > 0 {
            into.push((path, data.len()));
        }
    }
    Ok(())
}

fn flip(path: &Path, at: u64, bit: u8) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ bit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_go_and_bits_flip() {
        let dir = std::env::temp_dir().join(format!("mosaik-damage-{}", std::process::id()));
        let (mut gone, mut flipped) = (0, 0);
        for seed in 0..20 {
            fs::create_dir_all(dir.join("group")).unwrap();
            fs::write(dir.join("group/1.wal"), [0; 64]).unwrap();
            fs::write(dir.join("group/lock"), []).unwrap();
            damage(&dir, &mut Rng::new([seed; 32])).unwrap();
            match fs::read(dir.join("group/1.wal")) {
                Ok(bytes) => {
                    assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
                    flipped += 1;
                }
                Err(_) => gone += 1,
            }
        }
        fs::remove_dir_all(&dir).unwrap_or_default();
        assert!(gone > 3 && flipped > 3, "{gone} {flipped}");
    }
}
