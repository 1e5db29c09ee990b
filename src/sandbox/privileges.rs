//! Who the process is, and what the kernel lets it do beyond others.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{setgroups, setresgid, setresuid, Gid, Uid};
use rustix::process::{
    getuid, parent_process_death_signal, set_parent_process_death_signal, setrlimit, Resource, Rlimit,
};
use rustix::thread::{set_keep_capabilities, set_no_new_privs, unshare_unsafe, UnshareFlags};

use super::SandboxError;

/// Whom to become when started as root, unless the command line says it.
const DEFAULT_USER: &str = "nobody";

/// The user that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    gid: Gid,
}

impl User {
    /// The user of that name or number; without one, who we are, or if that is root, nobody.
    pub fn find(name: Option<&str>) -> Result<User, SandboxError> {
        let own = User { uid: Uid::current(), gid: Gid::current() };
        let name = match name {
            None if !own.uid.is_root() => return Ok(own),
            other => other.unwrap_or(DEFAULT_USER),
        };
        let unknown = || SandboxError::NoSuchUser(name.into());
        let entry = match name.parse() {
            Ok(uid) => nix::unistd::User::from_uid(Uid::from_raw(uid)),
            Err(_) => nix::unistd::User::from_name(name),
        };
        let user = match (entry, name.parse()) {
            (Ok(Some(entry)), _) => User { uid: entry.uid, gid: entry.gid },
            // A number needs no name.
            (_, Ok(number)) => User { uid: Uid::from_raw(number), gid: Gid::from_raw(number) },
            _ => return Err(unknown()),
        };
        if user.uid == own.uid {
            Ok(own)
        } else if own.uid.is_root() {
            Ok(user)
        } else {
            Err(SandboxError::NotRoot(name.into()))
        }
    }
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> SandboxError {
    move |error| SandboxError::Privileges { what, source: error.into() }
}

/// Becomes `user`, without capabilities, network, core dumps, or a way to any of them. With
/// `keeps_folder`, a process that was root may still remove files from folders that are not its own.
pub fn give_up(user: &User, keeps_folder: bool) -> Result<(), SandboxError> {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    // A dump would hold memory of the guest.
    setrlimit(Resource::Core, nothing).map_err(failed("switch core dumps off"))?;
    set_no_new_privs(true).map_err(failed("give up gaining privileges"))?;
    let kept = match getuid().is_root() {
        true => leave_root(user, keeps_folder)?,
        false => CapsHashSet::new(),
    };
    let none = CapsHashSet::new();
    for (set, keep) in [(CapSet::Inheritable, &none), (CapSet::Effective, &kept), (CapSet::Permitted, &kept)] {
        caps::set(None, set, keep).map_err(|error| failed("give up capabilities")(io::Error::other(error)))?;
    }
    Ok(())
}

/// Gives up what only root has; the capabilities that stay.
fn leave_root(user: &User, keeps_folder: bool) -> Result<CapsHashSet, SandboxError> {
    // SAFETY: nothing in this process relies on the network namespace that it leaves.
    if let Err(error) = unsafe { unshare_unsafe(UnshareFlags::NEWNET) } {
        log::debug!("the network namespace stays ({error}); seccomp keeps the network away");
    }
    if let Err(error) = caps::clear(None, CapSet::Bounding) {
        log::debug!("the bounding set stays: {error}");
    }
    // The kernel forgets it when a process changes its user.
    let death = parent_process_death_signal().map_err(failed("ask for the parent's signal"))?;
    let mut kept = CapsHashSet::new();
    if !user.uid.is_root() {
        if keeps_folder {
            kept.insert(Capability::CAP_DAC_OVERRIDE);
            set_keep_capabilities(true).map_err(failed("keep a capability"))?;
        }
        setgroups(&[]).map_err(failed("leave root's groups"))?;
        setresgid(user.gid, user.gid, user.gid).map_err(failed("become another group"))?;
        setresuid(user.uid, user.uid, user.uid).map_err(failed("become another user"))?;
        set_parent_process_death_signal(death).map_err(failed("end with the parent"))?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_users_are_found_by_name_and_number() {
        let root = User { uid: Uid::from_raw(0), gid: Gid::from_raw(0) };
        if Uid::current().is_root() {
            assert_eq!(User::find(Some("root")).unwrap(), root);
            assert_eq!(User::find(Some("4711")).unwrap(), User { uid: Uid::from_raw(4711), gid: Gid::from_raw(4711) });
            assert_ne!(User::find(None).unwrap(), root);
        } else {
            assert!(matches!(User::find(Some("root")), Err(SandboxError::NotRoot(_))));
            assert_eq!(User::find(None).unwrap().uid, Uid::current());
        }
        assert!(matches!(User::find(Some("no such user")), Err(SandboxError::NoSuchUser(_))));
    }
}
