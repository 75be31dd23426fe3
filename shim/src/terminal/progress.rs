//! The progress of a step that takes longer than half a second: a spinner on a terminal,
//! elsewhere, and where cargo would draw no progress bar, a line of text, repeated with the time
//! it has taken.
//!
//! A thread shows it. The thread wakes only when a step starts or ends and when something is
//! due to be shown; it ends when the [`Progress`] is dropped.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use burst_sync::tally::Tally;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::figure::tallied;
use super::line;
use crate::environment;

/// How long a step takes before its progress is shown.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

/// The pause between two lines of progress where there is no spinner.
const REPEATED_AFTER: Duration = Duration::from_secs(15);

/// The pause between two frames of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// The step that is in progress, if any.
#[derive(Debug, Default)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a step starts or ends, and at the end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    step: Option<Step>,
    /// Whether the [`Progress`] was dropped.
    is_over: bool,
}

#[derive(Debug)]
struct Step {
    text: String,
    /// How far the step is, if it counts.
    tally: Option<Arc<Tally>>,
    began: Instant,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Line { at: Instant },
    Spinner { bar: ProgressBar, at: Instant },
}

impl Progress {
    /// Without a step.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Starts the thread that shows progress. Without it, steps are not shown.
    pub(super) fn keep_moving(&self) {
        let shared = Arc::clone(&self.0);
        std::thread::spawn(move || shared.show_until_over());
    }

    /// Starts a step, which replaces the one in progress. One of the same name goes on, with
    /// the figures of this one.
    pub(super) fn start(&self, text: String, tally: Option<Arc<Tally>>) {
        if !self.0.tally(&text, tally.as_ref()) {
            let step = Step { text, tally, began: Instant::now(), shown: Shown::Nothing };
            self.0.replace(Some(step));
        }
    }

    /// Ends the step, and clears its spinner before it returns.
    pub(super) fn clear(&self) {
        self.0.replace(None);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the step in progress other figures, if it has this name.
    fn tally(&self, text: &str, tally: Option<&Arc<Tally>>) -> bool {
        match &mut self.lock().step {
            Some(step) if step.text == text => {
                step.tally = tally.cloned();
                true
            }
            _ => false,
        }
    }

    fn replace(&self, next: Option<Step>) {
        let mut state = self.lock();
        let is_changed = state.step.is_some() || next.is_some();
        let last = std::mem::replace(&mut state.step, next);
        if let Some(Step { shown: Shown::Spinner { bar, .. }, .. }) = last {
            bar.finish_and_clear();
        }
        drop(state);
        if is_changed {
            self.changed.notify_all();
        }
    }

    fn show_until_over(&self) {
        let draws = stderr().is_terminal() && environment::allows_progress_bars();
        let mut state = self.lock();
        while !state.is_over {
            let Some(step) = state.step.as_mut() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if step.due() <= now {
                step.show(now, draws);
            }
            let pause = step.due().saturating_duration_since(now);
            let woken = self.changed.wait_timeout(state, pause);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Step {
    /// When something is to be shown next.
    fn due(&self) -> Instant {
        match &self.shown {
            Shown::Nothing => self.began + SHOWN_AFTER,
            Shown::Line { at } => *at + REPEATED_AFTER,
            Shown::Spinner { at, .. } => *at + TICK,
        }
    }

    fn show(&mut self, now: Instant, draws: bool) {
        match &mut self.shown {
            Shown::Spinner { bar, at } => {
                if let Some(tally) = &self.tally {
                    bar.set_message(described(&self.text, Some(tally)));
                }
                bar.tick();
                *at = now;
            }
            Shown::Nothing if draws => {
                let text = described(&self.text, self.tally.as_deref());
                let bar = spinner(text, now.saturating_duration_since(self.began));
                bar.tick();
                self.shown = Shown::Spinner { bar, at: now };
            }
            Shown::Nothing | Shown::Line { .. } => {
                line::write(&self.line(now));
                self.shown = Shown::Line { at: now };
            }
        }
    }

    /// The line to show: the first one without the time.
    fn line(&self, now: Instant) -> String {
        let secs = now.saturating_duration_since(self.began).as_secs();
        let text = described(&self.text, self.tally.as_deref());
        match self.shown {
            Shown::Nothing => format!("burst: {text}"),
            _ => format!("burst: {text} ({secs} s)"),
        }
    }
}

/// The text of a step, with the figures that it has by now.
fn described(text: &str, tally: Option<&Tally>) -> String {
    match tally.and_then(|tally| tallied(tally.figures())) {
        Some(figures) => format!("{text}: {figures}"),
        None => text.to_owned(),
    }
}

fn spinner(text: String, elapsed: Duration) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} burst: {msg} ({elapsed})");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(text);
    bar.with_elapsed(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_due_after_half_a_second_then_by_what_is_shown() {
        let began = Instant::now();
        let text = "creating a server".into();
        let mut step = Step { text, tally: None, began, shown: Shown::Nothing };
        assert_eq!(step.due(), began + Duration::from_millis(500));
        assert_eq!(step.line(began + SHOWN_AFTER), "burst: creating a server");
        let at = began + SHOWN_AFTER;
        step.shown = Shown::Line { at };
        assert_eq!(step.due(), at + Duration::from_secs(15));
        assert_eq!(step.line(at + REPEATED_AFTER), "burst: creating a server (15 s)");
        step.shown = Shown::Spinner { bar: ProgressBar::hidden(), at };
        assert_eq!(step.due(), at + Duration::from_millis(100));
    }

    #[test]
    fn a_step_shows_what_it_has_counted_and_a_second_one_of_its_name_goes_on() {
        let progress = Progress::new();
        let line = |at: Instant| progress.0.lock().step.as_ref().unwrap().line(at);
        let began = || progress.0.lock().step.as_ref().unwrap().began;
        progress.start("syncing".into(), None);
        let first = began();
        assert_eq!(line(first), "burst: syncing");
        let tally = Arc::new(Tally::default());
        progress.start("syncing".into(), Some(Arc::clone(&tally)));
        assert_eq!(line(first), "burst: syncing");
        tally.expect(2, 3_000_000);
        tally.file();
        tally.bytes(1_000_000);
        assert_eq!(began(), first);
        assert_eq!(line(first), "burst: syncing: 1 of 2 files, 1.0 MB of 3.0 MB");
        progress.start("another step".into(), None);
        assert_eq!(line(first), "burst: another step");
    }

    #[test]
    fn the_thread_ends_with_its_progress() {
        let progress = Progress::new();
        let shared = Arc::clone(&progress.0);
        let thread = std::thread::spawn(move || shared.show_until_over());
        progress.start("a step".into(), None);
        assert!(progress.0.lock().step.is_some());
        progress.clear();
        assert!(progress.0.lock().step.is_none());
        progress.start("another one".into(), None);
        drop(progress);
        thread.join().unwrap();
    }
}
