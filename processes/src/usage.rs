//! Memory and processor time of a process with everything of it, from samples.

use std::time::{Duration, Instant};

use crate::ownership::family;
use crate::proc_table::Process;

/// What it uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Resident memory of all its processes, bytes. What they share counts for each.
    pub memory_bytes: u64,
    /// Processor time since it started, seconds.
    pub cpu_seconds: f64,
    /// Share of one processor since the sample before, percent; none at the first.
    pub cpu_percent: Option<f64>,
    /// How many processes.
    pub processes: u32,
}

/// One look at memory and processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Resident memory.
    pub memory_bytes: u64,
    /// Processor time since the start.
    pub cpu: Duration,
    /// How many processes.
    pub processes: u32,
}

impl Sample {
    /// Looks at a process and all of its family; none where it is gone. Blocking.
    pub fn take(leader: i32) -> Option<Self> {
        let family = family(leader);
        if family.is_empty() {
            return None;
        }
        Some(Self {
            memory_bytes: family.iter().map(Process::resident_bytes).sum(),
            cpu: family.iter().map(Process::cpu_time).sum(),
            processes: u32::try_from(family.len()).unwrap_or(u32::MAX),
        })
    }
}

/// Turns samples into use.
#[derive(Debug, Default)]
pub struct Meter {
    before: Option<(Instant, Duration)>,
    total: Duration,
}

impl Meter {
    /// The use as of a sample at `now`. Time of a process that has ended since then is no longer seen, and never
    /// subtracted.
    pub fn take(&mut self, now: Instant, sample: Sample) -> Usage {
        let spent = self.before.map_or(sample.cpu, |(_, cpu)| sample.cpu.saturating_sub(cpu));
        self.total += spent;
        let cpu_percent = self.before.and_then(|(at, _)| {
            let elapsed = now.saturating_duration_since(at).as_secs_f64();
            (elapsed > 0.0).then(|| spent.as_secs_f64() / elapsed * 100.0)
        });
        self.before = Some((now, sample.cpu));
        Usage {
            memory_bytes: sample.memory_bytes,
            cpu_seconds: self.total.as_secs_f64(),
            cpu_percent,
            processes: sample.processes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_processor_is_that_since_the_sample_before() {
        let mut meter = Meter::default();
        let now = tokio::time::Instant::now().into_std();
        let sample = |millis| Sample { memory_bytes: 7, cpu: Duration::from_millis(millis), processes: 2 };
        let first = meter.take(now, sample(1_000));
        assert_eq!((first.cpu_percent, first.cpu_seconds, first.memory_bytes, first.processes), (None, 1.0, 7, 2));
        let second = meter.take(now + Duration::from_secs(5), sample(3_500));
        assert_eq!((second.cpu_percent, second.cpu_seconds), (Some(50.0), 3.5));
        // A helper ended, and its time with it.
        let third = meter.take(now + Duration::from_secs(10), sample(100));
        assert_eq!((third.cpu_percent, third.cpu_seconds), (Some(0.0), 3.5));
    }

    #[test]
    fn this_process_uses_something() {
        let sample = Sample::take(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(sample.memory_bytes > 100_000 && sample.processes >= 1);
        assert_eq!(Sample::take(i32::MAX), None);
    }
}
