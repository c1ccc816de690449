//! Commands that run one after another, or beside one another, with headings, times, budgets and a summary.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{adapters, is_ci, target_dir};

/// A step on CI fails where it takes longer than its budget by this factor.
const TOO_SLOW: f64 = 1.5;

/// Something to run, or the reason why it can't be.
pub(crate) struct Step {
    name: String,
    work: Work,
    /// What to print of the command, where it is not what one would type.
    typed: Option<String>,
    /// What becomes of it where what it does itself fails.
    missing: Missing,
    /// The steps whose results it needs.
    needs: Vec<Need>,
    /// Whether the steps that follow run at the same time.
    is_beside: bool,
    /// What it may take on two cores, from an empty target folder.
    budget: Option<Duration>,
}

type Make<T> = Box<dyn FnOnce() -> Result<T, String> + Send>;

enum Need {
    Previous,
    Named(String),
}

enum Work {
    Run(Command),
    Do(Make<()>),
    /// A command that is not known before its turn.
    Make(Make<Command>),
    Skip(String),
    Done(Duration),
}

/// What becomes of a step where the machine lacks what it needs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Missing {
    Fails,
    IsSkipped,
}

impl Missing {
    /// On CI nobody reads that something was skipped.
    pub(crate) fn on_this_machine() -> Self {
        if is_ci() { Self::Fails } else { Self::IsSkipped }
    }
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, command: Command) -> Self {
        Self::of(name, Work::Run(command))
    }

    /// Work of xtask itself, or the reason why it failed.
    pub(crate) fn doing(
        name: impl Into<String>,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self::of(name, Work::Do(Box::new(work)))
    }

    /// A command that is made when the step's turn comes, or the reason why it can't be.
    pub(crate) fn making(
        name: impl Into<String>,
        make: impl FnOnce() -> Result<Command, String> + Send + 'static,
    ) -> Self {
        Self::of(name, Work::Make(Box::new(make)))
    }

    /// What was done before the steps began, and how long it took.
    pub(crate) fn done(name: impl Into<String>, time: Duration) -> Self {
        Self::of(name, Work::Done(time))
    }

    pub(crate) fn skipped(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::of(name, Work::Skip(reason.into()))
    }

    fn of(name: impl Into<String>, work: Work) -> Self {
        let name = name.into();
        let missing = Missing::Fails;
        Self { name, work, typed: None, missing, needs: Vec::new(), is_beside: false, budget: None }
    }

    /// The step, told as this line.
    pub(crate) fn typed(self, line: String) -> Self {
        Self { typed: Some(line), ..self }
    }

    /// The step, skipped where the one before it did not pass, whatever happens after failures.
    pub(crate) fn after_success(mut self) -> Self {
        self.needs.push(Need::Previous);
        self
    }

    /// The step, skipped where the earlier one of this name did not pass.
    pub(crate) fn after(mut self, name: &str) -> Self {
        self.needs.push(Need::Named(name.into()));
        self
    }

    /// The step of xtask itself, which is skipped or fails where the machine lacks what it needs.
    pub(crate) fn or(self, missing: Missing) -> Self {
        Self { missing, ..self }
    }

    /// The step, run beside those that follow and after earlier ones of its kind. Its output comes when it has ended.
    pub(crate) fn beside(self) -> Self {
        Self { is_beside: true, ..self }
    }

    /// The step with the seconds that it may take on two cores, from an empty target folder.
    pub(crate) fn within(self, seconds: u64) -> Self {
        Self { budget: Some(Duration::from_secs(seconds)), ..self }
    }

    fn is_work(&self) -> bool {
        !matches!(self.work, Work::Skip(_) | Work::Done(_))
    }

    fn run(self) -> Outcome {
        let start = Instant::now();
        let run = |mut command: Command, typed: Option<String>| {
            say(format!("    {}", typed.unwrap_or_else(|| written(&command))));
            match status(&mut command) {
                Ok(true) => Ok(()),
                Ok(false) => Err(None),
                Err(error) => Err(Some(format!("could not be started: {error}"))),
            }
        };
        let done = match self.work {
            Work::Skip(reason) => return Outcome::Skipped(reason),
            Work::Done(time) => return Outcome::Passed(time),
            Work::Do(work) => match work() {
                Err(reason) if self.missing == Missing::IsSkipped => return Outcome::Skipped(reason),
                done => done.map_err(Some),
            },
            Work::Run(command) => run(command, self.typed),
            Work::Make(make) => match make() {
                Ok(command) => run(command, self.typed),
                Err(reason) if self.missing == Missing::IsSkipped => return Outcome::Skipped(reason),
                Err(reason) => Err(Some(format!("can't be done: {reason}"))),
            },
        };
        match done {
            // An adapter of somebody's choice takes what it takes.
            Ok(()) => judged(start.elapsed(), self.budget, is_ci() && !adapters::is_chosen()),
            Err(reason) => {
                if let Some(reason) = reason {
                    say(format!("    {reason}"));
                }
                Outcome::Failed(start.elapsed())
            }
        }
    }
}

