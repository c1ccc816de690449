//! Which adapters this machine has, and which software ones it can get.
//!
//! On Linux, `VK_DRIVER_FILES` (`VK_ICD_FILENAMES` for older Vulkan loaders) decides which drivers a program sees, and
//! `GQA_ADAPTER` which of their adapters the library takes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::lavapipe26::Lavapipe26;
use crate::steps::quoted;
use crate::{debian, is_ci, target_dir};

/// How programs are made to use one adapter.
pub(crate) struct Adapter {
    pub(crate) name: &'static str,
    env: Vec<(&'static str, OsString)>,
}

/// The adapter that everything is tested on, and the others, or why they can't be used.
pub(crate) struct Adapters {
    pub(crate) main: Adapter,
    pub(crate) others: Vec<(&'static str, Result<Adapter, String>)>,
}

/// What cargo, and tests that start programs, put before the path of a program.
const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// How many tests of a program run side by side.
const THREADS: &str = "RUST_TEST_THREADS";

type Prepare = fn(ask: bool) -> Result<Adapter, String>;

/// The software adapters of Linux, the most capable first.
const SOFTWARE: [(&str, Prepare); 4] = [
    ("lavapipe 26", lavapipe26),
    ("the system's lavapipe", system_lavapipe),
    ("SwiftShader", swiftshader),
    ("llvmpipe through OpenGL", opengl),
];

/// The adapter of the machine where it has one, or else a software one; on Linux with `all` every software adapter too.
pub(crate) fn for_tests(all: bool) -> Result<Adapters, String> {
    println!("=== adapters");
    let own = own_adapter();
    let mut others = Vec::new();
    if cfg!(target_os = "linux") && !is_chosen() {
        for (name, prepare) in SOFTWARE {
            if all
                || own.is_none()
                    && others.iter().all(|(_, adapter): &(_, Result<Adapter, _>)| adapter.is_err())
            {
                others.push((name, prepare(false)));
            }
        }
    }
    let main = match own {
        Some(own) => own,
        None => match others.iter().position(|(_, adapter)| adapter.is_ok()) {
            Some(first) => others.remove(first).1?,
            None => system_lavapipe(true).map_err(no_adapter)?,
        },
    };
    println!("    all tests on {}", main.told());
    for (name, adapter) in &others {
        match adapter {
            Ok(adapter) => println!("    device tests on {}", adapter.told()),
            Err(reason) => println!("    no tests on {name}: {reason}"),
        }
    }
    Ok(Adapters { main, others })
}

/// The adapter of the machine, or else a software one.
pub(crate) fn for_demo() -> Result<Adapter, String> {
    println!("=== adapter");
    let adapter = match own_adapter() {
        Some(own) => own,
        None if Lavapipe26::find().is_some() => lavapipe26(false)?,
        None => system_lavapipe(true).map_err(no_adapter)?,
    };
    println!("    {}", adapter.told());
    Ok(adapter)
}

fn no_adapter(reason: String) -> String {
    format!(
        "No GPU was found, and Mesa's software Vulkan, lavapipe, can't be used: {reason}\nInstall a graphics driver, or \
         set GQA_ADAPTER to the name of an adapter that you know to be there."
    )
}

impl Adapter {
    fn software(name: &'static str, chosen: &str) -> Self {
        Self { name, env: vec![("GQA_ADAPTER", chosen.into())] }
    }

