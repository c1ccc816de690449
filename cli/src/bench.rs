//! `gqa bench`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail, ensure};
use gqa::Gpu;
use gqa::bench::{BenchResults, GROUPS, News, Progress, Roofline, Row, Suite, Timing};

use crate::{files, interrupt, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure: `quick` takes under a minute, `full` takes minutes
    #[arg(long, value_enum, default_value_t = Which::Quick)]
    suite: Which,
    /// An adapter's name (or a part of it) or index, or `all` for one after the other [default: $GQA_ADAPTER, or the best
    /// there is]
    #[arg(long, value_name = "NAME|INDEX|all")]
    adapter: Option<String>,
    /// Measure only rows whose id or group contains this, such as `decode` or `causal/A1`
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Time each row exactly so often
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    reps: Option<u32>,
    /// Where the results go as JSON; in a folder, a file is named after the adapter
    #[arg(short, long, value_name = "FILE|FOLDER")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Which {
    Quick,
    Full,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let suite = suite(args)?;
    interrupt::listen("the rows that are measured")?;
    if args.adapter.as_deref() != Some("all") {
        let gpu = match &args.adapter {
            Some(wanted) => pollster::block_on(Gpu::with_adapter(wanted))?,
            None => pollster::block_on(Gpu::from_env())?,
        };
        let target = args.output.as_deref().map(|path| Target::new(path, &gpu, &suite, &mut BTreeSet::new()));
        return measure(&gpu, &suite, target.transpose()?);
    }
    let folder = args.output.as_deref();
    ensure!(
        folder.is_none_or(Path::is_dir),
        "with --adapter all, --output must be a folder that exists: each adapter has a file of its own"
    );
    measure_all(folder, &suite)
}

/// The cases that the arguments ask for.
fn suite(args: &Args) -> Result<Suite> {
    let mut suite = match args.suite {
        Which::Quick => Suite::quick(),
        Which::Full => Suite::full(),
    };
    if let Some(part) = &args.only {
        let name = suite.name;
        suite = suite.only(part);
        let groups = GROUPS.join(", ");
        ensure!(
            !suite.cases.is_empty(),
            "--only: no row of the {name} suite has `{part}` in its id; the groups are {groups}"
        );
    }
    Ok(match args.reps {
        Some(repetitions) => suite.repeated(repetitions),
        None => suite,
    })
}

