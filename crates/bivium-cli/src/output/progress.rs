//! Progress bars, on a terminal only. Without a terminal nothing listens to progress, so the runtime can leave reports out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bivium::{CallHandle, Progress};
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use super::screen::Screen;
use super::text::on_one_line;

const STEPS: u64 = 1000;
const TICK: Duration = Duration::from_millis(100);

/// Does `work` under a bar that shows the current phase and the call's progress. The bar is removed when the work is done.
pub(crate) async fn follow<T>(screen: &Screen, label: &str, call: &CallHandle, work: impl Future<Output = T>) -> T {
    let Some(bars) = screen.bars() else { return work.await };
    let bar = Bar::new(bars, label);
    let (mut progress, mut phases) = (call.progress(), screen.phases());
    let draw = async {
        loop {
            tokio::select! {
                Ok(()) = progress.changed() => bar.show(&progress.borrow_and_update()),
                Ok(()) = phases.changed() => bar.show(&Progress::new(None, phases.borrow_and_update().as_str())),
                else => return std::future::pending().await,
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        never = draw => never,
    }
}

/// One bar for each of several tasks that run at the same time.
pub(crate) struct Bars<'a> {
    bars: Option<&'a MultiProgress>,
    shown: Mutex<BTreeMap<String, Bar>>,
}

impl<'a> Bars<'a> {
    pub(crate) fn new(screen: &'a Screen) -> Self {
        Self { bars: screen.bars(), shown: Mutex::default() }
    }

    /// Shows a task's progress, in a new bar if it has none.
    pub(crate) fn show(&self, label: &str, progress: &Progress) {
        let Some(bars) = self.bars else { return };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.entry(label.to_owned()).or_insert_with(|| Bar::new(bars, label)).show(progress);
    }

    /// Removes a task's bar.
    pub(crate) fn end(&self, label: &str) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(label);
    }
}

/// One bar. It is removed when it is dropped.
struct Bar(ProgressBar);

impl Bar {
    fn new(bars: &MultiProgress, label: &str) -> Self {
        let bar = bars.add(ProgressBar::new(STEPS).with_prefix(on_one_line(label)).with_style(style(false)));
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    fn show(&self, progress: &Progress) {
        self.0.set_style(style(progress.fraction.is_some()));
        if let Some(fraction) = progress.fraction {
            // From 0 to STEPS: a fraction is from 0 to 1.
            self.0.set_position((fraction * STEPS as f64) as u64);
        }
        self.0.set_message(message(progress));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The text after the bar: the time left, if known, and the current message.
fn message(progress: &Progress) -> String {
    let message = on_one_line(&progress.message);
    match progress.eta_s.and_then(|left| Duration::try_from_secs_f64(left.ceil()).ok()) {
        Some(left) => format!("{} left {message}", HumanDuration(left)),
        None => message,
    }
}

fn style(has_fraction: bool) -> ProgressStyle {
    let template = if has_fraction {
        "{spinner} {prefix} [{bar:30}] {percent:>3}% {wide_msg}"
    } else {
        "{spinner} {prefix} {elapsed} {wide_msg}"
    };
    // The templates are constants. If one were wrong, the default bar would be shown.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_the_end_is_shown_where_it_is_known() {
        let mut progress = Progress::new(Some(0.5), "step\n2");
        assert_eq!(message(&progress), "step 2");
        for (left, shown) in [(0.2, "1 second"), (59.0, "59 seconds"), (600.0, "10 minutes")] {
            progress.eta_s = Some(left);
            assert_eq!(message(&progress), format!("{shown} left step 2"));
        }
        for odd in [f64::INFINITY, f64::NAN, -1.0, 1e300] {
            progress.eta_s = Some(odd);
            assert_eq!(message(&progress), "step 2");
        }
    }
}
