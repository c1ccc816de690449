//! Commands that run one after another, with headings, times and a summary.

use std::iter;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Something to run, or the reason why it can't be.
pub(crate) struct Step {
    name: String,
    work: Work,
    /// What to print of the command, where it is not what one would type.
    typed: Option<String>,
}

enum Work {
    Run(Command),
    Skip(String),
    Fail(String),
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, command: Command) -> Self {
        Self { name: name.into(), work: Work::Run(command), typed: None }
    }

    /// The step, told as this line.
    pub(crate) fn typed(self, line: String) -> Self {
        Self { typed: Some(line), ..self }
    }

    pub(crate) fn skipped(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), work: Work::Skip(reason.into()), typed: None }
    }

    /// A step that has to be done and can't be, for this reason.
    pub(crate) fn impossible(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), work: Work::Fail(reason.into()), typed: None }
    }
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    Skipped(String),
}

/// Whether the steps after one that failed are run.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum AfterFailure {
    Continue,
    Stop,
}

/// Runs the steps one after another and says at the end how each went.
pub(crate) fn run(steps: Vec<Step>, after_failure: AfterFailure) -> ExitCode {
    let (count, start) = (steps.len(), Instant::now());
    let mut outcomes = Vec::new();
    let mut stopped = false;
    for (i, Step { name, work, typed }) in steps.into_iter().enumerate() {
        println!("\n=== [{}/{count}] {name}", i + 1);
        let outcome = match work {
            Work::Skip(reason) => Outcome::Skipped(reason),
            Work::Fail(reason) => {
                println!("    can't be done: {reason}");
                Outcome::Failed(Duration::ZERO)
            }
            Work::Run(_) if stopped => Outcome::Skipped("needs the step that failed".into()),
            Work::Run(mut command) => {
                println!("    {}", typed.unwrap_or_else(|| written(&command)));
                let start = Instant::now();
                match command.status() {
                    Ok(status) if status.success() => Outcome::Passed(start.elapsed()),
                    Ok(_) => Outcome::Failed(start.elapsed()),
                    Err(error) => {
                        println!("    could not be started: {error}");
                        Outcome::Failed(start.elapsed())
                    }
                }
            }
        };
        println!("    {}", outcome.told());
        stopped |= after_failure == AfterFailure::Stop && matches!(outcome, Outcome::Failed(_));
        outcomes.push((name, outcome));
    }
    summary(&outcomes, start.elapsed())
}

fn summary(outcomes: &[(String, Outcome)], elapsed: Duration) -> ExitCode {
    println!("\n=== summary");
    let width = outcomes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, outcome) in outcomes {
        println!("    {name:width$}  {}", outcome.told());
    }
    let count = |of: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, outcome)| of(outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let passed = outcomes.len() - failed - skipped;
    let verdict = if failed == 0 { "PASSED" } else { "FAILED" };
    println!("\n{verdict} in {}: {passed} passed, {failed} failed, {skipped} skipped", seconds(elapsed));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Outcome {
    fn told(&self) -> String {
        match self {
            Self::Passed(time) => format!("passed   {:>8}", seconds(*time)),
            Self::Failed(time) => format!("FAILED   {:>8}", seconds(*time)),
            Self::Skipped(reason) => format!("skipped: {reason}"),
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Whether a command succeeds, whatever it prints.
pub(crate) fn quietly(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The command as one would type it.
pub(crate) fn written(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = iter::once(program).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

pub(crate) fn quoted(word: &str) -> String {
    let plain =
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c));
    if plain { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_a_shell_reads_them() {
        let mut command = Command::new("/somewhere/cargo");
        command.args(["test", "--test", "it's", ""]);
        assert_eq!(written(&command), r"cargo test --test 'it'\''s' ''");
    }
}
