// The flat index of a workgroup in a grid that the host folded to fit the adapter's limits.

fn flat_workgroup(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.x + count.x * (id.y + count.y * id.z);
}

/// The element of a lane, for kernels with one element per lane; `elements` for lanes past the end.
fn flat_element(id: vec3<u32>, count: vec3<u32>, lane: u32, elements: u32) -> u32 {
    let tile = flat_workgroup(id, count);
    if (tile > elements / WORKGROUP_SIZE) {
        return elements;
    }
    return min(tile * WORKGROUP_SIZE + lane, elements);
}
