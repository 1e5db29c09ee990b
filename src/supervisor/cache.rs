//! Where a host's driver keeps what it has compiled from PTX: a folder for each user of the VM.
//!
//! A driver runs what it finds there as code of the GPU, and a worker may write there whatever its session makes it
//! write. So no worker reaches another user's folder.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{access, Access};

/// A VM can name any number of users; those that come later go without a cache.
const MOST_USERS: usize = 64;
const OWNER_ONLY: u32 = 0o700;

/// Whether users' folders can be made in `folder`.
pub fn check(folder: &Path) -> io::Result<()> {
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    access(folder, needed).map_err(|error| {
        io::Error::other(format!(
            "--compute-cache {}: {error}; it must be a folder in which the backend's user (--user) may write",
            folder.display()
        ))
    })
}

/// A user's folder, made if there is none yet; nothing if there cannot be one.
pub fn of_user(folder: &Path, user: u32) -> Option<PathBuf> {
    let path = folder.join(user.to_string());
    if path.is_dir() {
        return Some(path);
    }
    let made = std::fs::read_dir(folder).and_then(|users| match users.count() {
        0..MOST_USERS => DirBuilder::new().mode(OWNER_ONLY).create(&path),
        _ => Err(io::Error::other(format!("there are {MOST_USERS} users' folders already"))),
    });
    match made {
        Ok(()) => Some(path),
        Err(error) => {
            log::warn!("user {user} of the VM has no cache of compiled kernels in {}: {error}", folder.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_each_user_has_a_folder_and_no_more_than_so_many_have() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        for user in 0..MOST_USERS as u32 {
            assert_eq!(of_user(folder.path(), user), Some(folder.path().join(user.to_string())));
        }
        assert_eq!(of_user(folder.path(), 5), Some(folder.path().join("5")), "one that is there stays");
        assert_eq!(of_user(folder.path(), 1000), None);
        assert!(check(&folder.path().join("nowhere")).unwrap_err().to_string().contains("--compute-cache"));
    }
}
