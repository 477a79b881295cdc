//! The rules for slow scans, which look further back than the first: one by default, and at most three. Each is a window and the ports
//! within it, paired by their places in two lists.

use super::bounds::{Bound, Quantity, SLOW_THRESHOLD, SLOW_WINDOW};
use super::error::{SettingsError, invalid};
use super::file::Located;
use super::slower::{Said, Setting};
use crate::detect::{MOST_SLOW_RULES, Policy, Rule};
use crate::text::units::write_nanos;

impl<'a> Said<'a> {
    /// The slow rules, the shorter window before the longer one.
    pub(super) fn slow(&self) -> Result<Vec<Rule>, SettingsError> {
        let thresholds = self.each(&SLOW_THRESHOLD, &self.flags.slow_threshold, &self.file.slow_threshold)?;
        let windows = self.each(&SLOW_WINDOW, &self.flags.slow_window, &self.file.slow_window)?;
        // Also what the flag stands in the place of, which may be gone tomorrow.
        let in_file =
            self.file.slow_threshold.iter().map(|&written| self.of(&SLOW_THRESHOLD, None, Some(written)));
        thresholds.iter().try_for_each(|threshold| threshold.number().map(drop))?;
        in_file.into_iter().try_for_each(|threshold| threshold.number().map(drop))?;
        if let [only] = &thresholds[..]
            && only.number()?.is_none()
        {
            return Ok(Vec::new());
        }
        if thresholds.len() != windows.len() {
            return invalid(format!(
                "a slow rule is a window and a threshold, and there are {} for {}: give as many of both",
                several(&windows, "window"),
                several(&thresholds, "threshold")
            ));
        }
        let mut rules: Vec<(Rule, String)> = Vec::new();
        for (threshold, window) in thresholds.iter().zip(&windows) {
            let Some(ports) = threshold.ports(&self.first)? else {
                return invalid(format!("{} must be 2 or more beside others, not 0", threshold.name()));
            };
            if let Some(window_nanos) = window.longer_than(&self.first, threshold.given())? {
                // A scanner that asks once a minute falls below the threshold now and then.
                let rule = Rule::of_ports(ports, window_nanos, window_nanos / 6);
                rules.push((rule, threshold.name()));
            }
        }
        rules.sort_by_key(|(rule, _)| rule.window_nanos);
        for pair in rules.windows(2) {
            let ((shorter, _), (longer, name)) = (&pair[0], &pair[1]);
            if longer.threshold() < shorter.threshold() && longer.window_nanos > shorter.window_nanos {
                return invalid(format!(
                    "{name} must be at least {} for a window of {}, as for one of {}, or each scan by that is two, not {}",
                    shorter.threshold(),
                    write_nanos(longer.window_nanos),
                    write_nanos(shorter.window_nanos),
                    longer.threshold()
                ));
            }
        }
        Ok(rules.into_iter().map(|(rule, _)| rule).collect())
    }

    /// What a flag or the file says, value by value, each within its bounds; the default if neither says anything. What is wrong in the file
    /// is an error even where the flag stands in its place.
    fn each<T: Quantity + 'static>(
        &self,
        bound: &'static Bound<T>,
        flag: &[T],
        file: &[Located<T>],
    ) -> Result<Vec<Setting<'a, T>>, SettingsError> {
        let of_flag: Vec<_> = flag.iter().map(|value| self.of(bound, Some(*value), None)).collect();
        let of_file: Vec<_> = file.iter().map(|value| self.of(bound, None, Some(*value))).collect();
        for all in [&of_flag, &of_file] {
            all.iter().try_for_each(|setting| setting.value().map(drop))?;
            if let Some(one_more) = all.get(MOST_SLOW_RULES) {
                let (name, many) = (one_more.name(), all.len());
                return invalid(format!("{name} takes at most {MOST_SLOW_RULES} values, not {many}"));
            }
        }
        let given = [of_flag, of_file].into_iter().find(|all| !all.is_empty());
        Ok(given.unwrap_or_else(|| vec![self.of(bound, None, None)]))
    }
}

/// `3 windows (--detection.slow-window)`.
fn several<T: Quantity>(settings: &[Setting<'_, T>], what: &str) -> String {
    let (many, s) = (settings.len(), if settings.len() == 1 { "" } else { "s" });
    match settings.first().and_then(Setting::given) {
        Some(name) => format!("{many} {what}{s} ({name})"),
        None => format!("{many} {what}{s}"),
    }
}

/// Slow rules that find nothing, since a faster rule about ports is there first.
pub(super) fn in_vain(policy: &Policy) -> Vec<String> {
    let mut rules: Vec<Rule> = policy.rules().filter(Rule::counts_ports).collect();
    let mut warnings = Vec::new();
    while let Some(slow) = rules.pop() {
        if let Some(faster) = rules.iter().find(|faster| slow.is_in_vain_beside(faster)) {
            warnings.push(format!(
                "the slow rule of {} ports within {} finds nothing: who asks for so many asks for {} of them within {}, and is \
                 found by that rule first; give it a longer window or fewer ports",
                slow.threshold(),
                write_nanos(slow.window_nanos),
                faster.threshold(),
                write_nanos(faster.window_nanos)
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_rule_that_finds_nothing_is_told() {
        let policy = |rules: &[(u64, u32)]| {
            const MINUTE: u64 = 60_000_000_000;
            let slow = |&(minutes, ports): &(u64, u32)| Rule::of_ports(ports, minutes * MINUTE, MINUTE);
            Policy { slower: rules.iter().map(slow).collect(), ..Policy::default() }
        };
        assert_eq!(in_vain(&Policy::standard()), [""; 0]);
        assert_eq!(in_vain(&policy(&[(10, 40), (60, 60), (1_440, 200)])), [""; 0]);
        assert_eq!(in_vain(&policy(&[(10, 40), (11, 78)])), [""; 0]);
        assert_eq!(
            in_vain(&policy(&[(10, 40), (11, 79)])),
            [
                "the slow rule of 79 ports within 11m finds nothing: who asks for so many asks for 40 of them within 10m, and is found \
              by that rule first; give it a longer window or fewer ports"
            ]
        );
        // By the first rule alone.
        assert_eq!(in_vain(&policy(&[(10, 1_160)])).len(), 1);
        assert_eq!(in_vain(&policy(&[(10, 1_159)])), [""; 0]);
    }
}
