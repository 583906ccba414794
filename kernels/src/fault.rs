//! What a process says when a mapped file ends under it.
//!
//! Memory of a file that became shorter cannot be read: the system sends SIGBUS, which ends a process without a word.
//! Called once, by whoever maps files, before it maps the first.

/// Makes SIGBUS end the process with a sentence on stderr and exit code 1, where it would end without one.
pub fn explain_bus_errors() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: `explain` has the form that a handler without SA_SIGINFO has, and calls nothing but write and _exit,
        // which are safe in a handler; zeroed is a valid sigaction: no flags, an empty mask. Nothing else in this
        // process handles SIGBUS but Rust's own runtime, which would only let the signal end the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = explain as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            // It cannot fail for a signal that exists; if it did, the process would end as before.
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
        }
    }
}

#[cfg(target_os = "linux")]
extern "C" fn explain(_: libc::c_int) {
    const SENTENCE: &[u8] =
        b"ERROR A file that is mapped into memory became shorter or cannot be read any more (SIGBUS): the model or \
          its weight cache was changed while it was in use, or its disk failed. Start again with complete files; \
          replace such files by renaming, never by writing into them.\n";
    // SAFETY: the bytes are a constant; both calls are safe in a signal handler.
    unsafe {
        libc::write(libc::STDERR_FILENO, SENTENCE.as_ptr().cast(), SENTENCE.len());
        libc::_exit(1);
    }
}
