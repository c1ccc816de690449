//! Without a GPU: WGSL, declarations and files agree, and every variant translates to every shading language.

use std::collections::BTreeSet;
use std::path::Path;

use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

use super::{has_matrices, is_portable};
use crate::gpu::{Binding, Constant, Kernel};
use crate::kernels::all;
use crate::kernels::dispatch::{DISPATCH_WORK, LOOP_LIMIT, loop_ranges, tile_ranges};

/// What variants with subgroups or cooperative matrices need of the device.
const BEYOND: Capabilities =
    Capabilities::COOPERATIVE_MATRIX.union(Capabilities::SHADER_FLOAT16).union(Capabilities::SUBGROUP);

/// Parses and validates, with no capability beyond those that every WebGPU device has, unless the variant uses more.
fn module(kernel: &Kernel, constants: &[(&'static str, Constant)]) -> (naga::Module, ModuleInfo, String) {
    let source = kernel.wgsl(constants).unwrap();
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&source)));
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if !is_portable(&source) {
        capabilities |= BEYOND;
    }
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&source)));
    (module, info, source)
}

#[test]
fn every_variant_translates_to_every_shading_language_that_has_what_it_uses() {
    let mut count = 0;
    for (kernel, variants) in all() {
        for constants in variants {
            let (module, info, source) = module(kernel, &constants);
            let what = format!("{} {constants:?}", kernel.name);
            let portable = is_portable(&source);
            let spv_options =
                spv::Options { lang_version: if portable { (1, 0) } else { (1, 3) }, ..Default::default() };
            let spirv = spv::write_vec(&module, &info, &spv_options, None).expect(&what);
            assert!(spirv.len() > 100, "{what}");
            let lang_version = if portable { (1, 0) } else { (2, 3) };
            let msl_options =
                msl::Options { fake_missing_bindings: true, lang_version, ..Default::default() };
            let (metal, _) =
                msl::write_string(&module, &info, &msl_options, &Default::default()).expect(&what);
            assert!(metal.contains("kernel void"), "{what}");
            count += 1;
            if !portable {
                continue;
            }
            let hlsl_options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
            let mut direct = String::new();
            hlsl::Writer::new(&mut direct, &hlsl_options, &Default::default())
                .write(&module, &info, None)
                .expect(&what);
            assert!(direct.contains("numthreads"), "{what}");
            let glsl_options = glsl::Options {
                version: glsl::Version::Embedded { version: 310, is_webgl: false },
                ..Default::default()
            };
            let pipeline = glsl::PipelineOptions {
                shader_stage: naga::ShaderStage::Compute,
                entry_point: crate::gpu::shader::ENTRY.into(),
                multiview: None,
            };
            let mut gl = String::new();
            glsl::Writer::new(&mut gl, &module, &info, &glsl_options, &pipeline, Default::default())
                .expect(&what)
                .write()
                .expect(&what);
            assert!(gl.contains("local_size_x"), "{what}");
        }
    }
    assert!(count > 60, "only {count} variants");
}