    fn vulkan(name: &'static str, driver: &Path) -> Self {
        let mut adapter = Self::software(name, "vulkan");
        adapter.env.extend(["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].map(|variable| (variable, driver.into())));
        adapter
    }

    /// Whether its tests must not run side by side.
    pub(crate) fn is_single_threaded(&self) -> bool {
        self.env.iter().any(|(name, _)| *name == THREADS)
    }

    /// The name, and what to set for choosing the adapter by hand.
    fn told(&self) -> String {
        let set = |(name, value): &(&str, OsString)| {
            format!("\n        {name}={}", quoted(&value.to_string_lossy()))
        };
        self.name.to_owned() + &self.env.iter().map(set).collect::<String>()
    }

    /// A command that runs a program of this machine on the adapter, with the libraries that its driver needs.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let runner = self.env.iter().find(|(name, _)| *name == RUNNER);
        let runner = runner.map(|(_, value)| value.to_string_lossy()).unwrap_or_default();
        let mut words = runner.split_whitespace();
        let mut command = match words.next() {
            None => Command::new(program),
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
        };
        self.choose_for(&mut command);
        command
    }

    /// Makes the command, and what it starts, use this adapter.
    pub(crate) fn choose_for(&self, command: &mut Command) {
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if cfg!(target_os = "linux") {
            // Mesa compiles at the first dispatch, and from one run to the next only what it can't find here.
            command.env("MESA_SHADER_CACHE_DIR", target_dir().join("shader-cache"));
            if env::var_os("XDG_RUNTIME_DIR").is_none() {
                command.env("XDG_RUNTIME_DIR", runtime_dir());
            }
        }
    }
}

/// A folder that drivers may use for what lasts as long as they run.
fn runtime_dir() -> PathBuf {
    let path = target_dir().join("runtime");
    // Where this fails, the driver says what it misses.
    let _ = fs::create_dir_all(&path);
    #[cfg(unix)]
    let _ = fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700));
    path
}

/// Whether `GQA_ADAPTER` names one.
pub(crate) fn is_chosen() -> bool {
    env::var_os("GQA_ADAPTER").is_some_and(|name| !name.is_empty())
}

/// The adapter that `GQA_ADAPTER` names, or a GPU. macOS and Windows always have one, be it in software.
fn own_adapter() -> Option<Adapter> {
    let name = match () {
        () if is_chosen() => "the adapter that GQA_ADAPTER names",
        () if !cfg!(target_os = "linux") || has_gpu() => "the machine's own adapter",
        () => return None,
    };
    Some(Adapter { name, env: Vec::new() })
}

/// A guess from device files and installed drivers.
fn has_gpu() -> bool {
    let nodes = ["/dev/dri/renderD128", "/dev/nvidiactl", "/dev/dxg"];
    nodes.iter().any(|node| Path::new(node).exists())
        && library("libvulkan.so.1")
        && driver_file(|name| !name.starts_with("lvp_") && !name.contains("swiftshader")).is_some()
}

/// The first installed Vulkan driver of such a file name.
fn driver_file(wanted: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let directories = ["/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d"];
    let files = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    files.map(|file| file.path()).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".json") && wanted(name)
    })
}

/// Whether a shared library is in one of the usual places.
fn library(name: &str) -> bool {
    let triple = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    [&triple, "/usr/lib64", "/usr/lib"].iter().any(|directory| Path::new(directory).join(name).exists())
}

fn lavapipe26(_ask: bool) -> Result<Adapter, String> {
    let unpacked = Lavapipe26::get()?;
    let mut adapter = Adapter::vulkan("lavapipe 26", &unpacked.driver_file());
    adapter.env.push((RUNNER, unpacked.runner().into()));
    Ok(adapter)
}

fn system_lavapipe(ask: bool) -> Result<Adapter, String> {
    let installed = || driver_file(|name| name.starts_with("lvp_")).filter(|_| library("libvulkan.so.1"));
    if installed().is_none() {
        debian::install(&["mesa-vulkan-drivers", "libvulkan1"], ask)?;
    }
    let driver = installed().ok_or("installed, but its driver file is in none of the usual places")?;
    Ok(Adapter::vulkan("the system's lavapipe", &driver))
}

fn swiftshader(ask: bool) -> Result<Adapter, String> {
    let driver = Path::new("/usr/lib/chromium/vk_swiftshader_icd.json");
    if !driver.exists() || !library("libvulkan.so.1") {
        if !debian::is_debian() {
            return Err("comes with Debian's Chromium, and this is not Debian".into());
        }
        if !is_ci() {
            return Err("not installed (it is where CI=true, with the package chromium-common)".into());
        }
        debian::install(&["chromium-common", "libvulkan1"], ask)?;
    }
    Ok(Adapter::vulkan("SwiftShader", driver))
}

fn opengl(ask: bool) -> Result<Adapter, String> {
    if !library("libEGL_mesa.so.0") || !library("libEGL.so.1") {
        debian::install(&["libegl1", "libgl1-mesa-dri"], ask)?;
    }
    let mut adapter = Adapter::software("llvmpipe through OpenGL", "gl");
    adapter.env.push(("LIBGL_ALWAYS_SOFTWARE", "1".into()));
    // wgpu's OpenGL panics in a thread that waits a second for another's context, as for one that compiles a shader.
    adapter.env.push((THREADS, "1".into()));
    Ok(adapter)
}
