//! The proof of a restart: what the device says of its own start has changed, and its registry (or root) can be read.
//!
//! A device that answers a ping has proved nothing: it may not have gone down yet, or hang half way up. A boot time alone
//! proves little more, since Windows works it out from the clock and the time that it has been up: set the clock, and the
//! boot time moves by as much. So two things must hold of a boot time: it has changed, *and* the device has been up for
//! less time than it would have been without a restart, which no clock step touches, because start and now are read by the
//! same clock in the same answer. A value that is written once in each start or shutdown needs no such care, but one that
//! is written while the device goes *down* shows nothing until the device was away.

use std::time::{Duration, Instant};

use super::DeviceError;

/// Below this a difference is none: clocks are adjusted, answers take their time, and WMI's boot time wanders.
const SLACK: Duration = Duration::from_secs(2);

/// Asks a device with `sh` whether its root directory, and the one that the shell is in, can be read.
pub(crate) const ROOT_READABLE: &str = "ls . / > /dev/null && echo READABLE";

/// What a device says of its present run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boot {
    /// A text that each start makes anew, once it has come so far as to answer.
    Mark(String),
    /// A text that each orderly shutdown makes anew.
    Shutdown(String),
    /// When it started by its own clock, and what that clock shows now, both in milliseconds since any one moment.
    Times { started_ms: i64, now_ms: Option<i64> },
}

/// A device's answer, and when the node had it, by the node's own steady clock.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) boot: Boot,
    /// Before the question was sent.
    pub(crate) asked: Instant,
}

/// Whether a device that showed `before` and then `now` has restarted in between. `away` says that it did not answer for a while.
pub(crate) fn has_restarted(before: &Seen, now: &Seen, away: bool) -> bool {
    let slack = i128::from(SLACK.as_millis() as u64);
    match (&before.boot, &now.boot) {
        (Boot::Mark(before), Boot::Mark(now)) => before != now,
        // It was written on the way down.
        (Boot::Shutdown(before), Boot::Shutdown(now)) => before != now && away,
        (
            Boot::Times { started_ms: first, now_ms: Some(then) },
            Boot::Times { started_ms: second, now_ms: Some(later) },
        ) => {
            let moved = (i128::from(*second) - i128::from(*first)).abs() > slack;
            let up_before = i128::from(*then) - i128::from(*first);
            let up_now = i128::from(*later) - i128::from(*second);
            let passed = now.asked.saturating_duration_since(before.asked).as_millis() as i128;
            moved && up_now >= 0 && up_now + slack < up_before + passed
        }
        // Without its clock a step can't be told from a start: then it must at least have been away.
        (Boot::Times { started_ms: first, .. }, Boot::Times { started_ms: second, .. }) => {
            (i128::from(*second) - i128::from(*first)).abs() > slack && away
        }
        // Another kind of answer than before shows nothing.
        _ => false,
    }
}

/// A device that can be restarted and asked.
pub(crate) trait Restart {
    /// What it says of its present run; `None` where it has nothing to say.
    async fn boot(&self) -> Result<Option<Boot>, DeviceError>;
    /// Whether its registry (its root directory) can be read.
    async fn readable(&self) -> Result<bool, DeviceError>;
    /// Asks it to restart. The answer may be lost with the link.
    async fn restart(&self, before: &Boot) -> Result<(), DeviceError>;
    /// Forgets connections: they are to the run that ends.
    fn hang_up(&self) {}
}

