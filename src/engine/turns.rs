//! Whose step it is on the compute threads that several models share.
//!
//! One step has the threads at a time: a compute thread that waits for the others within a step would begin what another
//! model asks of it, and its own step would then wait for all of that.
//!
//! Invariants: models that have work get equal times, however long a step of each takes, and a short batch gets four times
//! what a long one of another model gets, as within a model; so whoever waits gets on, and nobody saves up time by having no
//! work. The threads are given back when a step panics. Asked by the workers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a short batch's time counts beside a long one's.
const SHORT_PART: u32 = 4;

/// The compute threads, for the models that share them. Clones share them too.
#[derive(Clone, Default)]
pub struct Turns(Arc<Threads>);

#[derive(Default)]
struct Threads {
    rota: Mutex<Rota>,
    given_back: Condvar,
}

/// How much there is to do in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Somebody waits for a few tokens.
    Short,
    /// As much as a batch may hold.
    Long,
}

impl Turns {
    /// A place for one more model.
    pub(super) fn place(&self) -> Place {
        let place = self.0.rota().place();
        Place { turns: self.clone(), place }
    }
}

impl Threads {
    /// No step runs while it is locked, and nothing panics.
    fn rota(&self) -> MutexGuard<'_, Rota> {
        self.rota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model's place among those that share the threads. It keeps them from step to step until they are due to another.
pub(super) struct Place {
    turns: Turns,
    place: usize,
}

impl Place {
    /// Runs a step of a batch of this length once the threads are this model's.
    pub fn step<R>(&self, length: Length, step: impl FnOnce() -> R) -> R {
        let Threads { given_back, .. } = &*self.turns.0;
        let mut rota = self.turns.0.rota();
        if rota.ask(self.place) {
            given_back.notify_all();
        }
        while !rota.take(self.place) {
            rota = given_back.wait(rota).unwrap_or_else(PoisonError::into_inner);
        }
        drop(rota);
        let started = Instant::now();
        let done = step();
        self.turns.0.rota().used(self.place, started.elapsed(), length);
        done
    }

    /// Leaves the threads to the others: there is nothing to do.
    pub fn rest(&self) {
        if self.turns.0.rota().give_back(self.place) {
            self.turns.0.given_back.notify_all();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rest();
    }
}

/// Who has the threads, who asks for them, and what each has had of them.
#[derive(Debug, Default)]
struct Rota {
    holder: Option<usize>,
    models: Vec<Had>,
    /// What who got the threads last had had of them.
    reached: Duration,
}

#[derive(Debug, Default)]
struct Had {
    time: Duration,
    asks: bool,
}

impl Rota {
    fn place(&mut self) -> usize {
        self.models.push(Had::default());
        self.models.len() - 1
    }

    /// `place` wants the next step; whether somebody else may have it for that.
    fn ask(&mut self, place: usize) -> bool {
        let had = &mut self.models[place];
        // What was not asked for is gone.
        had.time = had.time.max(self.reached);
        had.asks = true;
        self.give_back(place)
    }

    /// Gives the threads to `place` if it is who has had least of those that ask.
    fn take(&mut self, place: usize) -> bool {
        let asking = self.models.iter().enumerate().filter(|(_, had)| had.asks);
        let next = asking.min_by_key(|(_, had)| had.time).map(|(next, _)| next);
        if self.holder.is_some() || next != Some(place) {
            return false;
        }
        self.models[place].asks = false;
        self.reached = self.reached.max(self.models[place].time);
        self.holder = Some(place);
        true
    }

    fn used(&mut self, place: usize, time: Duration, length: Length) {
        self.models[place].time += match length {
            Length::Short => time / SHORT_PART,
            Length::Long => time,
        };
    }

    /// Whether `place` had them.
    fn give_back(&mut self, place: usize) -> bool {
        let had = self.holder == Some(place);
        self.holder = self.holder.filter(|holder| *holder != place);
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Runs `steps` of models that always have work, whose steps take so many milliseconds; whose step each is.
    fn run(rota: &mut Rota, models: &[(u64, Length)], steps: usize) -> Vec<usize> {
        let step = |_| {
            (0..models.len()).for_each(|place| _ = rota.ask(place));
            let place = (0..models.len()).find(|&place| rota.take(place)).expect("somebody is next");
            rota.used(place, Duration::from_millis(models[place].0), models[place].1);
            place
        };
        (0..steps).map(step).collect()
    }

    fn rota(models: usize) -> Rota {
        let mut rota = Rota::default();
        (0..models).for_each(|_| _ = rota.place());
        rota
    }

    #[test]
    fn long_batches_get_equal_times() {
        let models = [(50, Length::Long), (10, Length::Long), (25, Length::Long)];
        let order = run(&mut rota(3), &models, 8 * 100);
        let times = [0, 1, 2].map(|place| order.iter().filter(|step| **step == place).count() as u64 * models[place].0);
        assert_eq!(times, [5000, 5000, 5000]);
        assert!(order.windows(17).all(|some| some.contains(&0)), "none is left out for long");
    }

    #[test]
    fn a_short_batch_has_four_fifths_and_no_more() {
        let order = run(&mut rota(2), &[(40, Length::Long), (10, Length::Short)], 1700);
        assert_eq!(order.iter().filter(|place| **place == 0).count(), 100);
    }

    #[test]
    fn who_had_nothing_to_do_has_saved_up_nothing_and_need_not_wait_either() {
        let mut rota = rota(2);
        assert_eq!(run(&mut rota, &[(50, Length::Long)], 100), [0; 100]);
        let order = run(&mut rota, &[(50, Length::Long), (50, Length::Long)], 10);
        assert_eq!(order.iter().filter(|place| **place == 1).count(), 5, "{order:?}");
        assert!(order[..2].contains(&1), "{order:?}");
    }

    #[test]
    fn the_threads_stay_with_who_asks_again_before_the_others_are_due() {
        let mut rota = rota(2);
        assert!(!rota.ask(0) && rota.take(0) && !rota.take(1));
        rota.used(0, Duration::from_millis(50), Length::Long);
        assert!(!rota.ask(1) && !rota.take(1), "they have not been given back");
        assert!(rota.ask(0) && !rota.take(0) && rota.take(1));
        rota.used(1, Duration::from_millis(10), Length::Long);
        assert!(rota.ask(1) && !rota.take(0) && rota.take(1), "10 ms are less than 50");
        assert!(rota.give_back(1) && !rota.give_back(1) && rota.take(0));
    }

    #[test]
    fn one_step_runs_at_a_time_and_a_panic_ends_no_other() {
        let (turns, busy) = (Turns::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for model in 0..3 {
                let (place, busy) = (turns.place(), &busy);
                scope.spawn(move || {
                    let step = |i: usize| {
                        place.step(if model == 0 { Length::Short } else { Length::Long }, || {
                            assert!(!busy.swap(true, Ordering::SeqCst), "two steps run");
                            std::thread::sleep(Duration::from_micros(200));
                            busy.store(false, Ordering::SeqCst);
                            assert!(model != 1 || i < 20, "as it should");
                        });
                    };
                    let ended = catch_unwind(AssertUnwindSafe(|| (0..100).for_each(step)));
                    assert_eq!(ended.is_err(), model == 1);
                    drop(place);
                });
            }
        });
    }
}
