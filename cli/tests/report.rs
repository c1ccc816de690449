//! `gqa report` as a person uses it: what the page says, and which files it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use gqa::bench::{AdapterRecord, BenchResults, FORMAT_VERSION, Host, Roofline, Row, RowKind, Spread, Timing};
use serde_json::{Value, json};

use common::{Folder, command, gqa};

impl Folder {
    fn results(&self, name: &str, results: &BenchResults) -> String {
        self.write(name, serde_json::to_vec(results).unwrap())
    }

    /// The page that compares `files`, and what the command prints.
    #[track_caller]
    fn page(&self, files: &[&BenchResults]) -> (String, String) {
        let names = (0..files.len()).map(|i| format!("input-{i}.json"));
        let inputs: Vec<_> =
            files.iter().zip(names).map(|(results, name)| self.results(&name, results)).collect();
        let output = self.path("report.html");
        let mut args = vec!["report", "-o", &output];
        args.extend(inputs.iter().map(String::as_str));
        let done = gqa(&args);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        (std::fs::read_to_string(&output).unwrap(), String::from_utf8(done.stdout).unwrap())
    }

    /// The files must be refused with one sentence that has all of `parts`, and no page be left.
    #[track_caller]
    fn refuses(&self, inputs: &[&str], parts: &[&str]) {
        let output = self.path("refused.html");
        let done = gqa(&[&["report", "--output", &output], inputs].concat());
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success(), "{inputs:?} went through");
        let said: Vec<_> = error.lines().collect();
        assert!(said.len() == 1 && said[0].starts_with("gqa: "), "{error}");
        for part in parts {
            assert!(said[0].contains(part), "`{}` does not say `{part}`", said[0]);
        }
        assert!(!std::path::Path::new(&output).exists());
    }
}

fn adapter(name: &str, backend: &str, driver_info: &str) -> AdapterRecord {
    AdapterRecord {
        name: name.into(),
        vendor: 0x10de,
        backend: backend.into(),
        driver: "driver".into(),
        driver_info: driver_info.into(),
        device_type: "DiscreteGpu".into(),
        features: vec!["SHADER_F16".into()],
        max_storage_buffer_binding_size: 1 << 31,
        max_buffer_size: 1 << 34,
        max_compute_workgroup_storage_size: 32_768,
        max_compute_invocations_per_workgroup: 1_024,
        subgroup_sizes: [32, 32],
    }
}

/// A row whose roofline allows 1 ms at the least on an adapter of [`results`]: 10⁹ operations at 1,000 GFLOP/s.
fn row(id: &str, group: &str, title: &str, median: f64) -> Row {
    Row {
        id: id.into(),
        kind: match group {
            "layer" => RowKind::Layer,
            "linear" => RowKind::Linear,
            _ => RowKind::Attention,
        },
        group: group.into(),
        title: title.into(),
        dtype: "f32".into(),
        batch: 1,
        query_len: 1_024,
        key_len: 1_024,
        query_heads: 8,
        key_heads: 2,
        head_dim: 64,
        features: 0,
        variant: format!("form of {id}"),
        time: Spread {
            repetitions: 9,
            min: median * 0.9,
            lower_quartile: median * 0.98,
            median,
            upper_quartile: median * 1.02,
            max: median * 1.2,
        },
        flops: 1e9,
        bytes: 1e6,
        share_of_roofline: 1.0 / median,
    }
}

fn results(adapter: AdapterRecord, rows: Vec<Row>) -> BenchResults {
    BenchResults {
        gqa_bench: FORMAT_VERSION,
        gqa_version: "0.1.0".into(),
        started_unix: 1_790_000_000,
        host: Host::Native,
        suite: "quick".into(),
        complete: true,
        adapter,
        timing: Timing::GpuTimestamps,
        roofline: Roofline { f32_gflops: 1_000.0, copy_gbytes: 100.0 },
        rows,
        skipped: Vec::new(),
    }
}

/// Two rows in two groups, so many times as long as on the fastest.
fn simple(name: &str, slower: f64) -> BenchResults {
    let rows = vec![
        row("layer/A1", "layer", "A1 layer", 2.5 * slower),
        row("attention/causal/A1", "causal", "A1 causal", 1.25 * slower),
    ];
    results(adapter(name, "Vulkan", "1.0"), rows)
}