/// Restarts a device and waits for the proof, with looks so far apart.
///
/// # Errors
/// [`DeviceError::NoBootMark`] when no restart could be proved: then none is asked for. [`DeviceError::Timeout`] when there
/// is no proof in time. What no wait mends, such as another host key, at once.
pub(crate) async fn restart(device: &impl Restart, timeout: Duration, poll: Duration) -> Result<(), DeviceError> {
    let deadline = Instant::now() + timeout;
    let asked = Instant::now();
    let before = Seen { boot: device.boot().await?.ok_or(DeviceError::NoBootMark)?, asked };
    if let Err(error) = device.restart(&before.boot).await {
        // The answer may be lost with the link; what the device does is looked at.
        if !error.is_transient() {
            return Err(error);
        }
        tracing::debug!(%error, "the restart was asked for");
    }
    // Only what is seen afterwards counts: the question may as well have failed before it arrived.
    let mut away = false;
    let mut last = "it still shows the start that it showed before";
    device.hang_up();
    loop {
        if Instant::now() >= deadline {
            return Err(DeviceError::Timeout { what: format!("the reboot ({last})"), after: timeout });
        }
        let asked = Instant::now();
        match device.boot().await {
            Ok(Some(boot)) => {
                last = "it still shows the start that it showed before";
                if has_restarted(&before, &Seen { boot, asked }, away) {
                    match device.readable().await {
                        Ok(true) => return Ok(()),
                        Ok(false) => last = "it answers, but its registry or root can't be read",
                        Err(error) => last = looked(device, &error, &mut away)?,
                    }
                }
            }
            // A system that goes down, or has just come up, may not be able to say.
            Ok(None) => last = "it answers, but does not say when it was started",
            Err(error) => last = looked(device, &error, &mut away)?,
        }
        tokio::time::sleep(poll).await;
    }
}

/// A device that answers, however strangely, has not gone away.
fn looked(device: &impl Restart, error: &DeviceError, away: &mut bool) -> Result<&'static str, DeviceError> {
    match error {
        DeviceError::HostKey { detail } => return Err(DeviceError::HostKey { detail: detail.clone() }),
        DeviceError::Login { detail } => return Err(DeviceError::Login { detail: detail.clone() }),
        error => *away |= is_away(error),
    }
    device.hang_up();
    Ok("it does not answer")
}