#[test]
fn bindings_entry_and_workgroup_size_are_those_of_the_wgsl() {
    for (kernel, variants) in all() {
        for constants in variants {
            let (module, _, source) = module(kernel, &constants);
            let mut found: Vec<_> = module
                .global_variables
                .iter()
                .filter_map(|(_, variable)| {
                    let name = variable.name.clone()?;
                    let binding = variable.binding?;
                    assert_eq!(binding.group, 0);
                    Some((binding.binding, name, variable.space))
                })
                .collect();
            found.sort_by_key(|(index, ..)| *index);
            let declared = (0..).zip(kernel.bindings).map(|(i, binding)| match *binding {
                Binding::Uniform(name) => (i, name.to_string(), naga::AddressSpace::Uniform),
                Binding::Read(name) => {
                    (i, name.to_string(), naga::AddressSpace::Storage { access: naga::StorageAccess::LOAD })
                }
                Binding::Write(name) => {
                    let access = naga::StorageAccess::LOAD | naga::StorageAccess::STORE;
                    (i, name.to_string(), naga::AddressSpace::Storage { access })
                }
            });
            assert_eq!(found, declared.collect::<Vec<_>>(), "{}", kernel.name);
            let uniform =
                module.global_variables.iter().find(|(_, v)| v.space == naga::AddressSpace::Uniform);
            assert!(uniform.is_some(), "{} binds no parameters", kernel.name);
            let entry = &module.entry_points[0];
            assert_eq!(entry.name, crate::gpu::shader::ENTRY);
            let own = constants.iter().find(|(name, _)| *name == "WORKGROUP_SIZE");
            let size = match own {
                Some((_, Constant::U32(size))) => *size,
                _ => kernel.workgroup_size,
            };
            assert_eq!(entry.workgroup_size, [size, 1, 1], "{}", kernel.name);
            let storage = kernel.bindings.iter().filter(|binding| !matches!(binding, Binding::Uniform(_)));
            assert!(storage.count() <= 8, "{}: more storage buffers than WebGPU promises", kernel.name);
            let shared: u64 = module
                .global_variables
                .iter()
                .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
                .map(|(_, variable)| u64::from(module.types[variable.ty].inner.size(module.to_ctx())))
                .sum();
            // Devices with cooperative matrices have twice what WebGPU promises.
            let limit = if has_matrices(&source) { 32_768 } else { 16_384 };
            assert!(shared <= limit, "{} {constants:?}: {shared} bytes of workgroup memory", kernel.name);
        }
    }
}

#[test]
fn every_kernel_has_its_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kernels: BTreeSet<_> = all().iter().map(|(kernel, _)| kernel.source.stem.to_string()).collect();
    assert_eq!(kernels.len(), all().len(), "two kernels of one file");
    let imported: BTreeSet<_> = crate::shaders::imported().map(String::from).collect();
    assert!(imported.is_disjoint(&kernels));
    assert_eq!(stems(&root.join("shaders"), "wgsl"), &kernels | &imported);
    assert!(stems(&root.join("src/kernels"), "rs").is_superset(&kernels));
    // A kernel on cooperative matrices means what the one that it stands for means.
    let meanings = all().into_iter().map(|(kernel, _)| kernel.name.trim_end_matches("_matrix").to_string());
    assert!(stems(&root.join("src/reference"), "rs").is_superset(&meanings.collect()));
}

/// The files of a folder and those below it, with this extension, without it.
fn stems(folder: &Path, extension: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            all.extend(stems(&path, extension).into_iter().map(|below| format!("{stem}/{below}")));
        } else if path.extension().is_some_and(|found| found == extension) {
            all.insert(stem);
        }
    }
    all
}

#[test]
fn tile_ranges_cover_everything_once_and_bound_the_work() {
    for (tiles, work) in
        [(1, 1), (1, u64::MAX), (1000, DISPATCH_WORK / 10), (7, DISPATCH_WORK), (123_457, 999_999)]
    {
        let ranges: Vec<_> = tile_ranges(tiles, work).collect();
        assert_eq!(ranges[0].0, 0);
        assert_eq!(u64::from(ranges[ranges.len() - 1].1), tiles);
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
        let one =
            |&(begin, end): &(u32, u32)| end - begin == 1 || u64::from(end - begin) * work <= DISPATCH_WORK;
        assert!(ranges.iter().all(one), "{tiles} {work}");
    }
}

#[test]
fn loop_ranges_cover_everything_once() {
    for len in [1, LOOP_LIMIT - 1, LOOP_LIMIT, LOOP_LIMIT + 1, 5 * LOOP_LIMIT + 7] {
        let ranges: Vec<_> = loop_ranges(len).collect();
        assert_eq!(ranges[0].0, 0);
        assert_eq!(ranges[ranges.len() - 1].1 as usize, len);
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert!(ranges.iter().all(|(begin, end)| begin < end && (end - begin) as usize <= LOOP_LIMIT));
    }
}
