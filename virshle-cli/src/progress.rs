//! Progress bars for disks that have to be copied.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use virshle_core::CopyProgress;

use crate::context::Context;

/// How long a copy lasts before it gets a bar: a shorter one would only flicker.
const DELAY: Duration = Duration::from_millis(150);
/// How often the bars are drawn, per second.
const FRAMES: u8 = 10;

/// The bars of one command, on stderr, or none where nobody looks.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    copies: Mutex<HashMap<(String, String), Copy>>,
}

#[derive(Debug)]
struct Copy {
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(context: &Context) -> Self {
        // Log lines would run into the bars.
        let wanted = stderr().is_terminal() && !context.output.is_quiet() && context.verbose == 0;
        let target = || ProgressDrawTarget::stderr_with_hz(FRAMES);
        Self {
            bars: wanted.then(|| MultiProgress::with_draw_target(target())),
            copies: Mutex::default(),
        }
    }

    /// Moves the bar of one copy. The copying thread comes through here: it never waits for a
    /// frame, as the bar is drawn only if the last frame was long enough ago.
    pub(crate) fn show(&self, progress: &CopyProgress<'_>) {
        let Some(bars) = &self.bars else { return };
        let key = (progress.vm.to_string(), progress.disk.to_owned());
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = copies.entry(key).or_insert_with(|| Copy { began: Instant::now(), bar: None });
        if copy.bar.is_none() && copy.began.elapsed() >= DELAY {
            let bar = bars.add(ProgressBar::new(progress.total_bytes));
            bar.set_style(style());
            bar.set_prefix(format!("{} {}", progress.vm, progress.disk));
            copy.bar = Some(bar);
        }
        if let Some(bar) = &copy.bar {
            bar.set_position(progress.done_bytes);
            if progress.done_bytes >= progress.total_bytes {
                bar.finish_and_clear();
            }
        }
    }

    /// Takes the bars away.
    pub(crate) fn end(self) {
        if let Some(bars) = self.bars {
            // A terminal that can't be written to has no bars to take away.
            drop(bars.clear());
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{prefix} {wide_bar:.green} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_the_bar_is_right() {
        assert!(ProgressStyle::with_template("{prefix}").is_ok());
        drop(style());
    }
}
