//! A file that is locked as long as somebody has it.

use std::fs::{File, TryLockError};
use std::ops::Deref;

/// An open file with a lock on it. It is let go of at the end, not left to the closing of the file: a process that is being
/// started has copies of all open files until its program runs, and would keep the lock so long.
pub struct Locked(File);

impl Locked {
    /// Locks `file` unless another has it.
    pub fn exclusive(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }

    /// Locks `file` where locks can be had, which they can't on some network file systems; `None` if another has it.
    pub fn if_possible(file: File) -> Option<Self> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Ok(()) | Err(TryLockError::Error(_)) => Some(Self(file)),
        }
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Nothing is held where this fails.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_holder_whoever_else_has_the_file_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || File::create(dir.path().join("file")).expect("a file");
        let held = Locked::exclusive(open()).expect("nobody has it");
        // What a process that is being started has.
        let copy = held.try_clone().expect("a copy");
        assert!(matches!(Locked::exclusive(open()), Err(TryLockError::WouldBlock)));
        assert!(Locked::if_possible(open()).is_none());
        drop(held);
        assert!(Locked::exclusive(open()).is_ok());
        assert!(Locked::if_possible(open()).is_some());
        drop(copy);
    }
}
