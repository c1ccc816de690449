// The flat index of a workgroup in a grid that the host folded to fit the adapter's limits.

fn flat_workgroup(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.x + count.x * (id.y + count.y * id.z);
}
