//! What was measured, round by round.

use std::time::{Duration, Instant};

use virshle_testkit::Failure;

/// The times of one thing, in milliseconds, in the order of the rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// How much longer than the median the slowest took.
    pub(crate) fn excess(&self) -> f64 {
        self.quantile(1.0) - self.median()
    }

    /// Half of the rounds took between these.
    pub(crate) fn quartiles(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    /// Round by round, this and `other` together.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, two)| one + two).collect())
    }

    /// Round by round, what this took longer than `other`.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, two)| one - two).collect())
    }

    /// What `count` of the median take.
    pub(crate) fn times(&self, count: u32) -> Self {
        Self(vec![self.median() * f64::from(count); self.0.len()])
    }

    /// The median of the ratios of the rounds: what disturbed a round disturbed both.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        let ratios = self.0.iter().zip(&other.0).filter(|(_, two)| **two > 0.0);
        Self(ratios.map(|(one, two)| one / two).collect()).median()
    }

    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index among some rounds"
        )]
        let index = (part * last as f64).round() as usize;
        sorted[index.min(last)]
    }
}

/// Something to be timed. It may do other work, too, and says how long the timed part took.
pub(crate) type Contender<'a> = Box<dyn FnMut(usize) -> Result<Duration, Failure> + 'a>;

/// Times the contenders in turn, `rounds` times after one that does not count, so that what
/// disturbs the host disturbs all of them alike.
pub(crate) fn side_by_side(
    rounds: usize,
    contenders: &mut [Contender<'_>],
) -> Result<Vec<Sample>, Failure> {
    let mut samples = vec![Sample::default(); contenders.len()];
    for round in 0..=rounds {
        // Each goes first now and then: the first finds colder caches.
        for turn in 0..contenders.len() {
            let index = (round + turn) % contenders.len();
            let took = contenders[index](round)?;
            if round > 0 {
                samples[index].push(took);
            }
        }
    }
    Ok(samples)
}

/// How long `work` takes.
pub(crate) fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[u64]) -> Sample {
        let mut sample = Sample::default();
        values.iter().for_each(|value| sample.push(Duration::from_millis(*value)));
        sample
    }

    #[test]
    fn ratios_are_those_of_the_rounds() {
        let (slow, fast) = (sample(&[4, 40, 8]), sample(&[2, 20, 4]));
        assert!((slow.ratio(&fast) - 2.0).abs() < 1e-9);
        assert!((slow.median() - 8.0).abs() < 1e-9);
        assert!((slow.minus(&fast).median() - 4.0).abs() < 1e-9);
        assert!((fast.plus(&fast).median() - slow.median()).abs() < 1e-9);
    }
}
