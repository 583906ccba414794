//! The threads of this program besides the kernels', which the pool starts: all of them when it starts.
//!
//! Invariant: a system that refuses one (`pids.max` of a cgroup, RLIMIT_NPROC) ends the start with a sentence; a program that
//! has started needs no more. Called by whoever starts a thread.

use crate::error::{Error, ErrorKind, Result};
use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};

/// How long threads that have ended may be counted by the system.
const LINGERING: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread that is called `name`.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(|err| refused(name, &err))
}

/// The sentence on a thread that the system refuses.
pub fn refused(name: &str, why: &dyn Display) -> Error {
    Error::new(
        ErrorKind::Machine,
        format!(
            "The operating system refuses a thread ({name}): {why}. One for each core that is computed on and ten more are \
             needed: raise the limit (docker's --pids-limit, pids.max of the cgroup, TasksMax of systemd, ulimit -u), or \
             lower --threads."
        ),
    )
}

/// An error if the system refuses `count` more threads now.
pub fn check_room(name: &str, count: usize) -> Result<()> {
    let before = threads_now();
    let (end, ended) = channel::<()>();
    let ended = Arc::new(Mutex::new(ended));
    let wait = |_| {
        let ended = ended.clone();
        // For all of them until `end` is dropped.
        let wait = move || ended.lock().unwrap_or_else(PoisonError::into_inner).recv();
        Builder::new().name(name.to_owned()).spawn(wait)
    };
    let started: Vec<_> = (0..count).map(wait).collect();
    drop(end);
    let mut room = Ok(());
    for thread in started {
        match thread {
            Ok(thread) => _ = thread.join(),
            Err(err) => room = Err(refused(name, &err)),
        }
    }
    // The system counts a thread for a moment after it was joined.
    let start = Instant::now();
    while threads_now() > before && start.elapsed() < LINGERING {
        thread::yield_now();
    }
    room
}

/// Threads of this process; 0 where the system does not say.
fn threads_now() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// A few threads that wait for work. Large work waits for itself alone: one of several threads is never given to it.
pub struct Threads {
    work: Sender<Work>,
    for_large: Arc<Semaphore>,
}

/// What work may keep a thread for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Moments.
    Small,
    /// Seconds.
    Large,
}

impl Threads {
    /// Starts `count` of them. They end when the last handle is gone and all work is done.
    pub fn start(name: &str, count: usize) -> Result<Self> {
        let (work, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            spawn(name, move || work_on(&queue))?;
        }
        Ok(Self { work, for_large: Arc::new(Semaphore::new(count.saturating_sub(1).max(1))) })
    }

    /// Runs `work` on one of them; an error is what it panicked with.
    pub async fn run<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::result::Result<T, Box<dyn Any + Send>> {
        let place = match size {
            Size::Small => None,
            // It is never closed.
            Size::Large => self.for_large.clone().acquire_owned().await.ok(),
        };
        let (reply, answer) = oneshot::channel();
        let work = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            drop(place);
            // Nobody may wait for it any more.
            let _ = reply.send(result);
        };
        self.work
            .send(Box::new(work))
            .unwrap_or_else(|_| unreachable!("the threads wait as long as there is a sender"));
        answer.await.unwrap_or_else(|_| unreachable!("work that was taken replies"))
    }
}

fn work_on(queue: &Mutex<Receiver<Work>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_takes_no_thread_away() {
        let threads = Threads::start("test", 1).unwrap();
        for i in 0..3 {
            assert!(threads.run(Size::Large, || panic!("as it should")).await.is_err());
            assert_eq!(threads.run(Size::Large, move || i).await.unwrap(), i);
        }
    }

    #[tokio::test]
    async fn work_runs_on_all_threads_at_once() {
        let threads = Threads::start("test", 3).unwrap();
        let meeting = Arc::new(std::sync::Barrier::new(3));
        let meet = || {
            let meeting = meeting.clone();
            threads.run(Size::Small, move || meeting.wait().is_leader())
        };
        let (a, b, c) = tokio::join!(meet(), meet(), meet());
        assert_eq!([a, b, c].into_iter().filter(|leads| *leads.as_ref().unwrap()).count(), 1);
    }

    #[tokio::test]
    async fn large_work_leaves_a_thread_to_small_work() {
        let threads = Threads::start("test", 3).unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = Arc::new(Mutex::new(ended));
        let large = || {
            let ended = ended.clone();
            threads.run(Size::Large, move || ended.lock().unwrap().recv_timeout(Duration::from_secs(60)).is_ok())
        };
        let small = async {
            let answer = threads.run(Size::Small, || 7).await.unwrap();
            (0..4).for_each(|_| end.send(()).unwrap());
            answer
        };
        let (a, b, c, d, small) = tokio::join!(large(), large(), large(), large(), small);
        assert!([a, b, c, d].into_iter().all(|waited| waited.unwrap()), "the small one was done before them");
        assert_eq!(small, 7);
    }

    #[test]
    fn room_is_there_and_is_free_again() {
        check_room("test", 8).unwrap();
        check_room("test", 0).unwrap();
    }
}
