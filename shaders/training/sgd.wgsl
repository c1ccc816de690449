// g = gradient[i] (· clip_scale, with CLIP)                          gradient, variable, velocity [count]
// variable[i] −= variable[i] · weight_decay · learning_rate
// without MOMENTUM:  variable[i] −= learning_rate · g
// with it:           velocity[i] = momentum · velocity[i] − learning_rate · g
//                    variable[i] += velocity[i], or with NESTEROV momentum · velocity[i] − learning_rate · g

#import shared/grid
#import training/update

@group(0) @binding(4) var<storage, read_write> velocity: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_element(workgroup, workgroups, lane, params.count);
    if (i >= params.count) {
        return;
    }
    let g = clipped_gradient(i);
    let value = decayed_variable(i);
    let step = params.learning_rate * g;
    if (MOMENTUM) {
        let moved = params.momentum * velocity[i] - step;
        velocity[i] = moved;
        variable[i] = value + select(moved, params.momentum * moved - step, NESTEROV);
    } else {
        variable[i] = value - step;
    }
}
