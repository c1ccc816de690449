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
    /// Whether it needs what the step before it makes.
    needs_previous: bool,
}

enum Work {
    Run(Command),
    Do(Box<dyn FnOnce() -> Result<(), String>>),
    Skip(String),
    Fail(String),
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, command: Command) -> Self {
        Self::of(name, Work::Run(command))
    }

    /// Work of xtask itself, or the reason why it failed.
    pub(crate) fn doing(
        name: impl Into<String>,
        work: impl FnOnce() -> Result<(), String> + 'static,
    ) -> Self {
        Self::of(name, Work::Do(Box::new(work)))
    }

    /// The step, told as this line.
    pub(crate) fn typed(self, line: String) -> Self {
        Self { typed: Some(line), ..self }
    }

    /// The step, skipped where the one before it did not pass, whatever happens after failures.
    pub(crate) fn after_success(self) -> Self {
        Self { needs_previous: true, ..self }
    }

    pub(crate) fn skipped(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::of(name, Work::Skip(reason.into()))
    }

    /// A step that has to be done and can't be, for this reason.
    pub(crate) fn impossible(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::of(name, Work::Fail(reason.into()))
    }

    fn of(name: impl Into<String>, work: Work) -> Self {
        Self { name: name.into(), work, typed: None, needs_previous: false }
    }

    fn is_work(&self) -> bool {
        matches!(self.work, Work::Run(_) | Work::Do(_))
    }

    fn run(self) -> Outcome {
        let start = Instant::now();
        let done = match self.work {
            Work::Skip(reason) => return Outcome::Skipped(reason),
            Work::Fail(reason) => Err(format!("can't be done: {reason}")),
            Work::Do(work) => work(),
            Work::Run(mut command) => {
                println!("    {}", self.typed.unwrap_or_else(|| written(&command)));
                match command.status() {
                    Ok(status) if status.success() => Ok(()),
                    Ok(_) => return Outcome::Failed(start.elapsed()),
                    Err(error) => Err(format!("could not be started: {error}")),
                }
            }
        };
        match done {
            Ok(()) => Outcome::Passed(start.elapsed()),
            Err(reason) => {
                println!("    {reason}");
                Outcome::Failed(start.elapsed())
            }
        }
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
    let mut previous_passed = true;
    for (i, step) in steps.into_iter().enumerate() {
        let name = step.name.clone();
        println!("\n=== [{}/{count}] {name}", i + 1);
        let needed = stopped && step.is_work() || step.needs_previous && !previous_passed;
        let outcome = if needed { Outcome::Skipped("needs the step that failed".into()) } else { step.run() };
        println!("    {}", outcome.told());
        stopped |= after_failure == AfterFailure::Stop && matches!(outcome, Outcome::Failed(_));
        previous_passed = matches!(outcome, Outcome::Passed(_));
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