/// Every adapter, one after the other: one that fails does not stop those behind it.
fn measure_all(folder: Option<&Path>, suite: &Suite) -> Result<()> {
    let adapters = pollster::block_on(gqa::adapters());
    ensure!(!adapters.is_empty(), gqa::Error::NoAdapter { reason: "no driver offers one".into() });
    let mut failed = Vec::new();
    let mut taken = BTreeSet::new();
    for adapter in &adapters {
        let measured = pollster::block_on(Gpu::with_adapter(&adapter.index.to_string()))
            .map_err(anyhow::Error::from)
            .and_then(|gpu| {
                let target = folder.map(|folder| Target::new(folder, &gpu, suite, &mut taken)).transpose()?;
                measure(&gpu, suite, target)
            });
        if let Err(error) = measured {
            failed.push(format!("{}: {error:#}", adapter.label()));
        }
        if interrupt::wanted() {
            break;
        }
        say!("");
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Runs the suite on an adapter, shows the rows as they come, and writes them, all or those there are.
fn measure(gpu: &Gpu, suite: &Suite, target: Option<Target>) -> Result<()> {
    let mut view = View::new(suite);
    let measured = pollster::block_on(gqa::bench::run(gpu, suite, |progress| view.show(progress)));
    view.bar.finish_and_clear();
    let (results, interrupted) = match measured {
        Ok(results) => (results, None),
        Err(mut interrupted) => match interrupted.results.take() {
            // The rows are counted in its words.
            Some(results) => {
                let (rows, total) = (results.rows.len(), interrupted.total);
                let cause = interrupted.cause;
                (*results, Some(anyhow!("{cause}; {rows} of {total} rows were measured")))
            }
            None => return Err(anyhow::Error::from(interrupted)),
        },
    };
    view.end(&results);
    for (id, reason) in &results.skipped {
        say!("skipped   {id}: {reason}");
    }
    let written = target.map(|target| target.write(&results));
    match (interrupted, written) {
        (None, written) => written.unwrap_or(Ok(())),
        (Some(error), None | Some(Ok(()))) => Err(error),
        (Some(error), Some(Err(unwritten))) => Err(anyhow!("{error}; {unwritten:#}")),
    }
}

/// Where results go.
struct Target {
    path: PathBuf,
    output: files::Output,
}

impl Target {
    /// Fails where nothing could be written. `taken` are the names that other results have.
    fn new(path: &Path, gpu: &Gpu, suite: &Suite, taken: &mut BTreeSet<String>) -> Result<Self> {
        let mut path = path.to_path_buf();
        if path.is_dir() {
            let info = gpu.adapter_info();
            let name = slug(&format!("{} {} {}", info.name, info.backend, suite.name));
            let mut numbered = (2..).map(|n| format!("{name}-{n}"));
            let mut own = name.clone();
            while !taken.insert(own.clone()) {
                own = numbered.next().unwrap_or_default();
            }
            path.push(format!("{own}.json"));
        }
        Ok(Self { output: files::Output::new(&path)?, path })
    }

    /// Writes the results, if not there then elsewhere: they took minutes.
    fn write(self, results: &BenchResults) -> Result<()> {
        let mut json = serde_json::to_string_pretty(results)?;
        json.push('\n');
        let Err(error) = self.output.finish(json.as_bytes()) else {
            say!("wrote     {}{}", self.path.display(), if results.complete { "" } else { ", incomplete" });
            return Ok(());
        };
        match keep(json.as_bytes()) {
            Ok(path) => bail!("{error:#}; the results are in {} instead", path.display()),
            Err(_) => {
                say!("{json}");
                bail!("{error:#}; the results are on the standard output instead")
            }
        }
    }
}

/// Writes to a new file in the system's temporary folder.
fn keep(bytes: &[u8]) -> Result<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("gqa-bench-").suffix(".json").tempfile()?;
    std::io::Write::write_all(&mut file, bytes)?;
    Ok(file.keep()?.1)
}

/// Lower-case words joined by `-`, fit for a file name.
fn slug(text: &str) -> String {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// The table on the standard output, and on a terminal a bar that says how far it is.
struct View {
    bar: indicatif::ProgressBar,
    id_width: usize,
    /// The limits that the shares of the table go by.
    limits: Option<Roofline>,
}

const BAR: u64 = 1000;

impl View {
    fn new(suite: &Suite) -> Self {
        let bar = indicatif::ProgressBar::new(BAR);
        if let Ok(style) =
            indicatif::ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed}  {wide_msg}")
        {
            bar.set_style(style);
        }
        let id_width = suite.cases.iter().map(|case| case.id.chars().count()).max().unwrap_or(0);
        Self { bar, id_width, limits: None }
    }

    fn show(&mut self, progress: Progress<'_>) -> ControlFlow<()> {
        self.bar.set_position((progress.done / progress.total.max(1) as f64 * BAR as f64) as u64);
        match progress.news {
            News::Limits => self.bar.set_message("what the adapter can do at most"),
            News::Prepares(case) => self.bar.set_message(format!("{}: compiling", case.id)),
            News::Timed(case) => self.bar.set_message(case.id.clone()),
            News::Measured(results) => {
                self.limits = Some(results.roofline);
                self.bar.suspend(|| self.head(results));
            }
            News::Row(row) => self.bar.suspend(|| self.row(row)),
            News::Skipped(..) => {}
        }
        if interrupt::wanted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn head(&self, results: &BenchResults) {
        let BenchResults { adapter, roofline, timing, suite, .. } = results;
        let about = [adapter.backend.as_str(), &adapter.driver, &adapter.driver_info].join(" ");
        say!("adapter   {} ({})", adapter.name, about.trim());
        say!("limits    {}", limits(roofline));
        let clock = match timing {
            Timing::GpuTimestamps => "GPU timestamps",
            Timing::WallClock => "the wall clock, waiting for the GPU each time",
        };
        say!("times     by {clock}; suite {suite}");
        say!("");
        let width = self.id_width;
        say!("{:width$}  median ms   spread    GFLOP/s  of the limit  variant", "row");
    }

    /// The limits are measured again and again: what they were at first may be too low.
    fn end(&self, results: &BenchResults) {
        let rose = |at_first: &Roofline| {
            results.roofline.f32_gflops > 1.02 * at_first.f32_gflops
                || results.roofline.copy_gbytes > 1.02 * at_first.copy_gbytes
        };
        if self.limits.as_ref().is_some_and(rose) {
            say!("limits    in the end {}: shares in the file go by these", limits(&results.roofline));
        }
    }

    fn row(&self, row: &Row) {
        let width = self.id_width;
        let Row { id, variant, time, flops, share_of_roofline, .. } = row;
        // Half of the times are within this of each other.
        let spread = (time.upper_quartile - time.lower_quartile) / 2.0 / time.median * 100.0;
        say!(
            "{id:width$}  {:>9.3}  ±{spread:4.1} %  {:>9.1}  {:>10.1} %  {variant}",
            time.median,
            flops / time.median * 1e-6,
            share_of_roofline * 100.0,
        );
    }
}

fn limits(roofline: &Roofline) -> String {
    let Roofline { f32_gflops, copy_gbytes } = roofline;
    format!("{f32_gflops:.1} GFLOP/s of f32 multiply-adds, copies of {copy_gbytes:.1} GB/s")
}