/// What passed, unless it took far too long where that is to be told.
fn judged(time: Duration, budget: Option<Duration>, is_strict: bool) -> Outcome {
    match budget {
        Some(budget) if is_strict && time > budget.mul_f64(TOO_SLOW) => Outcome::TooSlow(time, budget),
        Some(budget) if time > budget => Outcome::Late(time, budget),
        _ => Outcome::Passed(time),
    }
}

#[derive(Clone)]
enum Outcome {
    Passed(Duration),
    /// It passed, in more time than its budget.
    Late(Duration, Duration),
    /// So much later than its budget that CI fails.
    TooSlow(Duration, Duration),
    Failed(Duration),
    Skipped(String),
}

/// Whether the steps after one that failed are run.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum AfterFailure {
    Continue,
    Stop,
}

/// How each step went so far, and what those beside the others said that is not yet printed.
struct Progress<'a> {
    names: &'a [String],
    outcomes: Mutex<(Vec<Option<Outcome>>, Vec<String>)>,
    ended: Condvar,
}

impl Progress<'_> {
    fn lock(&self) -> MutexGuard<'_, (Vec<Option<Outcome>>, Vec<String>)> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How this step went, once it has ended.
    fn wait_for(&self, step: usize) -> Outcome {
        let mut progress = self.lock();
        loop {
            if let Some(outcome) = &progress.0[step] {
                return outcome.clone();
            }
            progress = self.ended.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether what the step of this index needs is there, once that has ended.
    fn passes(&self, need: &Need, step: usize) -> bool {
        let needed = match need {
            Need::Previous => step.checked_sub(1),
            Need::Named(name) => self.names[..step].iter().position(|other| other == name),
        };
        needed.is_some_and(|needed| self.wait_for(needed).is_pass())
    }

    /// Prints what ended beside.
    fn print(&self) {
        for said in self.lock().1.drain(..) {
            print!("{said}");
        }
    }

    /// Runs steps one after another, each with its index among all.
    fn run(&self, steps: Vec<(usize, Step)>, after_failure: AfterFailure, is_beside: bool) {
        let count = self.lock().0.len();
        for (i, step) in steps {
            let failed = step.needs.iter().any(|need| !self.passes(need, i));
            let stopped = after_failure == AfterFailure::Stop
                && step.is_work()
                && self.lock().0.iter().flatten().any(|outcome| matches!(outcome, Outcome::Failed(_)));
            if !is_beside {
                self.print();
            }
            let beside = if is_beside { " (beside the others)" } else { "" };
            say(format!("\n=== [{}/{count}] {}{beside}", i + 1, step.name));
            let outcome = if failed || stopped {
                Outcome::Skipped("needs a step that did not pass".into())
            } else {
                step.run()
            };
            say(format!("    {}", outcome.told()));
            let mut progress = self.lock();
            progress.0[i] = Some(outcome);
            progress.1.extend(heard());
            self.ended.notify_all();
        }
    }
}

/// Runs the steps and says at the end how each went.
pub(crate) fn run(steps: Vec<Step>, after_failure: AfterFailure) -> ExitCode {
    let start = Instant::now();
    let earlier: Duration = steps
        .iter()
        .filter_map(|step| if let Work::Done(time) = step.work { Some(time) } else { None })
        .sum();
    let names: Vec<_> = steps.iter().map(|step| step.name.clone()).collect();
    let outcomes = Mutex::new((vec![None; steps.len()], Vec::new()));
    let progress = Progress { names: &names, outcomes, ended: Condvar::new() };
    let (beside, others): (Vec<_>, Vec<_>) =
        steps.into_iter().enumerate().partition(|(_, step)| step.is_beside);
    thread::scope(|scope| {
        scope.spawn(|| {
            HEARD.set(Some(String::new()));
            progress.run(beside, after_failure, true);
        });
        progress.run(others, after_failure, false);
    });
    progress.print();
    let outcomes = progress.lock().0.drain(..).flatten().collect::<Vec<_>>();
    summary(&names, &outcomes, start.elapsed() + earlier)
}

fn summary(names: &[String], outcomes: &[Outcome], elapsed: Duration) -> ExitCode {
    println!("\n=== summary");
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, outcome) in names.iter().zip(outcomes) {
        println!("    {name:width$}  {}", outcome.told());
    }
    let count = |of: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| of(outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::TooSlow(..)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let passed = outcomes.len() - failed - skipped;
    let verdict = if failed == 0 && outcomes.len() == names.len() { "PASSED" } else { "FAILED" };
    println!("\n{verdict} in {}: {passed} passed, {failed} failed, {skipped} skipped", seconds(elapsed));
    if verdict == "PASSED" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Outcome {
    fn told(&self) -> String {
        match self {
            Self::Passed(time) => format!("passed   {:>8}", seconds(*time)),
            Self::Late(time, budget) => {
                format!("passed   {:>8}, budget {}", seconds(*time), seconds(*budget))
            }
            Self::TooSlow(time, budget) => {
                format!("TOO SLOW {:>8}, budget {}", seconds(*time), seconds(*budget))
            }
            Self::Failed(time) => format!("FAILED   {:>8}", seconds(*time)),
            Self::Skipped(reason) => format!("skipped: {reason}"),
        }
    }

    /// Whether what the step makes is there.
    fn is_pass(&self) -> bool {
        matches!(self, Self::Passed(_) | Self::Late(..) | Self::TooSlow(..))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

thread_local! {
    /// What steps beside the others say, until they end.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Prints a line; of a step beside the others, when it has ended.
pub(crate) fn say(line: impl AsRef<str>) {
    HEARD.with_borrow_mut(|heard| match heard {
        Some(heard) => *heard += &format!("{}\n", line.as_ref()),
        None => println!("{}", line.as_ref()),
    });
}

/// What this thread has said since it was asked last.
fn heard() -> Option<String> {
    HEARD.with_borrow_mut(|heard| heard.as_mut().map(std::mem::take))
}

/// Whether the command succeeds. Its output goes where that of the step goes.
fn status(command: &mut Command) -> io::Result<bool> {
    if HEARD.with_borrow(Option::is_none) {
        return Ok(command.status()?.success());
    }
    let path = log_file();
    let log = File::create(&path)?;
    let status = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status()?;
    say(String::from_utf8_lossy(&fs::read(&path)?).trim_end());
    Ok(status.success())
}

/// Where the output of a step beside the others goes while it runs.
fn log_file() -> PathBuf {
    target_dir().join("xtask-beside.log")
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

    #[test]
    fn what_is_far_over_its_budget_fails_on_ci_alone() {
        let budget = Some(Duration::from_secs(10));
        let judge = |seconds, is_strict| judged(Duration::from_secs(seconds), budget, is_strict);
        assert!(matches!(judge(10, true), Outcome::Passed(_)));
        assert!(matches!(judge(15, true), Outcome::Late(..)));
        assert!(matches!(judge(16, true), Outcome::TooSlow(..)));
        assert!(matches!(judge(16, false), Outcome::Late(..)));
        assert!(matches!(judged(Duration::from_secs(99), None, true), Outcome::Passed(_)));
    }

    #[test]
    fn a_step_waits_for_the_one_before_it_be_it_beside() {
        let fails = || Step::doing("fails", || Err("on purpose".into())).beside();
        let slow = Step::doing("slow", || {
            thread::sleep(Duration::from_millis(50));
            Ok(())
        });
        let never = |name: &str| Step::doing(name, || unreachable!("its need failed")).after_success();
        let code = run(vec![slow.beside(), fails(), never("waits")], AfterFailure::Continue);
        assert_eq!(code, ExitCode::FAILURE);
        let passes = |name: &str| Step::doing(name, || Ok(()));
        let steps = vec![passes("first").beside(), passes("second").after_success(), passes("third")];
        assert_eq!(run(steps, AfterFailure::Continue), ExitCode::SUCCESS);
    }
}