fn is_away(error: &DeviceError) -> bool {
    matches!(error, DeviceError::Unreachable { .. } | DeviceError::Timeout { .. })
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use super::*;

    fn times(started: i64, now: i64) -> Boot {
        Boot::Times { started_ms: started * 1_000, now_ms: Some(now * 1_000) }
    }

    /// `passed` seconds lie between the two answers.
    fn after(before: Boot, now: Boot, passed: u64, away: bool) -> bool {
        let asked = Instant::now();
        has_restarted(
            &Seen { boot: before, asked },
            &Seen { boot: now, asked: asked + Duration::from_secs(passed) },
            away,
        )
    }

    #[test]
    fn a_boot_time_that_moves_with_the_clock_is_no_restart() {
        // Up since 0, asked at 1000. Then the clock is set an hour on: start and now move together.
        assert!(!after(times(0, 1_000), times(3_600, 4_610), 10, false));
        assert!(!after(times(0, 1_000), times(3_600, 4_610), 10, true), "and the link was lost meanwhile");
        assert!(!after(times(0, 1_000), times(-3_600, -2_590), 10, true), "an hour back");
        // Systems that write the boot time down once: a step moves only the clock.
        assert!(!after(times(0, 1_000), times(0, 4_610), 10, true), "an hour on");
        assert!(
            !after(times(0, 5_000), times(0, 1_410), 10, true),
            "an hour back looks like a short run, but started then"
        );
        // It wanders by a second, as clocks are slewed.
        assert!(!after(times(0, 1_000), times(1, 1_010), 10, true));
        assert!(!after(times(0, 1_000), times(0, 1_010), 10, true), "the link was lost, nothing else");
    }

    #[test]
    fn a_restart_is_seen_through_clock_steps_too() {
        assert!(after(times(0, 1_000), times(1_030, 1_060), 60, true));
        assert!(after(times(0, 1_000), times(1_030, 1_060), 60, false), "too fast to be seen away");
        assert!(after(times(0, 1_000), times(4_630, 4_660), 60, true), "its clock was set in between");
        assert!(after(times(0, 1_000), times(-100_000, -99_970), 60, true), "its clock's battery is empty");
        assert!(after(times(0, 3), times(30, 60), 57, true), "it had only just started before");
        assert!(!after(times(0, 1_000), times(2_000, 1_990), 60, true), "a start that lies in the future");
    }

    #[test]
    fn marks_need_no_clock_and_a_shutdown_is_not_yet_a_start() {
        let (mark, shutdown) = (|text: &str| Boot::Mark(text.into()), |text: &str| Boot::Shutdown(text.into()));
        assert!(after(mark("a"), mark("b"), 1, false) && !after(mark("a"), mark("a"), 1, true));
        assert!(!after(shutdown("a"), shutdown("b"), 1, false), "it is still going down");
        assert!(after(shutdown("a"), shutdown("b"), 1, true) && !after(shutdown("a"), shutdown("a"), 1, true));
        assert!(!after(mark("a"), times(0, 5), 1, true), "two kinds");
        let bare = |started_ms| Boot::Times { started_ms, now_ms: None };
        assert!(!after(bare(0), bare(60_000), 60, false) && after(bare(0), bare(60_000), 60, true));
    }

    /// Answers in turn; the last one for ever.
    struct Fake {
        boots: RefCell<VecDeque<Result<Option<Boot>, DeviceError>>>,
        readable: RefCell<VecDeque<Result<bool, DeviceError>>>,
        restarts: RefCell<u32>,
    }

    fn again<T>(answers: &RefCell<VecDeque<Result<T, DeviceError>>>, last: T) -> Result<T, DeviceError> {
        answers.borrow_mut().pop_front().unwrap_or(Ok(last))
    }

    impl Restart for Fake {
        async fn boot(&self) -> Result<Option<Boot>, DeviceError> {
            again(&self.boots, Some(Boot::Mark("second".into())))
        }

        async fn readable(&self) -> Result<bool, DeviceError> {
            again(&self.readable, true)
        }

        async fn restart(&self, _before: &Boot) -> Result<(), DeviceError> {
            *self.restarts.borrow_mut() += 1;
            Err(gone())
        }
    }

    fn gone() -> DeviceError {
        DeviceError::Unreachable { detail: "connection reset".into() }
    }

    fn mark(text: &str) -> Result<Option<Boot>, DeviceError> {
        Ok(Some(Boot::Mark(text.into())))
    }

    fn fake<const N: usize, const M: usize>(
        boots: [Result<Option<Boot>, DeviceError>; N],
        readable: [Result<bool, DeviceError>; M],
    ) -> Fake {
        Fake { boots: RefCell::new(boots.into()), readable: RefCell::new(readable.into()), restarts: RefCell::new(0) }
    }

    const POLL: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_restart_counts_when_the_registry_is_back_and_not_before() {
        let boots =
            [mark("first"), Err(gone()), Ok(None), mark("first"), mark("second"), mark("second"), mark("second")];
        let device = fake(boots, [Ok(false), Err(gone()), Ok(true)]);
        restart(&device, Duration::from_secs(60), POLL).await.unwrap();
        assert!(device.boots.borrow().is_empty() && device.readable.borrow().is_empty(), "every look was needed");
        assert_eq!(*device.restarts.borrow(), 1);
    }

    #[tokio::test]
    async fn a_device_that_answers_a_ping_but_no_registry_has_not_come_back() {
        struct Half;
        impl Restart for Half {
            async fn boot(&self) -> Result<Option<Boot>, DeviceError> {
                static LOOKS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
                mark(if LOOKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 { "first" } else { "second" })
            }
            async fn readable(&self) -> Result<bool, DeviceError> {
                Ok(false)
            }
            async fn restart(&self, _before: &Boot) -> Result<(), DeviceError> {
                Ok(())
            }
        }
        let error = restart(&Half, Duration::from_millis(100), POLL).await.unwrap_err();
        assert!(matches!(&error, DeviceError::Timeout { what, .. } if what.contains("can't be read")), "{error}");
    }

    #[tokio::test]
    async fn what_could_not_be_proved_is_not_asked_for() {
        let device = fake([Ok(None)], []);
        let error = restart(&device, Duration::from_secs(60), POLL).await.unwrap_err();
        assert!(matches!(error, DeviceError::NoBootMark) && !error.is_transient(), "{error}");
        assert_eq!(*device.restarts.borrow(), 0);
    }

    #[tokio::test]
    async fn another_host_key_after_the_restart_ends_the_wait() {
        let other = Err(DeviceError::HostKey { detail: "other".into() });
        let device = fake([mark("first"), other], []);
        let error = restart(&device, Duration::from_secs(60), POLL).await.unwrap_err();
        assert!(matches!(error, DeviceError::HostKey { .. }), "{error}");
    }

    #[test]
    fn only_silence_is_a_device_that_went_away() {
        assert!(is_away(&gone()));
        assert!(is_away(&DeviceError::Timeout { what: "ssh".into(), after: Duration::from_secs(1) }));
        assert!(!is_away(&DeviceError::Garbled { what: "a command".into(), text: "access denied".into() }));
    }
}
