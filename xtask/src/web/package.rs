//! The npm package and the site, out of a built module.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::tools;
use crate::steps::{Missing, Step, say};
use crate::{cargo, debian, folders, root, target_dir, wasm};

/// Everything that the package has beside the module and its glue.
const FILES: [&str; 6] = [
    "web/package/package.json",
    "web/package/README.md",
    "web/package/index.js",
    "web/package/index.d.ts",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];
const DEMO: [&str; 2] =
    ["tests/fixtures/keras-3.15.1/demo.keras", "tests/fixtures/keras-3.15.1/demo.inputs.safetensors"];
const GLUE: &str = "gqa_web.js";
const MODULE: &str = "gqa_web_bg.wasm";
/// The name of module and package.
const NAME: &str = "gqa_web";

/// Of the module as it travels, in bytes.
const LIMIT: usize = 700 << 10;

/// How wasm-opt works. The module says what it needs of browsers; with `-all` wasm-opt uses what they don't have.
const OPTIMISER: [&str; 1] = ["-Os"];

pub(super) fn folder() -> PathBuf {
    target_dir().join("web/gqa-web")
}

pub(super) fn site() -> PathBuf {
    target_dir().join("web/site")
}

/// Builds the package and the site.
pub(super) fn steps(missing: Missing) -> Vec<Step> {
    let glue = target_dir().join("web/glue");
    let mut bind = cargo(["run", "--package", "xtask", "--features", "web", "--bin", "xtask-bindgen", "--"]);
    bind.arg(wasm::module("web", NAME)).arg(&glue);
    let optimised = target_dir().join("web/optimised");
    let assemble = {
        let (glue, optimised) = (glue.clone(), optimised.clone());
        move || assemble(&glue, &optimised)
    };
    let compile = || wasm::cargo(&["build", "--profile", "web", "--package", "gqa-web"]);
    vec![
        Step::doing("tools for browsers", || tools::installed().map(drop)).or(missing).within(60),
        wasm::prepare_step(missing).after_success(),
        Step::making("module for browsers", compile).after_success().within(300),
        Step::new("its glue", bind).after_success().within(180),
        Step::doing("optimise", move || optimise(&tools::installed()?, &glue, &optimised))
            .after_success()
            .within(60),
        Step::doing("package and site", assemble).after_success().within(10),
    ]
}

/// A step that fails where the package is larger than it may be.
pub(super) fn size_step() -> Step {
    let check = || {
        let module = folder().join(MODULE);
        let size = gzipped(&module)?;
        if size <= LIMIT {
            say(format!("    {} of {} KiB, gzipped", size >> 10, LIMIT >> 10));
            return Ok(());
        }
        Err(format!("{} has {size} bytes gzipped, and {LIMIT} is the limit", module.display()))
    };
    Step::doing("size of the package", check).within(10)
}

/// Optimises the module of `glue` into a folder that also tells of what and how, so that the same is not done again.
fn optimise(tools: &Path, glue: &Path, folder: &Path) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let module = glue.join(MODULE);
    let input = fs::read(&module).map_err(told)?;
    let how = OPTIMISER.join(" ") + "\n" + &fs::read_to_string(tools.join("package.json")).map_err(told)?;
    let same = |name: &str, bytes: &[u8]| fs::read(folder.join(name)).is_ok_and(|kept| kept == bytes);
    if same("input.wasm", &input) && same("how.txt", how.as_bytes()) {
        say("    the module is the same as before");
        return Ok(());
    }
    folders::replace(folder, |new| {
        let mut command = tools::node();
        command.arg(tools.join("node_modules/binaryen/bin/wasm-opt")).args(OPTIMISER);
        debian::run(command.arg(&module).arg("-o").arg(new.join(MODULE)))?;
        fs::write(new.join("input.wasm"), &input).map_err(told)?;
        fs::write(new.join("how.txt"), how).map_err(told)
    })
}

fn assemble(glue: &Path, optimised: &Path) -> Result<(), String> {
    if glue.join("snippets").exists() {
        return Err(
            "the glue came with scripts of its own (snippets), and the package has no place for them".into(),
        );
    }
    folders::replace(&folder(), |new| {
        for file in FILES {
            folders::copy_into(new, &root().join(file))?;
        }
        folders::copy_into(new, &glue.join(GLUE))?;
        folders::copy_into(new, &optimised.join(MODULE))
    })?;
    folders::replace(&site(), |new| {
        folders::copy_all(&root().join("web/page"), new)?;
        folders::copy_all(&folder(), &new.join("gqa-web"))?;
        DEMO.iter().try_for_each(|file| folders::copy_into(new, &root().join(file)))
    })?;
    say(format!("    {}", folder().display()));
    say(format!("    {}", site().display()));
    for name in [MODULE, GLUE] {
        let file = folder().join(name);
        let size = fs::metadata(&file).map_err(|error| error.to_string())?.len();
        say(format!("    {name:16} {size:>9} bytes, {:>7} gzipped", gzipped(&file)?));
    }
    Ok(())
}

/// The size of a file as it travels.
fn gzipped(file: &Path) -> Result<usize, String> {
    let script = "process.stdout.write(String(require('zlib').gzipSync(\
                  require('fs').readFileSync(process.argv[1]), {level: 9}).length))";
    let output = tools::node().args(["-e", script]).arg(file).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.parse().map_err(|_| {
        format!("can't compress {}: {}", file.display(), String::from_utf8_lossy(&output.stderr))
    })
}