/// The text of a page, without its style sheet and its tags, spaces joined.
fn text(page: &str) -> String {
    let body = page.split_once("</style>").unwrap().1;
    let mut text = String::new();
    let mut inside = false;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(page: &str, parts: &[&str]) {
    let text = text(page);
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}

#[test]
fn a_page_compares_the_adapters_row_by_row() {
    let folder = Folder::new();
    let mut slow = simple("Slow GPU", 4.0);
    slow.complete = false;
    slow.timing = Timing::WallClock;
    slow.rows[1].id = "attention/causal/B".into();
    slow.rows[1].title = "B causal".into();
    slow.skipped = vec![("attention/causal/A1".into(), "out of memory".into())];
    let (page, said) = folder.page(&[&simple("Fast GPU", 1.0), &slow]);
    assert_eq!(said.lines().next().unwrap(), "1         Fast GPU (2 rows)");
    assert_eq!(said.lines().nth(1).unwrap(), "2         Slow GPU (2 rows)");
    assert!(said.lines().nth(2).unwrap().starts_with("wrote "), "{said}");
    says(
        &page,
        &[
            "2 runs compared",
            "3 rows in 2 groups, 1 of them measured in every run.",
            // The adapters.
            "1,000 GFLOP/s copy bandwidth 100 GB/s",
            "Driver driver 1.0 Kind discrete GPU Host native Times GPU timestamps Suite quick, 2 rows Measured \
             2026-09-21 14:13 UTC",
            "Times wall clock",
            "Incomplete.",
            "1 row not measured out of memory: attention/causal/A1",
            // The layer on both: the median, its place, the quartiles, the rate and the share.
            "2.500 ms ★ fastest 2.450–2.550 ms, 9 runs 400 GFLOP/s, 40% of compute form of layer/A1",
            "10.00 ms 4.00×† 9.800–10.20 ms, 9 runs 100 GFLOP/s, 10% of compute form of layer/A1",
            "not measured: out of memory",
            "1.00×, fastest in 1 ★",
            "4.00×†, fastest in 0",
            "geometric mean over the 1 row of layers and attention that both measured",
        ],
    );
    // Only one has it: nothing to be faster than.
    says(&page, &["1.250 ms 1.225–1.275 ms, 9 runs"]);
}

#[test]
fn a_page_stands_alone_and_tells_nothing_of_the_machine() {
    let folder = Folder::new();
    let (page, _) = folder.page(&[&simple("a", 1.0), &simple("b", 2.0), &simple("c", 90.0)]);
    for loads in ["<script", "<link", "<img", "<iframe", "http:", "https:", "//", "@import", "url(", "src="] {
        assert!(!page.contains(loads), "the page has `{loads}`");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("input-0") && !page.contains(&folder.path("")));
    // Balanced, so that drawings and tables end where they should.
    for tag in ["svg", "g", "line", "text", "circle", "rect", "table", "td", "th", "div", "section", "figure"]
    {
        let opened = page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
        assert!(opened > 0 && opened == page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
    assert_eq!(page.matches("role=\"img\"").count(), page.matches("role=\"img\" aria-label=\"").count());
    let (again, _) = folder.page(&[&simple("a", 1.0), &simple("b", 2.0), &simple("c", 90.0)]);
    assert_eq!(page, again, "the same files give the same page");
}

#[test]
fn texts_of_files_are_shown_as_they_are_and_never_obeyed() {
    let folder = Folder::new();
    let evil = "<script>alert(\"1\")</script><b title='x'>&amp;\u{202e}\u{7}";
    let mut results = simple(evil, 1.0);
    for text in [
        &mut results.gqa_version,
        &mut results.suite,
        &mut results.adapter.backend,
        &mut results.adapter.driver,
        &mut results.adapter.driver_info,
        &mut results.adapter.device_type,
    ] {
        *text = evil.into();
    }
    for row in &mut results.rows {
        for text in [&mut row.group, &mut row.title, &mut row.dtype, &mut row.variant] {
            *text = evil.into();
        }
        row.id += evil;
    }
    let mut linear = row(&format!("linear/{evil}"), "linear", &format!("\" onload=\"x {evil}"), 3.0);
    linear.variant = evil.into();
    let mut scaling = row(&format!("scaling/{evil}/T2048"), "scaling", evil, 3.0);
    (scaling.query_len, scaling.key_len) = (2_048, 2_048);
    let start = row(&format!("scaling/{evil}/T1024"), "scaling", evil, 1.5);
    results.rows.extend([linear, scaling, start]);
    results.skipped = vec![(evil.into(), evil.into())];
    let mut other = results.clone();
    other.host = Host::Browser;
    other.started_unix += 1;
    let (page, _) = folder.page(&[&results, &other]);
    let shown =
        "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;b title='x'&gt;&amp;amp;\\u{202e}\\u{7}";
    assert!(page.matches(shown).count() > 20);
    for obeyed in ["<script", "<b title", "\" onload", "\u{202e}", "\u{7}"] {
        assert!(!page.contains(obeyed), "the page has `{obeyed}`");
    }
}

#[test]
fn runs_of_one_adapter_are_told_apart() {
    let folder = Folder::new();
    let mut newer = simple("GPU", 0.9);
    newer.adapter.driver_info = "2.0".into();
    let mut web = simple("GPU", 1.1);
    web.host = Host::Browser;
    let (page, said) = folder.page(&[&simple("GPU", 1.0), &newer, &web]);
    for label in ["GPU, driver 1.0, native", "GPU, driver 2.0, native", "GPU, driver 1.0, browser"] {
        assert!(said.contains(label), "{said}");
        says(&page, &[label]);
    }
    // Browsers are compared apart: the one run there is neither fastest nor slower.
    says(
        &page,
        &[
            "2.750 ms 2.695–2.805 ms, 9 runs",
            "2.250 ms ★ fastest",
            "1.11×",
            "Measured in a browser: 3 .",
            "that both native runs measured",
        ],
    );
}

#[test]
fn times_within_the_spread_of_the_fastest_are_marked() {
    let folder = Folder::new();
    let (page, _) = folder.page(&[&simple("a", 1.0), &simple("b", 1.03), &simple("c", 1.1)]);
    says(&page, &["2.575 ms ≈ 1.03×", "2.750 ms 1.10×"]);
}

#[test]
fn one_file_is_a_page_of_its_own() {
    let folder = Folder::new();
    let (page, _) = folder.page(&[&simple("GPU", 1.0)]);
    says(&page, &["Grouped-query attention on GPU", "2 rows in 2 groups.", "2.500 ms 2.450–2.550 ms"]);
    let text = text(&page);
    assert!(!text.contains('★') && !text.contains("fastest") && !text.contains("1.00×"), "{text}");
}

#[test]
fn growth_with_the_length_is_drawn_and_its_exponent_written() {
    let folder = Folder::new();
    let grown = |name: &str, power: f64| {
        let rows = [256usize, 512, 1_024, 2_048].map(|t| {
            let time = 2.0 * (t as f64 / 256.0).powf(power);
            let mut row =
                row(&format!("scaling/window-512/T{t}"), "scaling", &format!("window 512, T {t}"), time);
            (row.query_len, row.key_len) = (t, t);
            row
        });
        results(adapter(name, "Vulkan", "1"), rows.into())
    };
    let (page, _) = folder.page(&[&grown("a", 2.0), &grown("b", 1.13)]);
    says(
        &page,
        &[
            "window 512, median time in ms over T; both logarithmic",
            "time ∝ T 2.00 over 4 lengths",
            "time ∝ T 1.13",
        ],
    );
    assert!(page.contains("<title>2: T 512, 4.377 ms</title>"));
}

#[test]
fn forms_of_a_projection_stand_beside_each_other() {
    let folder = Folder::new();
    let forms = |name: &str, times: [f64; 2]| {
        let row = |form: &str, time| {
            row(&format!("linear/up/{form}"), "linear", &format!("up 8×64 · {form}"), time)
        };
        results(adapter(name, "Vulkan", "1"), vec![row("rows", times[0]), row("tile", times[1])])
    };
    let (page, _) = folder.page(&[&forms("a", [2.0, 4.0]), &forms("b", [16.0, 5.0])]);
    says(
        &page,
        &[
            "up 8×64 — B 1 · T 1,024 · S 1,024 · H 8/2 · D 64 · f32, 1.00 GFLOP",
            "rows 1 500 GFLOP/s ★ tile 1 250 GFLOP/s 2 b",
            "rows 2 62.5 GFLOP/s tile 2 200 GFLOP/s ★",
            "No row of a layer or of attention was measured by both.",
        ],
    );
}

#[test]
fn rows_of_the_suite_have_names_of_their_own() {
    let folder = Folder::new();
    let rows = gqa::bench::Suite::full().cases.into_iter().map(|case| {
        let mut row = row(&case.id, case.group, &case.title, 2.0);
        (row.kind, row.dtype, row.features) = (case.kind, case.dtype.to_string(), case.sizes.features);
        (row.batch, row.query_len, row.key_len) =
            (case.sizes.batch, case.sizes.query_len, case.sizes.key_len);
        (row.query_heads, row.key_heads) = (case.sizes.query_heads, case.sizes.key_heads);
        row.head_dim = case.sizes.head_dim;
        row
    });
    let (page, _) = folder.page(&[&results(adapter("GPU", "Vulkan", "1"), rows.collect())]);
    says(
        &page,
        &[
            "L1 causal, f32 1 2.000 ms L1 causal, f16 1 2.000 ms L1 causal, bf16",
            "causal, window 256, median time in ms over T; both logarithmic",
            "attention/scaling/T…-full/f32, median time in ms over T",
            "L1 query 512×512×512 — B 1 · T 512 · H 1 · D 512 · C 512 · f32,",
            "as chosen: form of linear/L1-query/f32 1 500 GFLOP/s",
        ],
    );
    // In the order of the suite.
    let places = gqa::bench::GROUPS.map(|group| page.find(&format!("aria-label=\"Table of {group}\"")));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}

#[test]
fn rows_that_only_some_files_have_stand_where_they_belong() {
    let folder = Folder::new();
    let causal = |name: &str, ids: &[&str]| {
        let rows = ids.iter().map(|id| row(id, "causal", &format!("title {id}"), 2.0)).collect();
        results(adapter(name, "Vulkan", "1"), rows)
    };
    let (page, _) = folder.page(&[
        &causal("a", &["c2", "c4"]),
        &causal("b", &["c1", "c2", "c3", "c4", "c5"]),
        &causal("c", &["c2"]),
    ]);
    let table = page.split_once("<tbody").unwrap().1;
    let places = [1, 2, 3, 4, 5].map(|n| table.find(&format!("title c{n}")));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}

#[test]
fn files_that_are_no_results_are_refused() {
    let folder = Folder::new();
    let good = folder.results("good.json", &simple("GPU", 1.0));
    folder.refuses(&["nowhere.json"], &["can't read nowhere.json"]);
    folder.refuses(&[&good, "nowhere.json"], &["can't read nowhere.json"]);
    for (bytes, parts) in [
        ("", &["x.json: not JSON", "line 1"][..]),
        ("{\"gqa_bench\": 1", &["x.json: not JSON", "EOF"]),
        ("[1, 2]", &["x.json: no results of `gqa bench`", "no `gqa_bench`"]),
        ("{\"name\": \"Keras\"}", &["x.json: no results of `gqa bench`", "no `gqa_bench`"]),
        ("{\"gqa_bench\": \"1\"}", &["its `gqa_bench` is no version number"]),
        ("{\"gqa_bench\": 7, \"new\": {}}", &["format version 7", "reads version 1"]),
        ("{\"gqa_bench\": 1, \"gqa_version\": \"0.1.0\"}", &["no whole results", "missing field"]),
    ] {
        folder.refuses(&[&folder.write("x.json", bytes)], parts);
    }
}

/// `good` with the value at `pointer` replaced.
fn with(good: &BenchResults, pointer: &str, value: Value) -> Vec<u8> {
    let mut json = serde_json::to_value(good).unwrap();
    *json.pointer_mut(pointer).unwrap() = value;
    serde_json::to_vec(&json).unwrap()
}

#[test]
fn figures_that_cannot_be_true_are_refused() {
    let folder = Folder::new();
    let good = simple("GPU", 1.0);
    let layer = "row `layer/A1`";
    for (pointer, value, parts) in [
        ("/rows", json!([]), &["x.json: it has no rows"][..]),
        ("/rows/1/id", json!("layer/A1"), &[layer, "twice"]),
        ("/rows/0/id", json!(""), &["a row without an id"]),
        // What serde_json makes of NaN.
        ("/rows/0/time/median", json!(null), &["rows[0].time.median", "null"]),
        ("/rows/0/time/min", json!(-1.0), &[layer, "time.min is -1.0"]),
        ("/rows/0/time/median", json!(0), &[layer, "time.median is 0.0"]),
        ("/rows/0/time/max", json!(1e300), &[layer, "time.max is 1e300"]),
        ("/rows/0/time/max", json!(2.51), &[layer, "≤ max does not hold"]),
        ("/rows/0/time/lower_quartile", json!(2.0), &[layer, "does not hold"]),
        ("/rows/0/time/upper_quartile", json!(2.4), &[layer, "does not hold"]),
        ("/rows/0/time/repetitions", json!(0), &[layer, "0 times"]),
        ("/rows/0/flops", json!(-5.0), &[layer, "flops is -5.0"]),
        ("/rows/0/bytes", json!(0.0), &[layer, "bytes is 0.0"]),
        ("/rows/0/share_of_roofline", json!(0.5), &[layer, "share_of_roofline is 0.5", "give 0.4"]),
        ("/roofline/f32_gflops", json!(0.0), &["roofline: f32_gflops is 0.0"]),
        ("/roofline/copy_gbytes", json!(-3.0), &["roofline: copy_gbytes is -3.0"]),
        ("/started_unix", json!(u64::MAX), &["started_unix", "no date"]),
        ("/skipped", json!([["layer/A1", "why"]]), &[layer, "both measured and skipped"]),
        ("/host", json!("server"), &["host: unknown variant `server`"]),
        ("/rows/0/query_len", json!(-1), &["rows[0].query_len"]),
    ] {
        folder.refuses(&[&folder.write("x.json", with(&good, pointer, value))], parts);
    }
    let overflow =
        String::from_utf8(serde_json::to_vec(&good).unwrap()).unwrap().replace("1000000000.0", "1e999");
    folder.refuses(&[&folder.write("x.json", overflow)], &["not JSON", "number out of range"]);
}

#[test]
fn files_that_do_not_fit_together_are_refused() {
    let folder = Folder::new();
    let a = folder.results("a.json", &simple("a", 1.0));
    folder.refuses(&[&a, &a], &["a.json and ", "are the same file"]);
    let dotted = format!("{}/./a.json", folder.path("").trim_end_matches('/'));
    folder.refuses(&[&a, &dotted], &["are the same file"]);
    let copy = folder.results("copy.json", &simple("a", 1.0));
    folder.refuses(&[&a, &copy], &["a.json and ", "copy.json hold the same results"]);

    let mut other = simple("b", 1.0);
    other.rows.iter_mut().for_each(|row| row.id += "/other");
    let other = folder.results("other.json", &other);
    folder.refuses(&[&a, &other], &["a.json and ", "other.json have no row in common"]);
    let b = folder.results("b.json", &simple("b", 2.0));
    folder.refuses(&[&a, &b, &other], &["other.json has no row in common with any of the others"]);

    for (pointer, value, part) in [
        ("/rows/0/head_dim", json!(128), "its head_dim is 64 in "),
        ("/rows/0/dtype", json!("f16"), "its dtype is f32 in "),
        ("/rows/0/kind", json!("attention"), "its kind is layer in "),
        ("/rows/0/bytes", json!(2e6), "its bytes is 1000000 in "),
    ] {
        let odd = folder.write("odd.json", with(&simple("odd", 2.0), pointer, value));
        folder.refuses(&[&a, &odd], &["row `layer/A1` is different work", part, "a.json, and ", "odd.json"]);
    }
}

#[test]
fn a_page_never_replaces_what_it_is_made_of() {
    let folder = Folder::new();
    let a = folder.results("a.json", &simple("a", 1.0));
    let done = gqa(&["report", &a, "-o", &a]);
    assert!(!done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("--output would overwrite"));
    assert!(std::fs::read_to_string(&a).unwrap().contains("gqa_bench"));

    // A page that was there stays until the new one is whole, and a failure leaves nothing beside it.
    let page = folder.write("page.html", "old");
    let broken = folder.write("broken.json", "{");
    assert!(!gqa(&["report", &broken, "-o", &page]).status.success());
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "old");
    assert!(gqa(&["report", &a, "-o", &page]).status.success());
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(folder.files().len(), 3);
}

#[cfg(unix)]
#[test]
fn pipes_can_be_read_and_written() {
    let folder = Folder::new();
    let a = folder.results("a.json", &simple("a", 1.0));
    let file = std::fs::File::open(&a).unwrap();
    let mut command = command(&["report", "/dev/stdin", "-o", "/dev/null"]);
    command.stdin(file);
    assert!(command.output().unwrap().status.success());
}
